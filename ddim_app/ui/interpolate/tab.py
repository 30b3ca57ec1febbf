"""The Interpolate tab: ways between pictures, in x_T as DDIM does it and through noised pictures as DDPM does."""

import base64
import uuid
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.media.animation import AnimationError, ffmpeg
from ddim_app.runs import forms, path_files
from ddim_app.runs.interpolation_plan import PathPlan
from ddim_app.runs.mixing import MixPlan
from ddim_app.ui import text
from ddim_app.ui.assets import asset
from ddim_app.ui.controls import Controls, num_train_timesteps
from ddim_app.ui.fields import PRIVATE, on_any, raw
from ddim_app.ui.interpolate import view
from ddim_app.ui.interpolate.view import PathView
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import KEEP, RunTab

MODES = [
    ("Line", "line"), ("Grid", "grid"), ("Loop", "loop"), ("DDPM's way", "mix"), ("Arithmetic", "arithmetic"),
    ("Variation", "variation"), ("Truncation", "truncation"),
]  # fmt: skip
METHODS = [("DDIM", "ddim"), ("DDPM", "ddpm"), ("DDIM and DDPM", "both"), ("DDIM, and DDPM with each noise", "all")]
NOISES = [("moves along", "slerp"), ("one for all frames", "shared"), ("fresh per frame", "fresh")]
WAYS = [("slerp", "slerp"), ("lerp", "lerp"), ("lerp, norm restored", "restored")]
KINDS = [("Sheet (PNG)", "sheet"), ("GIF", "gif"), ("WebP", "webp"), ("MP4", "mp4"), ("Latents", "latents")]
PLOT: dict[str, Any] = {"height": 240, "min_width": 300}
SHOWN = {
    "steps": ("line", "loop", "arithmetic", "variation", "truncation", "mix"),
    "reach": ("line", "arithmetic", "truncation"),
    "grid": ("grid",),
    "strength": ("variation",),
    "mix": ("mix",),
    "path": tuple(name for _, name in MODES if name != "mix"),
}
"""The modes in which each group of fields is shown."""
VIEWS: dict[str, dict[str, Any]] = {
    "A line": {"mode": "line", "method": "ddim", "way": "slerp", "frames": 9, "start": 0, "stop": 1},
    "Why DDPM does not, and how it does": {
        "mode": "line", "method": "all", "way": "slerp", "frames": 9, "start": 0, "stop": 1,
    },
    "Lerp dips": {"mode": "line", "method": "ddim", "way": "lerp", "frames": 9, "start": 0, "stop": 1},
    "Grid of four": {"mode": "grid", "method": "ddim", "way": "slerp", "rows": 5, "columns": 5},
    "Loop of four": {"mode": "loop", "method": "ddim", "frames": 24},
    "Fig. 9": {"mode": "mix", "table": True, "frames": 9, "q_noise": "independent"},
}  # fmt: skip
"""Buttons that set these fields and run."""


