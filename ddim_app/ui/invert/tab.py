"""The Invert tab: a picture to its latent and back, by many methods, with the error always shown."""

import math
import uuid
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.media.images import data_uri, png_bytes
from ddim_app.runs import latent_files
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.inversion import METHODS, InvertRecipe
from ddim_app.runs.sources import MIDDLE
from ddim_app.studies.inversion_table_files import COLOURS
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.controls import Controls, num_train_timesteps
from ddim_app.ui.fields import PRIVATE, raw
from ddim_app.ui.invert.reading import OWN, OWN_CLAMPED, TASKS, inversion_of, single_latent
from ddim_app.ui.invert.view import COLUMNS, PAPER, InversionView
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import KEEP, RunTab
from ddim_app.ui.served_files import keep
from ddim_app.ui.uploads import opened, upload, uploaded_bytes

SAID = {
    "float": "The model's own sample of the seed, as it came out. The noise that it was made from is a latent of it; others may "
    "give the same picture, and the cosine below says which was found.",
    "clamped": "The same sample clamped to [-1, 1], as a saved picture is: the round trip is as good, its latent is another one.",
}
UPLOADED = "Fitted to the model. Pictures unlike its own come back too, but their latents look less like noise."
SERIES_COLOURS = {
    "residual": COLOURS[0], "std of z": COLOURS[0], PAPER: "#111827", **dict(zip(METHODS.values(), COLOURS, strict=True)),
}  # fmt: skip
HIDDEN: dict[str, Any] = {"picture": None}
FIELDS = (
    "task", "method", "strength", "decode_steps", "evaluations", "between", "methods", "curve steps", "picture", "crop", "latent",
)  # fmt: skip
TOASTED = ("picture", "source", "latent", "crop", "edited")
"""Fields of messages that stand on no input of the page."""


