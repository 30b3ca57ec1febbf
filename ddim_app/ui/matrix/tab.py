"""The Steps x eta tab: a matrix of settings from the same noise, all cells as rows of one batch."""

import json
from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd

from ddim_app.errors import FieldError
from ddim_app.runs import axes
from ddim_app.runs.axes import Axis
from ddim_app.runs.forms import compare
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import download
from ddim_app.ui.controls import Controls, num_train_timesteps
from ddim_app.ui.fields import PRIVATE, on_any, raw
from ddim_app.ui.matrix.view import MatrixView
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import KEEP, RunTab

AXIS_CHOICES = [
    ("Steps", "steps"), ("eta", "eta"), ("Spacing", "spacing"), ("Clipping", "clip"), ("Seed", "seed"),
    ("Noise seed", "noise_seed"),
    ("Branch", "branch"), ("Freeze x_t after step", "freeze"), ("Seconds", "seconds"), ("Model", "model"),
]  # fmt: skip
USUAL = {
    "steps": "5, 10, 20, 50",
    "eta": "0, 0.5, 1, sigma-hat",
    "spacing": "leading, trailing, linspace, quadratic",
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
    "Same x_T, growing S": ("eta", "0, 1", "steps", "5, 10, 20, 50, 100", {}),
    "Same x_T, several noises": ("eta", "0, 0.5, 1, sigma-hat", "noise_seed", "0:5:1", {}),
    "Equal NFE": ("steps", "5, 10, 20", "eta", "0, 0.5, 1, sigma-hat", {}),
    "Equal seconds": ("seconds", "0.1, 0.2, 0.5", "eta", "0, 0.5, 1, sigma-hat", {}),
    "Branches from a frozen x_t": ("freeze", "2, 5, 8, 11, 14", "branch", "0:5:1", {"steps": 16, "eta": 1}),
}
"""Ready-made views: rows and their values, columns and theirs, and the settings that they need.

The DDIM paper's Fig. 5, its eta = 1 and sigma-hat rows of Table 1 at equal cost, and the DDPM paper's Fig. 7.
"""


PICKED = ("steps", "eta", "spacing", "clip", "variance", "ddpm_steps", "seed", "noise_seed", "branch", "model")
"""Fields that a click on a cell sets."""


