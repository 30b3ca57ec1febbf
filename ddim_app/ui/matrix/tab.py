"""The Steps x eta tab: a matrix of settings from the same noise, all cells as rows of one batch."""

import json
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gradio as gr

from ddim_app.errors import FieldError, RunError
from ddim_app.runs import axes
from ddim_app.runs.axes import Axis
from ddim_app.runs.forms import compare
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import download
from ddim_app.ui.controls import MORE_ARMS, Controls, num_train_timesteps
from ddim_app.ui.dimming import Dimmed
from ddim_app.ui.fields import PRIVATE, pressed, raw
from ddim_app.ui.matrix.quality_fold import QualityFold
from ddim_app.ui.matrix.stored_matrix import ACROSS, DOWN, stored_matrix
from ddim_app.ui.matrix.view import MatrixView
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import KEEP, RunTab

AXIS_CHOICES = [
    ("Steps", "steps"), ("η", "eta"), ("Spacing", "spacing"), ("Clipping", "clip"), ("Seed", "seed"),
    ("Noise seed", "noise_seed"),
    ("Branch", "branch"), ("Freeze x_t after step", "freeze"), ("Seconds", "seconds"), ("Model", "model"),
]  # fmt: skip
USUAL = {
    "steps": "5, 10, 20, 50, 100",
    "eta": "0, 0.5, 1, sigma-hat",
    "spacing": "leading, trailing, linspace, quadratic, log-snr",
    "clip": "clip, off, dynamic",
    "seed": "0, 1, 2, 3",
    "noise_seed": "0:5:1",
    "branch": "0:4:1",
    "freeze": "2, 5, 8",
    "seconds": "0.1, 0.2, 0.5",
    "model": "",
}
"""Values that an axis starts with; that of models starts with all that are here."""
VIEWS: dict[str, tuple[Any, ...]] = {
    "More steps, same noise": (*DOWN, *ACROSS, {}),
    "Several noises": ("eta", "0, 0.5, 1, sigma-hat", "noise_seed", "0:5:1", {}),
    "Equal evaluations": ("steps", "5, 10, 20", "eta", "0, 0.5, 1, sigma-hat, 2m", {}),
    "Equal seconds": ("seconds", "0.1, 0.2, 0.5", "eta", "0, 0.5, 1, sigma-hat", {}),
    "Frozen halfway": ("freeze", "2, 5, 8, 11, 14", "branch", "0:5:1", {"steps": 16, "eta": 1}),
}
"""Ready-made views: what runs down and its values, what runs across and its, and the settings that they need.

The DDIM paper's Fig. 5, its eta = 1 and sigma-hat rows of Table 1 at equal cost, and the DDPM paper's Fig. 7.
"""
OF_AXES = "for (const axis of [own.rows, own.columns]) delete own[axis === 'seconds' ? 'steps' : axis];"
"""JavaScript that takes out of the settings what an axis says in their place."""
PICKED = ("steps", "eta", "spacing", "clip", "variance", "ddpm_steps", "seed", "noise_seed", "branch", "model")
"""Fields of Compare that a cell sets."""


class Shown(NamedTuple):
    """What the page keeps of the matrix that it shows: the settings of its cells, and the files made of it."""

    cells: tuple[Arm, ...]
    png: bytes | None = None
    csv: bytes | None = None


