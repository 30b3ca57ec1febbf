"""The Interpolate tab: ways between pictures, in x_T as DDIM does it and through noised pictures as DDPM does."""

import re
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.media.animation import AnimationError
from ddim_app.runs import codecs, forms, methods, path_files
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.interpolation_plan import PathPlan
from ddim_app.runs.mixing import MixPlan
from ddim_app.ui import run_tab, text
from ddim_app.ui.bundled import STORED
from ddim_app.ui.components import chart, download
from ddim_app.ui.controls import NO_CLASS, Controls, num_train_timesteps
from ddim_app.ui.dimming import Dimmed
from ddim_app.ui.fields import HERE, PRIVATE, raw, told_files
from ddim_app.ui.interpolate import view
from ddim_app.ui.interpolate.against import Against
from ddim_app.ui.interpolate.ends import EndCards, values_of
from ddim_app.ui.interpolate.stored_path import LINE, LOOP, finished, is_stored, stored_path
from ddim_app.ui.interpolate.view import PathView
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import GOES, KEEP, RunTab
from ddim_app.ui.run_view import RunView
from ddim_app.ui.share_texts import link_inside

MODES = [
    ("Line", "line"), ("Loop", "loop"), ("Grid", "grid"), ("DDPM's way", "mix"), ("Arithmetic", "arithmetic"),
    ("Variation", "variation"), ("Truncation", "truncation"),
]  # fmt: skip
METHODS = [
    *((method.title, name) for name, method in methods.METHODS.items()),
    ("DDIM and DDPM", "both"), ("DDIM, and DDPM with each noise", "all"),
]  # fmt: skip
NOISES = [("moves along", "slerp"), ("one for all frames", "shared"), ("fresh per frame", "fresh")]
WAYS = [("slerp", "slerp"), ("lerp", "lerp"), ("lerp, norm restored", "restored")]
KINDS = [("Sheet (PNG)", "sheet"), ("GIF", "gif"), ("WebP", "webp"), ("MP4", "mp4"), ("Latents", "latents")]

LIVE = "(...values) => { if (!document.body.classList.contains('live')) throw 'not live'; return values; }"