class InterpolateTab(RunTab):
    """Lines, grids, loops, DDPM's mixes, arithmetic, variations and scales of x_T."""

    title, name, go = "Interpolate", "interpolate", "Interpolate"

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        self.fields, groups = _fields()
        self.files = _files()
        self.inputs = [*settings.inputs, *self.fields.values(), *self.files]
        self.more_fields = (*self.fields, "file", "file B", "file C", "file D")
        self.also = self._views()
        self.cost = text.line("", "interpolate-cost")
        self.film = view.component()
        self.recipe = text.line("", "interpolate-recipe")
        self._plots()
        self._saving()
        self.outputs = [self.film, self.recipe, self.rmse, self.ssim, self.norm, self.done, settings.last_seed]
        self.fields["mode"].change(  # type: ignore[attr-defined]
            lambda mode: [gr.update(visible=mode in SHOWN[name]) for name in groups],
            self.fields["mode"],
            list(groups.values()),
            **PRIVATE,
        )

    def _plots(self) -> None:
        with gr.Accordion("Smoothness and norms", open=True, elem_id="smoothness-fold"), gr.Row():
            self.rmse = gr.LinePlot(None, x="step", y="RMSE of 255", color="sampler", elem_id="smoothness",
                                    title="Distance of neighbouring frames", **PLOT)  # fmt: skip
            self.ssim = gr.LinePlot(None, x="step", y="SSIM", color="sampler", elem_id="ssim", title="Their likeness", **PLOT)
            self.norm = gr.LinePlot(
                None, x="frame", y="norm", color="way", elem_id="norms", title="Norm of the latent / √D", **PLOT
            )

    def _saving(self) -> None:
        """The finished run, and the row that hands it out as a file."""
        self.done = gr.State(None)
        with gr.Row(elem_id="strips-files"):
            kind = raw(
                gr.Dropdown(
                    [kind for kind in KINDS if kind[1] != "mp4" or ffmpeg()],
                    value="sheet",
                    label="File",
                    elem_id="strips-kind",
                    scale=1,
                    min_width=120,
                )
            )
            make = gr.Button("Save", size="sm", elem_id="strips-save", scale=0, min_width=100)
            saved = gr.HTML(
                None, html_template='<p role="status" aria-live="polite"></p>', css_template="p { margin: 0; }",
                js_on_load=asset("components/download.js"), apply_default_css=False, elem_id="strips-saved", elem_classes="line",
            )  # fmt: skip
        handed = make.click(_save, [kind, self.done], saved, show_progress="hidden", api_visibility="private")
        # What was handed over is not kept for the session.
        handed.then(dict, None, saved, **PRIVATE)

    def _views(self) -> list[Any]:
        with gr.Row(elem_classes="views"):
            buttons = {gr.Button(words, size="sm", min_width=60): values for words, values in VIEWS.items()}
        names = sorted({name for values in VIEWS.values() for name in values})
        outputs = [self.fields[name] for name in names]

        def setter(values: dict[str, Any]) -> Any:
            return lambda: [values.get(name, KEEP) for name in names]

        return [button.click(setter(values), None, outputs, **PRIVATE) for button, values in buttons.items()]

    def connect(self, demo: gr.Blocks) -> None:
        changes = [field.change for field in self.inputs]  # type: ignore[attr-defined]
        on_any([demo.load, *changes], self._cost_line, self.inputs, [self.cost])

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Any, None]:
        return recipe_of(self.runs, self.settings, self.fields, values), None

    def _cost_line(self, *values: Any) -> str:
        engine = self.runs.engine
        try:
            recipe, _ = self.recipe_of(values)
            if not engine.is_here(recipe.model):
                return text.DOWNLOADED
            plan = engine.plan(recipe)
        except FieldError as error:
            return str(error)
        words = f"Ends {view.ends_line(recipe)} · {text.cost_line(plan, engine.calls(plan), engine.seconds(plan))}"
        few = isinstance(plan, PathPlan) and plan.before and plan.before < 50
        return words + ("\nPictures come back exactly from 50 steps on; with fewer they differ a little." if few else "")

    def board(self, plan: PathPlan | MixPlan, about: None) -> PathView:
        return PathView(plan)

    def before(self, recipe: Any) -> list[Any]:
        first = recipe.ends[0].seed
        return [KEEP, KEEP, KEEP, KEEP, KEEP, None, KEEP if first is None else first]

    def update(self, board: PathView, plan: PathPlan | MixPlan, frames: list[Any]) -> list[Any]:
        return [board.add(frames), view.recipe_line(plan), *[KEEP] * 5]

    def last(self, board: PathView, plan: PathPlan | MixPlan, frames: list[Any], error: str | None) -> list[Any]:
        board.add(frames)
        line = view.recipe_line(plan)
        if error or not board.collected.is_complete:
            return [board.complete(), line, *[KEEP] * 5]
        rmse, ssim = board.smoothness()
        plots = [
            gr.LinePlot(rmse, x="step", y="RMSE of 255", color="sampler"),
            gr.LinePlot(ssim, x="step", y="SSIM", color="sampler"),
            gr.LinePlot(board.norms(), x="frame", y="norm", color="way"),
        ]
        return [board.complete(), line, *plots, (plan.recipe, board.kept()), KEEP]


def recipe_of(runs: PageRuns, settings: Controls, fields: dict[str, Any], values: tuple[Any, ...]) -> Any:
    """The recipe of raw values: the settings column's, the tab's own, then the four files; raises FieldError."""
    named = {**settings.named(values[: len(settings.fields)]), **dict(zip(fields, values[len(settings.fields) : -4], strict=True))}
    files = [data if isinstance(data, bytes) else None for data in values[-4:]]
    engine = runs.engine
    T = num_train_timesteps(engine, named["model"])
    shape = engine.model(named["model"]).shape if any(files) and engine.is_here(named["model"]) else None
    try:
        return forms.interpolation(named, files, T, shape)
    except FieldError as error:
        if error.field in ("latent", "file", "source"):
            error.field = "seeds"  # the field that stands beside the files, and shows what is wrong
        raise