class MatrixTab(RunTab):
    """A table of pictures over two settings, all from the same noise."""

    title, name, go = "Steps × η", "matrix", "Run matrix"
    second_field = "model"  # its other models are values of an axis
    headline = "More steps to the right, more noise down."
    sentence = "All cells start from the same noise. Press a cell to look closer."

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        with gr.Row(elem_classes="chips", elem_id="matrix-views"):
            stored = next(iter(VIEWS))
            views = {
                gr.Button(words, size="sm", min_width=60, elem_classes=["on"] * (words == stored)): view
                for words, view in VIEWS.items()
            }
        with gr.Column(elem_classes="card", elem_id="matrix-card"):
            self.axes, swap = _axes()
            self.table = gr.HTML(
                stored_matrix().value(), **component_files("matrix", "make", "lines"), apply_default_css=False, elem_id="matrix"
            )
            self.recipe = text.line("", "matrix-recipe")
            self.shown = gr.State(Shown(stored_matrix().recipe.arms))
            _files(self.shown)
        self.quality = QualityFold()
        self.inputs = [*self.settings.inputs, *self.axes]
        self.more_fields = ("rows", "row values", "columns", "column values")
        self.outputs = [self.table, self.recipe, self.shown]
        self.dimmed = Dimmed(self.name, self, shape=OF_AXES)
        self.told = self.dimmed.asked
        turned = "(...axes) => [axes[2], axes[3], axes[0], axes[1]]"
        self.also = [swap.click(None, self.axes, self.axes, js=turned, **PRIVATE)]
        for button, view in views.items():
            changed = [self.settings.fields[name] for name in view[4]]
            # In the browser, so that nothing typed in the meantime is overwritten.
            told = json.dumps([*view[:4], *view[4].values()])
            self.also.append(button.click(None, None, [*self.axes, *changed], js=f"() => {told}", **PRIVATE))
        self._connect_axes()
        picked = [*(settings.fields[name] for name in PICKED), settings.more_arms]
        js = "shown => [shown, window.cell]"
        self.table.select(self._pick, [self.shown, pressed()], picked, js=js, trigger_mode="always_last", **PRIVATE)

    def connect(self, demo: gr.Blocks) -> None:
        self.dimmed.connect()
        model: Any = self.settings.fields["model"]
        self.quality.connect(self.runs.engine, [self.place.select, model.change, self.settings.fetched.click], model, self.name)

    def _connect_axes(self) -> None:
        """Writes down an axis' usual values when it is chosen, and tells the column and the views what the axes say."""
        rows, row_values, columns, column_values = self.axes
        for axis, values in ((rows, row_values), (columns, column_values)):
            # Not `input`, which a dropdown also sends when it is only passed through by Tab.
            axis.select(self._usual, axis, values, **PRIVATE)
        # What an axis says is in no field of the column.
        known = json.dumps({words: dict(enumerate(view[:4])) for words, view in VIEWS.items()}, ensure_ascii=False)
        said = "document.body.dataset.axes = `${values[0]} ${values[2]}`;"
        told = f"(...values) => {{ {said} window.marked('matrix-views', {known}, values); return []; }}"
        gr.on([axis.change for axis in self.axes], None, self.axes, None, js=told, **PRIVATE)

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Recipe, tuple[Axis, Axis]]:
        """The recipe whose arms are the cells, row by row, and its axes; raises FieldError."""
        named, chosen = self.settings.named(values[:-4]), values[-4:]
        T = num_train_timesteps(self.runs.engine, named["model"])
        recipe = compare({**named, "second_model": ""}, T)
        base = recipe.arms[0]

        def steps_in(field: str, arm: Arm, seconds: float) -> int:
            if not self.runs.engine.is_here(recipe.model):
                raise FieldError(field, "in seconds need a model that is here already: run it once first")
            alone = replace(arm, start_arm=None, start_step=None)
            try:
                each = self.runs.engine.step_seconds(recipe.with_arms(alone))
            except RunError as error:
                raise FieldError("model", f"cannot be timed: {error}") from error
            return min(T, max(1, int(seconds / each)))

        rows = axes.parse(chosen[0], chosen[1], T, "row values", partial(steps_in, "row values"))
        columns = axes.parse(chosen[2], chosen[3], T, "column values", partial(steps_in, "column values"))
        return recipe.with_arms(*axes.trunk(base, rows, columns), *axes.cells(base, rows, columns)), (rows, columns)

    def stored_recipe(self, settings: Any = None) -> Recipe:
        return stored_matrix().recipe

    def board(self, plan: SamplingPlan, about: tuple[Axis, Axis]) -> MatrixView:
        return MatrixView(plan, *about)

    def before(self, recipe: Recipe) -> list[Any]:
        return [KEEP, KEEP, KEEP]

    def update(self, board: MatrixView, plan: SamplingPlan, frames: list[Frame]) -> list[Any]:
        return [board.add(frames), board.line(plan), Shown(board.cells)]

    def last(self, board: MatrixView, plan: SamplingPlan, frames: list[Frame], error: str | None) -> list[Any]:
        board.add(frames)
        files = (None, None) if error else (board.png(plan.recipe), board.csv())  # a part of it would pass for the whole
        return [board.complete(), board.line(plan), Shown(board.cells, *files)]

    def _usual(self, name: str) -> str:
        return ", ".join(self.runs.engine.catalogue.names()) if name == "model" else USUAL.get(name, "")

    def _pick(self, shown: Shown, index: Any) -> list[Any]:
        """A cell's settings for the fields PICKED, and its arm where that is neither DDIM nor DDPM; what cells share stays."""
        if not isinstance(index, int) or not 0 <= index < len(shown.cells):
            return [gr.skip()] * (len(PICKED) + 1)
        arm = shown.cells[index]
        own = [gr.skip() if value is None else value for value in (arm.seed, arm.noise_seed, arm.branch, arm.model)]
        own[1] = own[1] if arm.noise_seed is None else str(arm.noise_seed)
        more = [arm.method] if arm.method in MORE_ARMS else gr.skip()
        return [arm.steps, arm.eta, arm.spacing, arm.clip, arm.variance, 0, *own, more]


