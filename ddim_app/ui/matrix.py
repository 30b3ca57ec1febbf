"""The Steps x eta tab: a matrix of settings from the same noise, all cells as rows of one batch."""

import base64
import uuid
from typing import Any

import gradio as gr
import torch

from ddim_app import axes, metrics
from ddim_app.axes import Axis
from ddim_app.images import contact_sheet, png_bytes, to_pixels
from ddim_app.plan import Frame, SamplingPlan
from ddim_app.recipe import FieldError, Recipe, compare
from ddim_app.ui import text
from ddim_app.ui.fields import PRIVATE, raw
from ddim_app.ui.runs import Runs
from ddim_app.ui.settings import Settings, num_train_timesteps
from ddim_app.ui.stage import asset
from ddim_app.ui.tab import KEEP, RunTab

AXIS_CHOICES = [("Steps", "steps"), ("eta", "eta"), ("Spacing", "spacing"), ("Clipping", "clip")]
USUAL = {
    "steps": "5, 10, 20, 50",
    "eta": "0, 0.5, 1, sigma-hat",
    "spacing": "leading, trailing, linspace, quadratic",
    "clip": "clip, off, dynamic",
}
"""Values that an axis starts with."""
HINT = "Under each cell: PSNR to DDIM(0) with the most steps, of the same seeds. A click takes a cell's settings to the left."


class MatrixTab(RunTab):
    """A table of pictures over two settings, all from the same noise."""

    title, name, go = "Steps × eta", "matrix", "Run matrix"

    def __init__(self, runs: Runs, settings: Settings) -> None:
        super().__init__(runs, settings)
        with gr.Row():
            rows = raw(gr.Dropdown(AXIS_CHOICES, value="steps", label="Rows", elem_id="rows", min_width=110, scale=1))
            row_values = raw(gr.Textbox(USUAL["steps"], label="Row values", elem_id="row-values", min_width=180, scale=3))
            columns = raw(gr.Dropdown(AXIS_CHOICES, value="eta", label="Columns", elem_id="columns-axis", min_width=110, scale=1))
            column_values = raw(gr.Textbox(USUAL["eta"], label="Column values", elem_id="column-values", min_width=180, scale=3))
        self.axes = [rows, row_values, columns, column_values]
        self.cost = text.line("", "matrix-cost")
        self.table = gr.HTML(
            {"run": ""}, html_template=asset("matrix.html"), css_template=asset("matrix.css"), js_on_load=asset("matrix.js"),
            apply_default_css=False, elem_id="matrix",
        )  # fmt: skip
        self.recipe = text.line("", "matrix-recipe")
        self.shown = gr.State(None)
        self.inputs = [*settings.inputs, *self.axes]
        self.more_fields = ("rows", "row values", "columns", "column values")
        self.outputs = [self.table, self.recipe, self.shown, settings.last_seed]
        for axis, values in ((rows, row_values), (columns, column_values)):
            # Not `input`, which a dropdown also sends when it is only passed through by Tab.
            axis.select(lambda name: USUAL.get(name, ""), axis, values, **PRIVATE)
        picked = [settings.fields[name] for name in ("steps", "eta", "spacing", "clip", "variance", "ddpm_steps")]
        self.table.select(self._pick, self.shown, picked, **PRIVATE)

    def connect(self, demo: gr.Blocks) -> None:
        changes = [field.change for field in (*self.settings.inputs, *self.axes)]  # type: ignore[attr-defined]
        gr.on([demo.load, *changes], self.cost_line, self.inputs, self.cost, trigger_mode="always_last", **PRIVATE)

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Recipe, tuple[Axis, Axis]]:
        """The recipe whose arms are the cells, row by row, and its axes; raises FieldError."""
        named, chosen = self.settings.named(values[:-4]), values[-4:]
        T = num_train_timesteps(self.runs.engine, named["model"])
        base = compare(named, T)
        rows, columns = axes.parse(chosen[0], chosen[1], T, "row values"), axes.parse(chosen[2], chosen[3], T, "column values")
        return base.with_arms(*axes.cells(base.arms[0], rows, columns)), (rows, columns)

    def cost_line(self, *values: Any) -> str:
        """What the matrix takes, or the sentence of the first wrong value."""
        engine = self.runs.engine
        try:
            plan = engine.plan(self.recipe_of(values)[0])
        except FieldError as error:
            return str(error)
        return text.sampling_cost_line(plan, engine.calls(plan), engine.seconds(plan)).split("\n")[0]

    def board(self, plan: SamplingPlan, about: tuple[Axis, Axis]) -> "Sheet":
        return Sheet(plan, *about)

    def before(self, recipe: Recipe) -> list[Any]:
        return [KEEP, KEEP, KEEP, recipe.seed]

    def update(self, board: "Sheet", plan: SamplingPlan, frames: list[Frame]) -> list[Any]:
        return [board.add(frames), board.line(plan), plan.recipe, KEEP]

    def last(self, board: "Sheet", plan: SamplingPlan, frames: list[Frame], error: str | None) -> list[Any]:
        board.add(frames)
        return [board.complete(), board.line(plan), plan.recipe, KEEP]

    def _pick(self, recipe: Recipe | None, event: gr.EventData) -> list[Any]:
        """A cell's settings for the sliders."""
        index = event._data.get("index") if isinstance(event._data, dict) else None
        if recipe is None or not isinstance(index, int) or not 0 <= index < len(recipe.arms):
            return [gr.skip()] * 6
        arm = recipe.arms[index]
        return [arm.steps, arm.eta, arm.spacing, arm.clip, arm.variance, 0]