class InterpolateTab(RunTab):
    """Lines, grids, loops, DDPM's mixes, arithmetic, variations and scales of x_T."""

    title, name, go = "Interpolate", "interpolate", "Interpolate"
    behind_words = "for a few frames first"
    headline = "What lies between two pictures?"
    sentence = "With DDIM a starting noise is a picture, so a smooth way between two noises is a film."

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        stored = stored_path()
        with gr.Row(elem_id="path-modes"):
            self.fields = _fields()
        with gr.Column(elem_classes="card", elem_id="path-card"):
            self.ends = EndCards(
                runs.engine, self.settings.fields["model"], [end.seed for end in LOOP.ends if end.seed is not None]
            )
            self.film = view.component(stored["film"])
        self.against = Against(self, stored["against"], partial(is_stored, stored=LINE))
        with gr.Accordion("Sampler, step noise, way between latents", open=False, elem_id="path-more"):
            self.fields |= _rarer_fields()
        self.recipe = text.line("", "interpolate-recipe")
        self._charts(stored["charts"])
        self._saving()
        self.inputs = [*self.settings.inputs, *self.fields.values(), self.ends.cards, self.ends.files]
        self.more_fields = (*self.fields, "seeds", "files")
        self.outputs = [self.film, self.recipe, *self.charts, self.done]
        self.dimmed = Dimmed(self.name, self, ["seed"], "own.seeds = own.seeds?.ends;")
        self.told = self.dimmed.asked
        self.unasked = self._live() if runs.makes_unasked else []

    def _live(self) -> list[Any]:
        """What draws by itself while Live is on: another end, or another mode."""
        goes = gr.Checkbox(False, visible=False)
        options: dict[str, Any] = {**PRIVATE, "js": LIVE, "trigger_mode": "multiple"}
        changes = [self.ends.cards.input, self.ends.uploaded.then, self.fields["mode"].input]  # type: ignore[attr-defined]
        asks = [change(self._goes, self.inputs, goes, **options) for change in changes]
        return [ask.then(None, goes, None, js=GOES, **PRIVATE) for ask in asks]

    def _goes(self, *values: Any) -> bool:
        """Whether the run of changed ends goes on: not where a file was refused, nor where it would take long."""
        cards = values[-2]
        return isinstance(cards, dict) and "said" not in cards and self.is_quick(values)

    def connect(self, demo: gr.Blocks) -> None:
        self.against.connect()
        self.dimmed.connect()

    def _charts(self, stored: list[dict[str, Any]]) -> None:
        with gr.Accordion("Smoothness and norms", open=False, elem_id="smoothness-fold"), gr.Row():
            self.charts = [chart.component(*each, min_width=280) for each in zip(("likeness", "norms"), stored, strict=True)]

    def _saving(self) -> None:
        """The finished run, and the buttons that hand it out as a file."""
        self.done = gr.State(STORED)
        with gr.Row(elem_classes="views", elem_id="strips-files"):
            buttons = {form: gr.Button(words, size="sm", min_width=60, elem_id=f"save-{form}") for words, form in KINDS}
        saved = download.place("strips-saved")
        for form, button in buttons.items():
            self.share_gif(button, saved, form)

    def share_gif(self, button: gr.Button, saved: gr.HTML, form: str = "gif") -> None:
        """Hands out the run's file of that form when the button is pressed."""
        told = "document.body.classList.contains('stale-interpolate'), window.openNow().address"
        js = f"done => {{ {HERE.format(self.name)} return [done, {told}]; }}"
        save, is_old, address = partial(self._save, form), gr.Checkbox(False, visible=False), gr.Textbox(visible=False)
        handed = button.click(save, [self.done, is_old, address], saved, js=js, show_progress="hidden", api_visibility="private")
        handed.then(dict, None, saved, **PRIVATE)  # what was handed over is not kept for the session

    def _save(self, form: str, done: Any, is_old: bool, address: Any) -> dict[str, Any]:
        """The run's file of that form, for the browser to save."""
        if done is None:
            return {"note": "The run is not through: let it end first."}
        if is_old:
            return {"note": "What is shown is of the settings before: press Interpolate first."}
        recipe, frames = finished(self.runs.engine) if done == STORED else done
        try:
            data = path_files.file_of(form, recipe, frames, link_inside(self.runs.engine, recipe, address))
        except (AnimationError, ValueError) as error:
            return {"note": str(error)}
        stem, suffix = path_files.file_name(form, recipe).split(".", 1)
        name = "-".join(re.findall(r"\w+", f"{stem} {view.ends_line(recipe)}"))
        return download.file(f"{name}.{suffix}", "application/octet-stream", data)

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Any, None]:
        *column, cards, files = values
        named = dict(zip((*self.settings.fields, *self.fields), column, strict=True))
        own, given = values_of(cards, files, named["mode"])
        return recipe_of(self.runs, {**named, **own}, given), None

    def values_of(self, recipe: BaseRecipe) -> list[Any] | None:
        values = codecs.path_values(recipe)
        if values is None or not isinstance(recipe, PathRecipe):
            return None
        column = [{**NO_CLASS, **values}.get(name, KEEP) for name in (*self.settings.fields, *self.fields)]
        return [*column, {"ends": [{"seed": end.seed} for end in recipe.ends]}, {}]

    async def run_unasked(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        """First a few of the frames, then all of them."""
        planned, about = await self.runs.prepared(request, self.name, values, self.prepare, self.in_page_words)
        if stored := self.answered(planned, request):
            yield stored
            return
        coarse = planned.recipe.coarser() if isinstance(planned, PathPlan) else None
        for recipe in filter(None, (coarse, planned)):
            show = RunView(recipe, about)
            async for shown in self.streamed(show, request, live=coarse is not None):  # what was shown stays until then
                yield shown
            if show.made is None or show.error:  # another run has begun, or the page has left
                return

    def stop(self, request: gr.Request) -> Any:
        self.runs.end((request.session_hash, Against.place))
        return super().stop(request)

    def ends_words(self, plan: PathPlan | MixPlan) -> str:
        few = isinstance(plan, PathPlan) and plan.before and plan.before < 50
        words = "Pictures come back exactly from 50 steps on. " if few else ""
        return f"{words}Ends {view.ends_line(plan.recipe)} · "

    def stored(self, plan: PathPlan | MixPlan) -> list[Any] | None:
        if not is_stored(plan, LOOP):
            return None
        film = {**stored_path()["film"], "playing": False}
        return [film, view.recipe_line(plan), *stored_path()["charts"], STORED]

    def stored_recipe(self, settings: Any = None) -> PathRecipe:
        return LOOP

    def behind(self, recipe: Any) -> int:
        coarse = recipe.coarser() if isinstance(recipe, PathRecipe) and self.runs.makes_unasked else None
        if coarse is None or (self.runs.engine.seconds(self.runs.engine.plan(recipe)) or 0) > run_tab.UNASKED_SECONDS:
            return 0
        return int(self.runs.engine.plan(coarse).evaluations)

    def board(self, plan: PathPlan | MixPlan, about: None) -> PathView:
        return PathView(plan)

    def before(self, recipe: Any) -> list[Any]:
        return [KEEP, KEEP, KEEP, KEEP, None]

    def update(self, board: PathView, plan: PathPlan | MixPlan, frames: list[Any]) -> list[Any]:
        return [board.add(frames), view.recipe_line(plan), *[KEEP] * 3]

    def last(self, board: PathView, plan: PathPlan | MixPlan, frames: list[Any], error: str | None) -> list[Any]:
        board.add(frames)
        line = view.recipe_line(plan)
        if error or not board.collected.is_complete:
            return [board.complete(), line, *[KEEP] * 3]
        return [board.complete(), line, *board.charts(), (plan.recipe, board.kept())]


def recipe_of(runs: PageRuns, named: dict[str, Any], files: list[bytes | None]) -> Any:
    """The recipe of raw values by their names, with files in the place of the first ends; raises FieldError."""
    engine = runs.engine
    T = num_train_timesteps(engine, named["model"])
    shape = engine.model(named["model"]).shape if any(files) and engine.is_here(named["model"]) else None
    try:
        return forms.interpolation(named, files, T, shape)
    except FieldError as error:
        if error.field in ("latent", "file", "source"):
            error.field = "seeds"  # the field that has the files, and shows what is wrong
        raise


def _fields() -> dict[str, Component]:
    """The mode and its numbers; page.css shows the rows that it makes use of."""
    fields: dict[str, Component] = {}
    fields["mode"] = gr.HTML(
        LOOP.mode, **told_files("modes", MODES, "make", "icon"), apply_default_css=False, elem_id="mode", label="What",
    )  # fmt: skip
    with gr.Row(elem_classes="asked", elem_id="path-frames"):
        fields["frames"] = gr.Number(LOOP.frames, label="Frames", step=1, elem_id="frames", min_width=90)
    with gr.Row(elem_classes="asked", elem_id="path-grid"):
        fields["rows"] = gr.Number(5, label="Rows", step=1, elem_id="grid-rows", min_width=90)
        fields["columns"] = gr.Number(5, label="Columns", step=1, elem_id="grid-columns", min_width=90)
    with gr.Row(elem_classes="asked", elem_id="path-strength"):
        fields["strength"] = gr.Number(0.25, label="Strength", step=0.05, elem_id="strength", min_width=90)
    with gr.Row(elem_id="path-mix"):
        fields["level"] = gr.Slider(0, 1000, 500, step=1, label="t", info="Forward steps before the mix", elem_id="level",
                                    buttons=[], min_width=150)  # fmt: skip
        fields["table"] = gr.Checkbox(False, label="Table of nine t (Fig. 9)", elem_id="level-table", min_width=120)
        fields["q_noise"] = gr.Radio([("own for each end", "independent"), ("one for both", "shared")], value="independent",
                                     label="Noise of the ends", elem_id="q-noise", min_width=150)  # fmt: skip
    for field in fields.values():
        raw(field)
    return fields


def _rarer_fields() -> dict[str, Component]:
    """Which samplers draw the frames, what their step noise does, and how a path goes between latents."""
    fields: dict[str, Component] = {}
    with gr.Row():
        fields["noise"] = gr.Dropdown(NOISES, value="slerp", label="Step noise", info="DDPM's, from frame to frame",
                                      elem_id="moving-noise", min_width=150, scale=2)  # fmt: skip
        with gr.Row(scale=3, elem_id="path-way"):
            fields["method"] = gr.Dropdown(METHODS, value="ddim", label="Sampler", info="DDIM has the eta of the left",
                                           elem_id="method", min_width=150)  # fmt: skip
            fields["way"] = gr.Dropdown(WAYS, value="slerp", label="Between latents", info="Arc, chord, or arc of the chord",
                                        elem_id="way", min_width=130)  # fmt: skip
        with gr.Row(scale=2, elem_id="path-reach"):
            fields["start"] = gr.Number(0, label="From", info="Below 0: beyond the first", step=0.25, elem_id="start", min_width=90)
            fields["stop"] = gr.Number(1, label="To", info="Above 1: beyond the second", step=0.25, elem_id="stop", min_width=90)
    for field in fields.values():
        raw(field)
    return fields