def _axes() -> tuple[list[Any], gr.Button]:
    """What runs down and its values, what runs across and its; and the button that changes them over."""
    with gr.Row(elem_id="axes"):
        across = gr.Dropdown(AXIS_CHOICES, value=ACROSS[0], label="Across", elem_id="columns-axis", min_width=110, scale=2)
        columns = raw(across)
        column_values = raw(gr.Textbox(ACROSS[1], label="Values across", elem_id="column-values", min_width=150, scale=4))
        rows = raw(gr.Dropdown(AXIS_CHOICES, value=DOWN[0], label="Down", elem_id="rows", min_width=110, scale=2))
        row_values = raw(gr.Textbox(DOWN[1], label="Values down", elem_id="row-values", min_width=150, scale=4))
        swap = gr.Button("⇄", size="sm", min_width=34, elem_id="swap-axes", scale=0)
    return [rows, row_values, columns, column_values], swap


def _files(shown: gr.State) -> None:
    """Buttons that hand over the table as files."""
    with gr.Row(elem_classes="views"):
        png = gr.Button("Table as PNG", size="sm", min_width=60, elem_id="save-sheet")
        csv = gr.Button("Numbers as CSV", size="sm", min_width=60, elem_id="save-numbers")
    saved = download.place("saved-sheet")
    for button, file in ((png, _png), (csv, _csv)):
        asked = button.click(file, shown, saved, show_progress="hidden", api_visibility="private")
        asked.then(dict, None, saved, **PRIVATE)  # what was handed over is not kept for the session


def _png(shown: Shown) -> dict[str, Any]:
    return _file("ddim-explorer-matrix.png", "image/png", shown.png, shown.cells == stored_matrix().recipe.arms, "png")


def _csv(shown: Shown) -> dict[str, Any]:
    return _file("ddim-explorer-matrix.csv", "text/csv", shown.csv, shown.cells == stored_matrix().recipe.arms, "csv")


def _file(name: str, mime: str, data: bytes | None, is_stored: bool, kind: str) -> dict[str, Any]:
    """The file of what is shown; that of the stored matrix is made when it is asked for."""
    if data is None and is_stored:
        data = getattr(stored_matrix(), kind)()
    return {"note": "The matrix is not whole: run it first."} if data is None else download.file(name, mime, data)