class InvertTab(RunTab):
    """Picture, latent, reconstruction and error; the error against steps; latents saved, loaded and decoded again."""

    title, name, go = "Invert", "invert", "Run inversion"

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        self.task = raw(gr.Radio(TASKS, value="invert", label="What to run", elem_id="invert-task"))
        with gr.Row():
            with gr.Column(scale=1, min_width=220):
                self.upload = upload("Picture: a file, the webcam or the clipboard", "invert-upload", height=190)
                with gr.Row(elem_classes="tools"):
                    own = gr.Button("Own sample of the seed", size="sm", min_width=90, elem_id="invert-own")
                    clamped = gr.Button("The same, clamped", size="sm", min_width=90, elem_id="invert-clamped")
                self.crop_view = gr.HTML(
                    HIDDEN, **component_files("crop"),
                    apply_default_css=False, elem_id="invert-crop",
                )  # fmt: skip
                self.said = text.line(SAID["float"], "invert-said", live=True)
            with gr.Column(scale=1, min_width=220):
                options = self._options()
        self.stage = gr.HTML(
            {"run": ""}, **component_files("invert"),
            apply_default_css=False, elem_id="invert",
        )  # fmt: skip
        self.plot = gr.LinePlot(None, x="x", y="y", color="series", height=280, visible=False, elem_id="invert-plot")
        with gr.Row(elem_classes="tools"):
            self.download = gr.DownloadButton("Save the latent", size="sm", interactive=False, elem_id="invert-save")
            self.send = gr.Button("Send to Interpolate", size="sm", visible=False, elem_id="invert-send")
            self.load = gr.File(label="Load a latent (.safetensors)", height=130, elem_id="invert-load")
        self.load.preprocess = uploaded_bytes  # type: ignore[method-assign]
        self.recipe = text.line("", "invert-recipe")
        self.picture, self.crop, self.latent = gr.State(OWN), gr.State(tuple(MIDDLE)), gr.State(None)
        """Latent: the bytes of the latent file that was found or loaded last; what Interpolate is sent."""
        self.inputs = [*settings.inputs, self.task, *options, self.picture, self.crop, self.latent]
        self.more_fields = FIELDS
        self.outputs = [self.stage, self.plot, self.latent, self.download, self.recipe, settings.last_seed]
        self._connect(own, clamped)

    def _options(self) -> list[Component]:
        method = raw(gr.Dropdown([(label, name) for name, label in METHODS.items()], value="fixed-point", label="Method",
                                 elem_id="invert-method"))  # fmt: skip
        strength = raw(gr.Slider(0, 1, 1, step=0.05, label="Strength", buttons=[], elem_id="invert-strength",
                                 info="How far up: 1 is the whole way to noise"))  # fmt: skip
        with gr.Row():
            down = raw(gr.Number(0, label="Steps down", step=1, min_width=90, info="0: as many as up", elem_id="invert-down"))
            budget = raw(gr.Number(0, label="Fixed-point evaluations", step=1, min_width=90, info="0: 4 for each step",
                                   elem_id="invert-evaluations"))  # fmt: skip
        between = raw(gr.Checkbox(False, label="Self-interpolation test (own samples)", elem_id="invert-between"))
        with gr.Accordion("Error against steps", open=False, elem_id="invert-curve"):
            steps = raw(gr.Textbox("10, 20, 50", label="Step counts", elem_id="invert-steps", max_lines=1))
            methods = raw(gr.CheckboxGroup([(label, name) for name, label in METHODS.items()],
                                           value=["ddim-target", "fixed-point", "o-belm"], label="Methods",
                                           elem_id="invert-methods"))  # fmt: skip
        text.line(
            "The way down takes eta and Second model of the left column; clipping is off, precision fp32 or fp64.", "invert-hint"
        )
        return [method, strength, down, budget, between, methods, steps]

    def _connect(self, own: gr.Button, clamped: gr.Button) -> None:
        model = self.settings.fields["model"]
        chosen = [self.picture, self.crop, self.crop_view, self.said, self.task]
        self.upload.change(self._uploaded, [self.upload, model], chosen, **PRIVATE)
        for button, value in ((own, OWN), (clamped, OWN_CLAMPED)):
            said = [value, tuple(MIDDLE), HIDDEN, SAID[value["own"]], "invert"]
            button.click(lambda said=said: said, None, chosen, **PRIVATE)
        # "multiple": of the turns of a wheel none may be lost while an earlier one is answered.
        self.crop_view.select(self._cropped, None, self.crop, trigger_mode="multiple", **PRIVATE)
        self.load.upload(self._loaded, [self.load, model], [self.latent, self.said, self.task, self.download], **PRIVATE)

    def send_to(self, file: gr.File, tab: str) -> None:
        """Shows the button that puts a single latent into a file input of another tab, and opens that tab."""

        def send(data: bytes | None) -> list[Any]:
            try:
                path = keep(single_latent(data), f"latent{latent_files.SUFFIX}")
            except FieldError as error:
                return [KEEP, str(error)]
            return [path, f"Sent to {tab} as its first end."]

        self.send.visible = True
        tabs = "[...document.querySelectorAll('[role=tab]')]"
        opened = f"said => said.startsWith('Sent') && {tabs}.find(tab => tab.textContent.trim() === '{tab}')?.click()"
        self.send.click(send, self.latent, [file, self.said], **PRIVATE).then(None, self.said, None, js=opened, **PRIVATE)

    # ---- what is put in ---------------------------------------------------------------------------------------------

    def _uploaded(self, data: bytes | None, model: Any) -> list[Any]:
        """The picture of an upload with its crop, or the sentence that says why it cannot be used."""
        if data is None:
            return [OWN, tuple(MIDDLE), HIDDEN, SAID["float"], KEEP]
        try:
            image = opened(data)
            _, height, width = self._shape(model)
        except FieldError as error:
            return [OWN, tuple(MIDDLE), HIDDEN, str(error), KEEP]
        kept = png_bytes(image)
        small = image.copy()
        small.thumbnail((480, 480))
        view = {"id": uuid.uuid4().hex, "picture": data_uri(small), "aspect": width / height}
        return [{"file": kept}, tuple(MIDDLE), view, UPLOADED, "invert"]

    def _cropped(self, event: gr.EventData) -> Any:
        said = event._data if isinstance(event._data, dict) else {}
        try:
            x, y, zoom = (float(said[name]) for name in ("x", "y", "zoom"))
        except (KeyError, TypeError, ValueError):
            return KEEP
        return (x, y, zoom) if 0 <= x <= 1 and 0 <= y <= 1 and 1 <= zoom <= 20 else KEEP

    def _loaded(self, data: bytes | None, model: Any) -> list[Any]:
        """A latent file for decoding, or the sentence that says why it cannot be used."""
        try:
            latent = latent_files.load(data or b"").check_shape(self._shape(model))
        except FieldError as error:
            return [KEEP, str(error), KEEP, KEEP]
        count = f"{len(latent.x)} latents" if len(latent.x) > 1 else "latent"
        words = f"Loaded: {latent.kind} {count} on {len(latent.timesteps)} levels, made by {latent.model}. Run decodes it."
        return [data, words, "decode", gr.skip()]

    def _shape(self, model: Any) -> tuple[int, int, int]:
        return self.shape_of(self.runs, model)

    @staticmethod
    def shape_of(runs: PageRuns, model: Any) -> tuple[int, int, int]:
        """(channels, height, width) of a model's pictures; raises FieldError for one that would have to be downloaded."""
        num_train_timesteps(runs.engine, model)
        if not runs.engine.is_here(model):
            raise FieldError("model", "must be here already: run it once in Compare, which downloads it")
        return runs.engine.model(model).shape

    # ---- the run ----------------------------------------------------------------------------------------------------

    def check(self, values: tuple[Any, ...]) -> None:
        """What is wrong with the picture or the latent is said by the run itself, as a message of its own."""
        try:
            super().check(values)
        except FieldError as error:
            if error.field not in TOASTED:
                raise

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[BaseRecipe, None]:
        named = self.settings.named(values[: -len(FIELDS)])
        own = dict(zip(FIELDS, values[-len(FIELDS) :], strict=True))
        return inversion_of(named, own, self._shape(named["model"]), num_train_timesteps(self.runs.engine, named["model"])), None

    def board(self, plan: Any, about: None) -> InversionView:
        return InversionView(plan)

    def before(self, recipe: Any) -> list[Any]:
        return [KEEP, gr.update(visible=False), KEEP, gr.update(interactive=False), KEEP, KEEP]

    def update(self, board: InversionView, plan: Any, frames: list[Any]) -> list[Any]:
        return [board.add(frames), KEEP, KEEP, KEEP, KEEP, KEEP]

    def last(self, board: InversionView, plan: Any, frames: list[Any], error: str | None) -> list[Any]:
        value, data = board.complete(frames, error), board.latent
        save = KEEP
        if data is not None:
            path = keep(data, f"latent{latent_files.SUFFIX}")
            save = gr.update(value=path, interactive=True)
        return [value, _plot(board), KEEP if data is None else data, save, recipe_line(plan), KEEP]