class Sheet:
    """The cells of one matrix as the table takes them."""

    def __init__(self, plan: SamplingPlan, rows: Axis, columns: Axis) -> None:
        self._plan, self._axes = plan, (rows, columns)
        self._newest: dict[int, Frame] = {}
        sample = contact_sheet(to_pixels(torch.zeros(plan.recipe.pictures, *plan.model.shape)))
        self._about = {
            "run": uuid.uuid4().hex,
            "rows": [rows.header(value) for value in rows.values],
            "columns": [columns.header(value) for value in columns.values],
            "width": sample.width,
            "height": sample.height,
        }

    def line(self, plan: SamplingPlan) -> str:
        """The matrix in one line."""
        sides = " x ".join(f"{axis.name} {', '.join(map(str, axis.values))}" for axis in self._axes)
        return f"{plan.recipe.model} · {sides} · {text.seeds(plan.recipe)} · {plan.recipe.precision}"

    def add(self, frames: list[Frame]) -> dict[str, Any]:
        """The value with the newest state of the cells that moved."""
        moved = {frame.arm: frame for frame in frames}
        self._newest |= moved
        return {**self._about, "cells": [self._cell(frame, "") for frame in moved.values()]}

    def complete(self) -> dict[str, Any]:
        """The value with all cells, each with its distance to the reference."""
        reference = self._reference()
        cells = [self._cell(frame, self._note(frame, reference)) for frame in self._newest.values()]
        return {**self._about, "complete": True, "cells": cells, "hint": HINT if reference is not None else ""}

    def _reference(self) -> int | None:
        """The DDIM(0) cell with the most steps."""
        arms = self._plan.recipe.arms
        candidates = [i for i, arm in enumerate(arms) if arm.method == "ddim" and arm.eta == 0 and i in self._newest]
        return max(candidates, key=lambda i: self._plan.rows[i].transitions, default=None)

    def _note(self, frame: Frame, reference: int | None) -> str:
        if reference is None or not frame.is_last:
            return f"step {frame.k + 1} of {frame.steps}" if not frame.is_last else ""
        if frame.arm == reference:
            return "reference"
        apart = metrics.mse(frame.x_t.clamp(-1, 1), self._newest[reference].x_t.clamp(-1, 1)).mean()
        return f"{float(-10 * apart.log10()):.1f} dB" if apart else "equal"

    def _cell(self, frame: Frame, note: str) -> dict[str, Any]:
        sheet = contact_sheet(to_pixels(frame.x_t if frame.is_last else frame.pred_x0))
        picture = "data:image/png;base64," + base64.b64encode(png_bytes(sheet)).decode("ascii")
        return {"index": frame.arm, "k": frame.k, "steps": frame.steps, "picture": picture, "note": note}
