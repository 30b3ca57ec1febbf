"""The named endpoints: what the page does, for gradio_client and curl."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import chain
from typing import Any

import gradio as gr
import torch

from ddim_app.diffusion.noise import picture_seed
from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.media.images import to_pixels
from ddim_app.runs import codecs, forms
from ddim_app.runs.sampling import Recipe, SamplingPlan
from ddim_app.ui.components import stage
from ddim_app.ui.controls import Controls, checked, validator
from ddim_app.ui.fields import raw
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.progress import ProgressEvents
from ddim_app.ui.served_files import keep_picture

Shown = list[tuple[str, str]]


def build(runs: PageRuns, settings: Controls, queued: dict[str, Any]) -> None:
    """Adds /compare and /generate to the open Blocks. `queued` are the event options of everything that uses the device."""
    with gr.Row(visible=False):
        pictures, others = (gr.Gallery(format="png", label=label) for label in ("DDIM", "DDPM"))
        summary = gr.JSON(label="Summary")
        method = raw(gr.Radio(["ddim", "ddpm"], value="ddim", label="Method"))
        timesteps = raw(gr.Textbox("", label="Explicit timesteps, such as 999, 500, 0; empty: none"))
        bucket = raw(gr.Number(0, label="Rows of every network call; 0: whatever comes"))
        compare_button, generate_button = gr.Button("compare"), gr.Button("generate")
    fields = {**settings.fields, "bucket": bucket}
    _endpoint(compare_button, _compare(runs), runs, forms.compare, fields, [pictures, others, summary], queued)
    fields = {"method": method, **fields, "timesteps": timesteps}
    del fields["ddpm_steps"], fields["second_model"]
    _endpoint(generate_button, _generate(runs), runs, forms.generate, fields, [pictures, summary], queued)


def _endpoint(
    button: gr.Button,
    handler: Callable[..., AsyncGenerator[Any, None]],
    runs: PageRuns,
    build_recipe: Callable[[dict[str, Any], int], Recipe],
    fields: dict[str, Any],
    outputs: list[Any],
    queued: dict[str, Any],
) -> None:
    engine = runs.engine

    def check(values: tuple[Any, ...]) -> None:
        recipe = checked(engine, build_recipe, dict(zip(fields, values, strict=True)))
        if all(map(engine.is_here, recipe.models)):
            engine.plan(recipe)

    button.click(
        handler,
        list(fields.values()),
        outputs,
        api_name=handler.__name__,
        validator=validator(check, list(fields)),
        trigger_mode="multiple",
        **queued,
    )


def _compare(runs: PageRuns) -> Callable[..., AsyncGenerator[Any, None]]:
    async def compare(
        request: gr.Request, model: str, steps: int, eta: float, seed: int, pictures: int, ddpm_steps: int, spacing: str,
        variance: str, clip: str, precision: str, noise_seed: str, branch: int, second_model: str, bucket: int,
    ) -> AsyncGenerator[tuple[Any, Any, dict[str, Any]], None]:  # fmt: skip
        """Draws the same seeds by DDIM(eta) and by DDPM from the same starting noise.

        Args:
            model: name of a model of this app, or an id on the Hugging Face Hub
            steps: transitions, 1 to the model's train timesteps
            eta: DDIM's stochasticity, 0 to 2; 0 is deterministic, 1 has DDPM's variance
            seed: 0 to 2^32 - 1; picture i has seed + i
            pictures: how many, 1 to 16
            ddpm_steps: DDPM's own step count; 0 means the same
            spacing: leading, trailing, linspace, quadratic or quadratic-paper
            variance: DDPM's, small or large
            clip: what is done to the predicted picture: clip, off or dynamic
            precision: fast, fp32 or fp64
            noise_seed: names the step noise; empty: follows the seed
            branch: another step noise for the same seeds
            second_model: another model to sample in the same way from the same noise; empty: none
            bucket: rows of every network call, as a finished recipe names it to make the same bits again; 0: whatever comes

        Returns:
            DDIM's pictures, DDPM's pictures (each model's in turn), and a summary with recipe, NFE, seconds, PSNR and SSIM
        """
        named = {key: value for key, value in locals().items() if key not in ("request", "runs")}
        async for shown, summary in _follow(runs, forms.compare, named, request):
            yield [*chain(*shown[::2])], [*chain(*shown[1::2])], summary

    return compare


def _generate(runs: PageRuns) -> Callable[..., AsyncGenerator[Any, None]]:
    async def generate(
        request: gr.Request, method: str, model: str, steps: int, eta: float, seed: int, pictures: int, spacing: str,
        variance: str, clip: str, precision: str, noise_seed: str, branch: int, bucket: int, timesteps: str,
    ) -> AsyncGenerator[tuple[Any, dict[str, Any]], None]:  # fmt: skip
        """Draws pictures by one method.

        Args:
            method: ddim or ddpm
            model: name of a model of this app, or an id on the Hugging Face Hub
            steps: transitions, 1 to the model's train timesteps
            eta: DDIM's stochasticity, 0 to 2
            seed: 0 to 2^32 - 1; picture i has seed + i
            pictures: how many, 1 to 16
            spacing: leading, trailing, linspace, quadratic or quadratic-paper
            variance: DDPM's, small or large
            clip: what is done to the predicted picture: clip, off or dynamic
            precision: fast, fp32 or fp64
            noise_seed: names the step noise; empty: follows the seed
            branch: another step noise for the same seeds
            bucket: rows of every network call, as a finished recipe names it to make the same bits again; 0: whatever comes
            timesteps: the train timesteps to visit, such as 999, 500, 0; takes the place of steps and spacing

        Returns:
            the pictures, and a summary with recipe, NFE and seconds
        """
        named = {key: value for key, value in locals().items() if key not in ("request", "runs")}
        async for shown, summary in _follow(runs, forms.generate, named, request):
            yield shown[0] if shown else [], summary

    return generate


async def _follow(
    runs: PageRuns, build_recipe: Callable[[dict[str, Any], int], Recipe], values: dict[str, Any], request: gr.Request
) -> AsyncGenerator[tuple[list[Shown], dict[str, Any]], None]:
    """Progress summaries without pictures while the run goes on, then every arm's pictures with the final one."""
    try:
        recipe = await asyncio.to_thread(checked, runs.engine, build_recipe, values)
    except FieldError as error:
        raise gr.Error(str(error), print_exception=False) from error
    began = time.perf_counter()
    finals: dict[int, torch.Tensor] = {}
    finished: Finished | None = None
    progress = ProgressEvents()
    async with aclosing(runs.stream(recipe, request)) as stream:
        async for news in stream:
            for item in news:
                if isinstance(item, SamplingPlan):
                    plan = item
                elif isinstance(item, Finished):
                    finished = item
                elif isinstance(item, list):
                    finals |= {frame.arm: frame.x_t for frame in item if frame.is_last}
            if step := progress.of(news):
                yield [], step
    if finished is None:  # the caller has left
        return
    if finished.error:
        raise gr.Error(finished.error, print_exception=False)
    made = replace(plan, recipe=finished.recipe)
    yield (
        [_captioned(finals[arm], arm, made.recipe) for arm in range(len(plan.rows))],
        _summary(runs, made, finals, time.perf_counter() - began),
    )


def _captioned(pictures: torch.Tensor, arm: int, recipe: Recipe) -> Shown:
    shown = []
    for i, pixels in enumerate(to_pixels(pictures)):
        path = keep_picture(pixels, codecs.texts(recipe))
        shown.append((path, f"{recipe.arms[arm].label}, seed {picture_seed(recipe.seed, i)}"))
    return shown


def _summary(runs: PageRuns, plan: SamplingPlan, finals: dict[int, torch.Tensor], seconds: float) -> dict[str, Any]:
    return {
        "recipe": json.loads(plan.recipe.to_json()),
        "number_format": runs.engine.number_format(plan.recipe.precision),
        "nfe": [row.transitions for row in plan.rows],
        "first_timestep": [row.levels[0].t for row in plan.rows],
        "seconds": round(seconds, 3),
        "scores": stage.scores(finals),
    }