class MatrixTab(RunTab):
    """A table of pictures over two settings, all from the same noise."""

    title, name, go = "Steps × eta", "matrix", "Run matrix"

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        with gr.Row(elem_classes="views"):
            views = {gr.Button(words, size="sm", min_width=60): view for words, view in VIEWS.items()}
        with gr.Row():
            rows = raw(gr.Dropdown(AXIS_CHOICES, value="steps", label="Rows", elem_id="rows", min_width=150, scale=2))
            row_values = raw(gr.Textbox(USUAL["steps"], label="Row values", elem_id="row-values", min_width=180, scale=3))
            columns = raw(gr.Dropdown(AXIS_CHOICES, value="eta", label="Columns", elem_id="columns-axis", min_width=150, scale=2))
            column_values = raw(gr.Textbox(USUAL["eta"], label="Column values", elem_id="column-values", min_width=180, scale=3))
        self.axes = [rows, row_values, columns, column_values]
        self.cost = text.line("", "matrix-cost")
        self.table = gr.HTML(
            {"run": ""}, **component_files("matrix"),
            apply_default_css=False, elem_id="matrix",
        )  # fmt: skip
        with gr.Accordion("Distance to DDIM(0) with the most steps, at equal seeds", open=False, elem_id="distance-fold"):
            self.plot = gr.LinePlot(
                None, x="steps", y="RMSE of 255", color="eta", height=260, elem_id="distance", show_label=False,
            )  # fmt: skip
        self.recipe = text.line("", "matrix-recipe")
        with gr.Row(elem_classes="views"):
            save = gr.Button("Download labelled sheet", size="sm", min_width=60, elem_id="save-sheet")
        saved = download.place("saved-sheet")
        self.shown, sheet = gr.State(None), gr.State(None)
        self.inputs = [*settings.inputs, *self.axes]
        self.more_fields = ("rows", "row values", "columns", "column values")
        self.outputs = [self.table, self.recipe, self.shown, settings.last_seed, self.plot, sheet]
        asked = save.click(_file, sheet, saved, show_progress="hidden", api_visibility="private")
        asked.then(dict, None, saved, **PRIVATE)  # what was handed over is not kept for the session
        for axis, values in ((rows, row_values), (columns, column_values)):
            # Not `input`, which a dropdown also sends when it is only passed through by Tab.
            axis.select(self._usual, axis, values, **PRIVATE)
        for button, view in views.items():
            changed = [settings.fields[name] for name in view[4]]
            # In the browser, so that nothing typed in the meantime is overwritten.
            told = json.dumps([*view[:4], *view[4].values()])
            button.click(None, None, [*self.axes, *changed], js=f"() => {told}", **PRIVATE)
        self.table.select(self._pick, self.shown, [settings.fields[name] for name in PICKED], **PRIVATE)

    def connect(self, demo: gr.Blocks) -> None:
        changes = [field.change for field in (*self.settings.inputs, *self.axes)]  # type: ignore[attr-defined]
        on_any([demo.load, *changes], self.cost_line, self.inputs, [self.cost])

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Recipe, tuple[Axis, Axis]]:
        """The recipe whose arms are the cells, row by row, and its axes; raises FieldError."""
        named, chosen = self.settings.named(values[:-4]), values[-4:]
        T = num_train_timesteps(self.runs.engine, named["model"])
        recipe = compare({**named, "second_model": ""}, T)
        base = recipe.arms[0]

        def steps_in(arm: Arm, seconds: float) -> int:
            if not self.runs.engine.is_here(recipe.model):
                raise FieldError("values", "in seconds need a model that is here already: run it once first")
            alone = replace(arm, start_arm=None, start_step=None)
            return min(T, max(1, int(seconds / self.runs.engine.step_seconds(recipe.with_arms(alone)))))

        rows = axes.parse(chosen[0], chosen[1], T, "row values", steps_in)
        columns = axes.parse(chosen[2], chosen[3], T, "column values", steps_in)
        return recipe.with_arms(*axes.trunk(base, rows, columns), *axes.cells(base, rows, columns)), (rows, columns)

    def cost_line(self, *values: Any) -> str:
        """What the matrix takes, or the sentence of the first wrong value."""
        engine = self.runs.engine
        try:
            recipe, _ = self.recipe_of(values)
            if not all(map(engine.is_here, recipe.models)):
                return text.DOWNLOADED
            plan = engine.plan(recipe)
        except FieldError as error:
            return str(error)
        return text.sampling_cost_line(plan, engine.calls(plan), engine.seconds(plan)).split("\n")[0]

    def board(self, plan: SamplingPlan, about: tuple[Axis, Axis]) -> MatrixView:
        return MatrixView(plan, *about)

    def before(self, recipe: Recipe) -> list[Any]:
        return [KEEP, KEEP, KEEP, recipe.seed, KEEP, None]

    def update(self, board: MatrixView, plan: SamplingPlan, frames: list[Frame]) -> list[Any]:
        return [board.add(frames), board.line(plan), board.cells, KEEP, KEEP, KEEP]

    def last(self, board: MatrixView, plan: SamplingPlan, frames: list[Frame], error: str | None) -> list[Any]:
        board.add(frames)
        sheet = None if error else board.png(plan.recipe)  # a part of it would pass for the whole
        return [board.complete(), board.line(plan), board.cells, KEEP, _plot(board.distances()), sheet]

    def _usual(self, name: str) -> str:
        return ", ".join(self.runs.engine.catalogue.names()) if name == "model" else USUAL.get(name, "")

    def _pick(self, cells: tuple[Arm, ...] | None, event: gr.EventData) -> list[Any]:
        """A cell's settings for the fields PICKED; what the cell shares with the others stays as it is."""
        index = event._data.get("index") if isinstance(event._data, dict) else None
        if cells is None or not isinstance(index, int) or not 0 <= index < len(cells):
            return [gr.skip()] * len(PICKED)
        arm = cells[index]
        own = [gr.skip() if value is None else value for value in (arm.seed, arm.noise_seed, arm.branch, arm.model)]
        own[1] = own[1] if arm.noise_seed is None else str(arm.noise_seed)
        return [arm.steps, arm.eta, arm.spacing, arm.clip, arm.variance, 0, *own]


def _file(sheet: bytes | None) -> dict[str, Any]:
    if sheet is None:
        return {"note": "Run the matrix first."}
    return download.file("ddim-explorer-matrix.png", "image/png", sheet)


def _plot(distances: pd.DataFrame) -> Any:
    """The plot's update: along its first column, a line for each value of its last."""
    if distances.empty:
        return gr.update(value=None)
    along, across = distances.columns[0], distances.columns[2]
    return gr.LinePlot(distances, x=along, y="RMSE of 255", color=across, x_title=along, color_title=across)