def _fields() -> tuple[dict[str, Component], dict[str, gr.Row]]:
    """The tab's own inputs by their names, and the groups that come and go with the mode."""
    fields: dict[str, Component] = {}
    fields["mode"] = gr.Radio(MODES, value="line", label="What", elem_id="mode")
    groups: dict[str, gr.Row] = {}
    with gr.Row(elem_classes="asked"):
        fields["seeds"] = gr.Textbox("", label="Ends", info="Seeds: 7, 8; empty: Seed and the next", max_lines=1, elem_id="ends",
                                     min_width=170, scale=2)  # fmt: skip
        fields["noise"] = gr.Dropdown(NOISES, value="slerp", label="Step noise", info="DDPM's, from frame to frame",
                                      elem_id="moving-noise", min_width=150, scale=2)  # fmt: skip
        with gr.Row(scale=3) as groups["path"]:
            fields["method"] = gr.Dropdown(METHODS, value="ddim", label="Sampler", info="DDIM has the eta of the left",
                                           elem_id="method", min_width=150)  # fmt: skip
            fields["way"] = gr.Dropdown(WAYS, value="slerp", label="Between latents", info="Arc, chord, or arc of the chord",
                                        elem_id="way", min_width=130)  # fmt: skip
    with gr.Row(elem_classes="asked"):
        with gr.Row(scale=1) as groups["steps"]:
            fields["frames"] = gr.Number(9, label="Frames", info="2 to 121", step=1, elem_id="frames", min_width=90)
        with gr.Row(scale=2) as groups["reach"]:
            fields["start"] = gr.Number(0, label="From", info="Below 0: beyond the first", step=0.25, elem_id="start", min_width=90)
            fields["stop"] = gr.Number(1, label="To", info="Above 1: beyond the second", step=0.25, elem_id="stop", min_width=90)
        with gr.Row(visible=False, scale=2) as groups["grid"]:
            fields["rows"] = gr.Number(5, label="Rows", info="2 to 11", step=1, elem_id="grid-rows", min_width=90)
            fields["columns"] = gr.Number(5, label="Columns", info="2 to 11", step=1, elem_id="grid-columns", min_width=90)
        with gr.Row(visible=False, scale=2) as groups["strength"]:
            fields["strength"] = gr.Number(0.25, label="Strength", info="0: the first picture, 1: the other", step=0.05,
                                           elem_id="strength", min_width=90)  # fmt: skip
        with gr.Row(visible=False, scale=5) as groups["mix"]:
            fields["level"] = gr.Slider(0, 1000, 500, step=1, label="t", info="Forward steps before the mix", elem_id="level",
                                        buttons=[], min_width=150)  # fmt: skip
            fields["table"] = gr.Checkbox(False, label="Table of nine t (Fig. 9)", elem_id="level-table", min_width=120)
            fields["q_noise"] = gr.Radio([("own for each end", "independent"), ("one for both", "shared")], value="independent",
                                         label="Noise of the ends", elem_id="q-noise", min_width=150)  # fmt: skip
    for field in fields.values():
        raw(field)
    return fields, groups


def _files() -> list[Component]:
    """Four files that may take the place of the first ends."""
    files: list[Component] = []
    with gr.Accordion("Pictures or latent files as ends", open=False, elem_id="ends-fold"), gr.Row():
        for letter in "ABCD":
            # As bytes by its own setting: a function in the place of `preprocess` would be lost when the page restores a recipe.
            file = gr.File(
                None, label=f"End {letter}", type="binary", file_count="single", elem_id=f"end-{letter.lower()}", height=110,
                min_width=120,
            )  # fmt: skip
            files.append(file)
    return files


def _save(kind: Any, done: Any) -> dict[str, str]:
    """The run's file of that kind, for the browser to save."""
    if done is None:
        return {"note": "There is nothing yet: interpolate first."}
    if kind not in path_files.KINDS:
        return {"note": f"A file is one of {', '.join(path_files.KINDS)}."}
    try:
        data = path_files.file_of(kind, *done)
    except (AnimationError, ValueError) as error:
        return {"note": str(error)}
    encoded = base64.b64encode(data).decode("ascii")
    return {
        "id": uuid.uuid4().hex,
        "name": path_files.file_name(kind, done[0]),
        "mime": "application/octet-stream",
        "data": encoded,
    }
