"""The endpoint /interpolate: what the tab does, for gradio_client and curl."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any

import gradio as gr

from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.media.animation import AnimationError
from ddim_app.media.images import RECIPE_KEY, to_pixels
from ddim_app.runs import path_files
from ddim_app.runs.base import Plan
from ddim_app.ui.controls import Controls, validator
from ddim_app.ui.fields import raw
from ddim_app.ui.interpolate import tab
from ddim_app.ui.interpolate.view import PathView
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.progress import ProgressEvents
from ddim_app.ui.served_files import keep, keep_picture

LEFT_OUT = ("pictures", "second_model")
"""Fields of the settings column that a path has no use for."""


def build(runs: PageRuns, settings: Controls, queued: dict[str, Any]) -> None:
    """Adds /interpolate to the open Blocks."""
    with gr.Row(visible=False):
        own = {name: raw(component) for name, component in _fields().items()}
        files = [gr.File(None, label=f"End {letter}", type="binary") for letter in "ABCD"]
        kind = raw(gr.Dropdown(["", *path_files.KINDS], value="", label="File to make"))
        pictures, made, summary = gr.Gallery(format="png", label="Frames"), gr.File(label="File"), gr.JSON(label="Summary")
        button = gr.Button("interpolate")
    fields = {**{name: field for name, field in settings.fields.items() if name not in LEFT_OUT}, **own}
    ask = _PathForm(runs, settings, list(fields))

    def check(values: tuple[Any, ...]) -> None:
        recipe = ask.recipe(values[:-1])
        if values[-1] not in ("", *path_files.KINDS):
            raise FieldError("file_kind", f"must be empty or one of {', '.join(path_files.KINDS)}; got {values[-1]!r}")
        if runs.engine.is_here(recipe.model):
            runs.engine.plan(recipe)

    names = [*fields, "end_a", "end_b", "end_c", "end_d", "file_kind"]
    button.click(
        _interpolate(ask), [*fields.values(), *files, kind], [pictures, made, summary], api_name="interpolate",
        validator=validator(check, names), trigger_mode="multiple", **queued,
    )  # fmt: skip


def _fields() -> dict[str, Any]:
    """The tab's own fields once more, so that the endpoint's defaults do not follow what a visitor of the page has set."""
    return {
        "mode": gr.Textbox("line"), "seeds": gr.Textbox(""), "noise": gr.Textbox("slerp"), "method": gr.Textbox("ddim"),
        "way": gr.Textbox("slerp"), "frames": gr.Number(9), "start": gr.Number(0), "stop": gr.Number(1), "rows": gr.Number(5),
        "columns": gr.Number(5), "strength": gr.Number(0.25), "level": gr.Number(500), "table": gr.Checkbox(False),
        "q_noise": gr.Textbox("independent"), "bucket": gr.Number(0),
    }  # fmt: skip


class _PathForm:
    """Raw values of the endpoint to recipes."""

    def __init__(self, runs: PageRuns, settings: Controls, names: list[str]) -> None:
        self.runs, self._settings, self._names = runs, settings, names

    def recipe(self, values: tuple[Any, ...]) -> Any:
        """The recipe of the fields' values and four files; raises FieldError."""
        named = dict(zip(self._names, values, strict=False))
        column = [named.get(name) for name in self._settings.fields]
        rest = {name: named[name] for name in self._names if name not in self._settings.fields}
        return tab.recipe_of(self.runs, self._settings, rest, (*column, *rest.values(), *values[-4:]))