def recipe_line(plan: Any) -> str:
    """The run in one line."""
    recipe = plan.recipe
    if not isinstance(recipe, InvertRecipe):
        latent = plan.latent
        return f"{recipe.model} · {latent.kind} latent on {len(latent.timesteps)} levels · η = {plan.eta:g} · {recipe.precision}"
    source, arm = recipe.sources[0], recipe.arms[0]
    picture = "picture" if source.is_picture else f"own sample of seed {source.seed}{', clamped' if recipe.clamped else ''}"
    models = f"{recipe.model} → {recipe.decode_model}" if recipe.decode_model else recipe.model
    if len(recipe.arms) > 1:
        return f"{models} · {picture} · {len(recipe.arms)} ways · {arm.spacing} · {recipe.precision}"
    strength = "" if arm.strength == 1 else f" · strength {arm.strength:g}"
    return f"{models} · {picture} · {arm.label} · {text.grid_note(arm.steps, arm.spacing)}{strength} · {recipe.precision}"


def _plot(board: InversionView) -> Any:
    plotted = board.plot()
    if plotted is None or plotted[0].empty:
        return gr.update(visible=False)
    table, x, y = plotted
    finite = table[table["y"].map(math.isfinite)]
    return gr.LinePlot(
        finite[COLUMNS], x="x", y="y", color="series", x_title=x, y_title=y, color_title="", height=280, visible=True,
        color_map=SERIES_COLOURS,
        sort=sorted(set(finite["x"]), key=float) if finite["x"].dtype == object else None,
    )  # fmt: skip
