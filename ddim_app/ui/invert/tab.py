"""The Invert tab: a picture up to its noise and down again, with what came back said first."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.runs import latent_files
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.inversion import InvertRecipe
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.sources import MIDDLE
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import chart, download
from ddim_app.ui.controls import Controls, num_train_timesteps
from ddim_app.ui.dimming import Dimmed
from ddim_app.ui.fields import PRIVATE, dial, raw, told_files
from ddim_app.ui.hosting.gradio_patches import event_data, preprocessed
from ddim_app.ui.interpolate.ends import EndCards, with_file
from ddim_app.ui.invert.asking import ASKED, HIDDEN, UPWARD, asked, chosen, cropped, uploaded
from ddim_app.ui.invert.curve import Curve
from ddim_app.ui.invert.reading import OWN_CLAMPED, inversion_of, is_end, single_latent
from ddim_app.ui.invert.restoring import restored
from ddim_app.ui.invert.samples import FIRST, KEPT, sample_png, shown
from ddim_app.ui.invert.stored_trip import recipe as stored_trip_recipe
from ddim_app.ui.invert.stored_trip import stored_trip
from ddim_app.ui.invert.view import InversionView, recipe_line
from ddim_app.ui.invert.ways import Ways
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import GOES, KEEP, RunTab
from ddim_app.ui.uploads import uploaded_bytes

FIELDS = (
    "task", "strength", "decode_steps", "evaluations", "between", "methods", "curve steps", "picture", "crop", "latent",
)  # fmt: skip


class InvertTab(RunTab):
    """A picture, its noise and what comes back; every way up; the noise drawn down another way, saved, and sent on."""

    title, name, go = "Invert", "invert", "Run"
    says_itself = ("picture", "source", "latent", "crop", "edited")  # they stand on no input of the page
    headline = "Any picture, up to its noise and down again."
    sentence = (
        "DDIM adds no noise, so its path can be walked backwards. "
        "With enough steps the way down ends at your picture, to the pixel."
    )

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        stored = stored_trip()
        first = {"name": FIRST, "file": sample_png(FIRST)}
        looks = {"samples": list(shown(stored["own"])), "kept": KEPT}
        self.pictures = gr.HTML(
            {"chosen": FIRST, "size": "cropped to a square, 32 × 32"}, **told_files("pictures", looks), apply_default_css=False,
            elem_id="invert-pictures",
        )  # fmt: skip
        with gr.Column(elem_id="invert-upload"):  # out of sight: the card's script gives it its files
            self.upload_button = gr.UploadButton("Your picture", type="binary")
        self.stage = gr.HTML(stored["stage"], **component_files("invert"), apply_default_css=False, elem_id="invert")
        self.ways = Ways(self, stored["ways"])
        self._edit()
        options = self._folds(stored)
        self.task = gr.Textbox("invert", visible=False)
        self.goes = gr.Checkbox(False, visible=False)
        self.picture, self.upload, self.crop = gr.State(first), gr.State(None), gr.State(tuple(MIDDLE))
        self.latent = gr.State(stored["latent"])
        """The bytes of the latent file that was found or loaded last; what Interpolate is sent."""
        fields = {**self.settings.fields, "eta": self.eta, "second_model": self.second_model}
        self.settings = replace(self.settings, fields=fields)
        self.inputs = [*self.settings.inputs, self.task, *options, self.picture, self.crop, self.latent]
        self.more_fields = FIELDS
        self.outputs = [self.stage, self.tables, self.figures, self.residuals, self.latent, self.send, self.recipe]
        self.dimmed = Dimmed(self.name, self, ["seed", "methods", "curve steps"])
        self.told = self.dimmed.asked
        self.also = self._connect()

    # ---- what is laid out -------------------------------------------------------------------------------------------

    def _edit(self) -> None:
        """The card that draws the noise down another way, and hands it out."""
        with gr.Row(elem_id="invert-edit"):
            gr.HTML("", html_template="<h2>Edit</h2><p>The same noise, drawn down another way.</p>", apply_default_css=False,
                    elem_classes="card-title")  # fmt: skip
            self.eta = dial(
                "η on the way down", "eta-invert", 0, (0, 1), 0.01, blend=True, marks=[0, 0.25, 0.5, 0.75, 1],
                ticks=[(0, "0 DDIM"), (1, "1 DDPM")],
            )  # fmt: skip
            names = self.runs.engine.catalogue.names()
            self.second_model = gr.Dropdown(
                [("the same", ""), *names], value="", label="Model on the way down", allow_custom_value=True,
                elem_id="second-model-invert", min_width=160,
            )  # fmt: skip
            self.send = gr.Button("Send to Interpolate", size="sm", elem_id="invert-send", elem_classes="act", min_width=120)
            self.save = gr.Button("Save the noise", size="sm", elem_id="invert-save", elem_classes="act", min_width=100)
            self.sent = gr.Checkbox(False, visible=False)
            self.saved = download.place("invert-saved")
            self.said = text.line("", "invert-said", live=True)

    def _folds(self, stored: dict[str, Any]) -> list[Any]:
        """Numbers, residuals, the curve, the crop and rarer settings; returns the inputs among these."""
        with gr.Row():
            with gr.Accordion("Numbers: MSE, PSNR, SSIM, moments of the noise", open=False, elem_id="invert-numbers"):
                self.tables = gr.HTML(
                    stored["tables"], **component_files("numbers"), apply_default_css=False, elem_id="invert-table"
                )
                self.figures = gr.HTML(
                    stored["figures"], **component_files("figures"), apply_default_css=False, elem_id="invert-figures"
                )
                self.recipe = text.line("", "invert-recipe")
            with gr.Accordion("Residual of each step up", open=False, elem_id="invert-residual"):
                self.residuals = chart.component("invert-plot", stored["residuals"])
        with gr.Row():
            with gr.Accordion("Error against steps, as in the DDIM paper's Table 2", open=False, elem_id="invert-curve"):
                self.curve = Curve(self)
            with gr.Accordion("Crop", open=False, elem_id="invert-crop-fold"):
                self.crop_view = gr.HTML(HIDDEN, **component_files("crop"), apply_default_css=False, elem_id="invert-crop")
                text.line("Of an own picture; press Run then. What is transparent is laid over white.", "invert-crop-hint")
        with gr.Accordion("Part of the way, own samples, latent files", open=False, elem_id="invert-more"):
            options = self._options()
        return [*options, self.curve.methods, self.curve.steps]

    def _options(self) -> list[Any]:
        with gr.Row():
            strength = raw(gr.Slider(0, 1, 1, step=0.05, label="Strength", buttons=[], elem_id="invert-strength",
                                     info="How far up: 1 is the whole way to noise"))  # fmt: skip
            down = raw(gr.Number(0, label="Steps down", step=1, min_width=90, info="0: as many as up", elem_id="invert-down"))
            budget = raw(gr.Number(0, label="Fixed-point evaluations", step=1, min_width=90, info="0: 4 for each step",
                                   elem_id="invert-evaluations"))  # fmt: skip
        with gr.Row():
            between = raw(gr.Checkbox(False, label="Self-interpolation test (own samples)", elem_id="invert-between"))
            self.clamped = gr.Button("Own sample of the seed, clamped", size="sm", min_width=90, elem_id="invert-clamped")
            self.load = gr.File(label="Load a latent (.safetensors)", height=110, elem_id="invert-load")
        preprocessed(self.load, uploaded_bytes)
        return [strength, down, budget, between]

    # ---- what asks for a run ----------------------------------------------------------------------------------------

    def _connect(self) -> list[Any]:
        """The events that ask for a run, each behind the gate that lets it go on."""
        fields = self.settings.fields
        places = dict(zip(ASKED, [
            self.picture, self.upload, self.crop, self.crop_view, self.pictures, self.task, self.goes, self.eta, self.second_model,
            fields["steps"], fields["method"], self.said,
        ], strict=True))  # fmt: skip
        model, outputs = fields["model"], list(places.values())
        often = {**PRIVATE, "trigger_mode": "multiple"}
        asks = [
            self.pictures.select(self._chosen, [model, self.upload], outputs, **often),
            self.upload_button.upload(self._uploaded, [self.upload_button, model, self.picture, self.upload], outputs, **often),
            self.clamped.click(lambda: asked(picture=OWN_CLAMPED, **UPWARD), None, outputs, **PRIVATE),
            gr.on([self.stage.select, self.ways.card.select], self._taken, None, outputs, **often),
            gr.on([fields["steps"].release, fields["method"].select], self._moved, self.inputs, outputs, **often),  # type: ignore[attr-defined]
            gr.on([self.eta.release, self.second_model.select], lambda: asked(task="decode", goes=True), None, outputs, **often),
            self.load.upload(self._loaded, [self.load, model], [self.latent, *outputs], **PRIVATE),
        ]  # fmt: skip
        # "multiple": of the turns of a wheel none may be lost while an earlier one is answered.
        self.crop_view.select(cropped, None, self.crop, **often)
        handed = self.save.click(self._saved, self.latent, self.saved, **PRIVATE)
        handed.then(dict, None, self.saved, **PRIVATE)  # what was handed over is not kept for the session
        # Where nothing is run unasked all of them only set what Run then takes.
        return [event.then(None, self.goes, None, js=GOES, **PRIVATE) for event in asks] if self.runs.makes_unasked else []

    def connect(self, demo: gr.Blocks) -> None:
        self.curve.connect()
        brought = [self.settings.seed.input, self.clamped.click, self.load.upload]  # type: ignore[attr-defined]
        self.dimmed.connect(*brought)
        self.ways.connect(*brought)
        # What was pressed, brought or restored: no field says it.
        js = f"value => {{ window.picked(value, '{FIRST}'); return []; }}"
        self.pictures.change(None, self.pictures, None, js=js, **PRIVATE)

    def send_to(self, ends: EndCards, eta: Component, tab: str) -> None:
        """Makes the button put a single latent into the first card of another tab, set its eta to 0, and open that tab."""

        def send(data: bytes | None, *shown_ends: Any) -> list[Any]:
            try:  # at eta 0, where the picture comes back
                return [*with_file(self.runs.engine, single_latent(data), *shown_ends), 0, f"Sent to {tab} as its first end.", True]
            except FieldError as error:
                return [KEEP, KEEP, KEEP, str(error), False]

        given = [self.latent, ends.cards, ends.files, self.settings.fields["model"]]
        sending = self.send.click(send, given, [ends.cards, ends.files, eta, self.said, self.sent], **PRIVATE)
        sending.then(None, self.sent, None, js="sent => { if (sent) window.openTab('interpolate'); return []; }", **PRIVATE)

    def _chosen(self, event: gr.EventData, model: Any, upload: Any) -> list[Any]:
        return chosen(event_data(event).get("value"), upload, self._size(model))

    def _uploaded(self, data: bytes | None, model: Any, before: Any, upload: Any) -> list[Any]:
        return uploaded(data, before, upload, self._size(model))

    def _size(self, model: Any) -> tuple[int, int] | None:
        """(height, width) of the model's pictures, where it is here; of one that is not, the run says it."""
        try:
            _, height, width = self._shape(model)
        except FieldError:
            return None
        return height, width

    def _taken(self, event: gr.EventData) -> list[Any]:
        """A button of the verdict, or a row of the ways: other steps, or another method, and the run of it."""
        said = event_data(event)
        act = said.get("act")
        if act not in ("steps", "method"):
            return asked(goes=False)
        return asked(**{act: said.get("value")}, **UPWARD)

    def _moved(self, *values: Any) -> list[Any]:
        """A setting that was let go of: the run of it, where that does not take long."""
        return asked(**{**UPWARD, "goes": self.is_quick(self._on_the_way_up(values))})

    def _on_the_way_up(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        places = {self.task: "invert", self.eta: 0, self.second_model: ""}
        return tuple(places.get(field, value) for field, value in zip(self.inputs, values, strict=True))

    def _loaded(self, data: bytes | None, model: Any) -> list[Any]:
        """A latent file, which is drawn at once, or the sentence that says why it cannot be used."""
        try:
            latent = latent_files.load(data or b"").check_shape(self._shape(model))
        except FieldError as error:
            return [KEEP, *asked(said=str(error), goes=False)]
        count = f"{len(latent.x)} latents" if len(latent.x) > 1 else "latent"
        words = f"Loaded: {latent.kind} {count} on {len(latent.timesteps)} levels, made by {latent.model}."
        return [data, *asked(said=words, task="decode", eta=latent.eta, second_model="", goes=True)]

    def _saved(self, data: bytes | None) -> dict[str, Any]:
        return download.file(f"latent{latent_files.SUFFIX}", "application/octet-stream", data) if data else {"note": "Nothing yet."}

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

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[BaseRecipe, None]:
        named = self.settings.named(values[: -len(FIELDS)])
        own = {"method": named["method"], **dict(zip(FIELDS, values[-len(FIELDS) :], strict=True))}
        return inversion_of(named, own, self._shape(named["model"]), num_train_timesteps(self.runs.engine, named["model"])), None

    @property
    def restored_to(self) -> list[Component]:
        return [*self.inputs, self.pictures, self.upload, self.crop_view]

    def values_of(self, recipe: BaseRecipe) -> list[Any] | None:
        if (made := restored(recipe)) is None:
            return None
        column = [made.column.get(name, KEEP) for name in self.settings.fields]
        card = [made.picture.get(name, KEEP) for name in ("pictures", "upload", "crop_view")]
        return [*column, *(made.own.get(name, KEEP) for name in FIELDS), *card]

    def stored_recipe(self, settings: Any = None) -> InvertRecipe:
        return stored_trip_recipe()

    async def run(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        self.runs.end((request.session_hash, Ways.place))
        async for shown_now in super().run(request, *values):
            yield shown_now

    def stop(self, request: gr.Request) -> Any:
        for place in (Ways.place, Curve.place):
            self.runs.end((request.session_hash, place))
        return super().stop(request)

    def behind(self, recipe: Any) -> int:
        return self.ways.evaluations(recipe) if isinstance(recipe, InvertRecipe) and len(recipe.arms) == 1 else 0

    def board(self, plan: Any, about: None) -> InversionView:
        key = self.ways.board(plan.recipe).key if isinstance(plan.recipe, InvertRecipe) else ""
        return InversionView(plan, key)

    def before(self, recipe: Any) -> list[Any]:
        return [KEEP, {"rows": []}, {"rows": []}, {}, KEEP, gr.update(interactive=False), KEEP]

    def update(self, board: InversionView, plan: Any, frames: list[Any]) -> list[Any]:
        return [board.add(frames), *[KEEP] * 6]

    def last(self, board: InversionView, plan: Any, frames: list[Any], error: str | None) -> list[Any]:
        value = board.complete(frames, error)
        if isinstance(board.result, InversionResult):
            # What the run is recorded with, the hashes of its weights, is no part of what it asked for.
            self.ways.board(board.recipe).add(board.recipe.arms[0], board.result)
        data = KEEP if board.latent is None else board.latent
        sending = gr.update(interactive=is_end(board.latent))
        return [value, board.tables(), board.figures(), board.plot(), data, sending, recipe_line(plan)]