def _interpolate(ask: _PathForm) -> Callable[..., AsyncGenerator[Any, None]]:
    async def interpolate(
        request: gr.Request, model: str, steps: int, eta: float, seed: int, ddpm_steps: int, spacing: str, variance: str, clip: str,
        precision: str, noise_seed: str, branch: int, mode: str, seeds: str, noise: str, method: str, way: str, frames: int,
        start: float, stop: float, rows: int, columns: int, strength: float, level: int, table: bool, q_noise: str, bucket: int,
        end_a: Any = None, end_b: Any = None, end_c: Any = None, end_d: Any = None, file_kind: str = "",
    ) -> AsyncGenerator[tuple[Any, Any, dict[str, Any]], None]:  # fmt: skip
        """Draws pictures between pictures.

        Args:
            model: name of a model of this app, or an id on the Hugging Face Hub
            steps: network evaluations per picture, 1 to the model's train timesteps
            eta: DDIM's stochasticity, 0 to 2
            seed: the first end, where `seeds` names none
            ddpm_steps: DDPM's own step count, 0: the same; of a mix, its steps over all T
            spacing: leading, trailing, linspace, quadratic or quadratic-paper
            variance: DDPM's, small or large
            clip: what is done to the predicted picture: clip, off or dynamic
            precision: fast, fp32 or fp64
            noise_seed: names the step noise; empty: that of the ends' own seeds
            branch: another step noise for the same seeds
            mode: line, grid, loop, mix (DDPM's way), arithmetic, variation or truncation
            seeds: the ends, such as "7, 8"; those that are missing count up
            noise: step noise from frame to frame: slerp (moves along), shared (one for all) or fresh
            method: ddim, ddpm, both, or all (DDIM, and DDPM with each noise)
            way: slerp, lerp, or restored (lerp with its norm put right)
            frames: of a line, loop, mix, arithmetic or truncation, 2 to 121; of variations, at most 24
            start: where a line begins, -1 to 2; below 0 is beyond the first end
            stop: where it ends
            rows: of a grid, 2 to 11
            columns: of a grid, 2 to 11
            strength: of variations, 0 to 1
            level: forward steps of a mix, 0 to T
            table: whether a mix is made at nine levels, as in the DDPM paper's Fig. 9
            q_noise: independent, or shared by the two ends of a mix
            bucket: rows of every network call, as a finished recipe names it to make the same bits again; 0: whatever comes
            end_a: a picture or latent file in place of the first end
            end_b: of the second
            end_c: of the third
            end_d: of the fourth
            file_kind: a file to make of the result: sheet, gif, webp, mp4 or latents; empty: none

        Returns:
            the frames strip by strip, the file, and a summary with recipe, NFE, seconds, norms, and distances of neighbours
        """
        given = (
            model, steps, eta, seed, ddpm_steps, spacing, variance, clip, precision, noise_seed, branch, mode, seeds, noise, method,
            way, frames, start, stop, rows, columns, strength, level, table, q_noise, bucket, end_a, end_b, end_c, end_d,
        )  # fmt: skip
        async for item in _follow(ask, given, file_kind, request):
            yield item

    return interpolate


async def _follow(
    ask: _PathForm, values: tuple[Any, ...], kind: str, request: gr.Request
) -> AsyncGenerator[tuple[Any, Any, Any], None]:
    try:
        recipe = await asyncio.to_thread(ask.recipe, values)
    except FieldError as error:
        raise gr.Error(str(error), print_exception=False) from error
    began, film, plan, finished = time.perf_counter(), None, None, None
    progress = ProgressEvents()
    async with aclosing(ask.runs.stream(recipe, request)) as stream:
        async for news in stream:
            for item in news:
                if isinstance(item, Plan):
                    plan = item
                    film = PathView(plan)  # type: ignore[arg-type]
                elif isinstance(item, Finished):
                    finished = item
                elif isinstance(item, list) and film and plan:
                    for frame in item:
                        film.collected.add(frame)
            if step := progress.of(news):
                yield [], None, step
    if finished is None or film is None or plan is None:  # the caller has left
        return
    if finished.error:
        raise gr.Error(finished.error, print_exception=False)
    yield await asyncio.to_thread(_result, film, replace(plan, recipe=finished.recipe), kind, time.perf_counter() - began)


def _result(film: PathView, plan: Any, kind: str, seconds: float) -> tuple[Any, Any, dict[str, Any]]:
    collected, where = film.collected, path_files.layout(plan)
    captions = getattr(plan.recipe, "captions", where.columns)
    shown = []
    for frame_row, pictures in zip(where.frame_rows, collected.pictures(), strict=True):
        for caption, pixels in zip(captions, to_pixels(pictures), strict=True):
            path = keep_picture(pixels, [(RECIPE_KEY, plan.recipe.to_json())])
            shown.append((path, f"{frame_row.label}, {caption}"))
    smooth = zip(where.frame_rows, collected.smoothness(), strict=True)
    summary = {
        "recipe": asdict(plan.recipe),
        "nfe": [row.transitions for row in plan.rows],
        "seconds": round(seconds, 3),
        "norms": [round(value, 5) for value in collected.norms()] or collected.levels,
        "neighbours": [{"strip": frame_row.label, "rmse": result.rmse, "ssim": result.ssim} for frame_row, result in smooth],
        "reconstructions": collected.reconstructions(),
    }
    return shown, _written(kind, plan.recipe, collected) if kind else None, summary


def _written(kind: str, recipe: Any, collected: path_files.CollectedFrames) -> str:
    """Path of the file; raises gr.Error."""
    try:
        data = path_files.file_of(kind, recipe, collected)
    except (AnimationError, ValueError) as error:
        raise gr.Error(str(error), print_exception=False) from error
    return keep(data, path_files.file_name(kind, recipe))
