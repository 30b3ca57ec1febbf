"""The cells of one matrix: their pictures as the table takes them, their distances, and what their noise spreads."""

import uuid
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ddim_app.diffusion import metrics
from ddim_app.media.animation import labelled_sheet, sheet_bytes
from ddim_app.media.images import contact_sheet, data_uri, enlargement, to_pixels
from ddim_app.runs.axes import NOISE_AXES, Axis
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan
from ddim_app.ui import text

DISTANCE_HINT = (
    "Under each cell: PSNR to DDIM(0) with the most steps, of the same seeds. A click takes a cell's settings to the left."
)
SPREAD_HINT = (
    "Spread: standard deviation of every pixel over the noises, on the [0, 1] scale, white at 0.25. DDIM(0) adds no noise, so its "
    "pictures coincide and its spread is 0."
)
FULL_SPREAD = 0.25
"""Standard deviation of a pixel, on the [0, 1] scale, that is drawn white."""


class MatrixView:
    """What has arrived of a matrix whose cells are the last arms of a plan, row by row."""

    def __init__(self, plan: SamplingPlan, rows: Axis, columns: Axis) -> None:
        self._plan, self._axes = plan, (rows, columns)
        self._newest: dict[int, Frame] = {}
        self._first = len(plan.recipe.arms) - len(rows.values) * len(columns.values)
        sample = self._picture(torch.zeros(plan.recipe.pictures, *plan.model.shape))
        self._about: dict[str, Any] = {
            "run": uuid.uuid4().hex,
            "rows": [self._header(rows, value, row * len(columns.values)) for row, value in enumerate(rows.values)],
            "columns": [self._header(columns, value, column) for column, value in enumerate(columns.values)],
            "spread": "columns" if columns.name in NOISE_AXES else "rows" if rows.name in NOISE_AXES else "",
            "width": sample.width,
            "height": sample.height,
        }

    @property
    def cells(self) -> tuple[Arm, ...]:
        """The settings of the cells, row by row."""
        return self._plan.recipe.arms[self._first :]

    def line(self, plan: SamplingPlan) -> str:
        """The matrix in one line."""
        sides = " x ".join(f"{axis.name} {', '.join(map(str, axis.values))}" for axis in self._axes)
        return f"{plan.recipe.model} · {sides} · {text.seeds(plan.recipe)} · {plan.recipe.precision}"

    def add(self, frames: list[Frame]) -> dict[str, Any]:
        """The value with the newest state of the cells that moved."""
        moved = {frame.arm: frame for frame in frames if frame.arm >= self._first}
        self._newest |= moved
        return {**self._about, "cells": [self._cell(frame, "") for frame in moved.values()]}

    def complete(self) -> dict[str, Any]:
        """The value with all cells, each with its distance to the reference of its seed, and what the noise spreads."""
        cells = [self._cell(frame, self._note(frame)) for frame in self._newest.values()]
        hints = [DISTANCE_HINT] if any(self._reference(arm) is not None for arm in self._newest) else []
        spreads = self._spreads()
        return {**self._about, "complete": True, "cells": cells + spreads, "hint": " ".join(hints + [SPREAD_HINT] * bool(spreads))}

    def distances(self) -> pd.DataFrame:
        """Root mean squared difference, of 255, of each finished cell to the reference of its seed."""
        along, across = self._axes[::-1] if self._axes[1].name == "steps" or self._axes[0].name != "steps" else self._axes
        table: dict[str, list[Any]] = {along.name: [], "RMSE of 255": [], across.name: []}
        for arm, frame in self._newest.items():
            apart = self._apart(frame)
            if apart is None:
                continue
            row, column = divmod(arm - self._first, len(self._axes[1].values))
            places = {id(self._axes[0]): row, id(self._axes[1]): column}
            value = along.values[places[id(along)]]
            table[along.name].append(value if along.name == "steps" else along.header(value))
            table[across.name].append(across.header(across.values[places[id(across)]]))
            table["RMSE of 255"].append(round(255 * apart**0.5, 3))
        return pd.DataFrame(table)

    def png(self, recipe: Recipe) -> bytes:
        """The matrix as one PNG with its headers, and the recipe inside."""
        return sheet_bytes(self.labelled(), recipe.to_json())

    def labelled(self) -> Image.Image:
        """The matrix as one picture with its headers."""
        scale = enlargement(*self._plan.model.shape[1:], at_least=96)
        columns = len(self._about["columns"])
        pictures = [self._newest.get(self._first + cell) for cell in range(len(self._about["rows"]) * columns)]
        cells = [frame and self._picture(frame.x_t, scale) for frame in pictures]
        return labelled_sheet(
            [cells[at : at + columns] for at in range(0, len(cells), columns)], self._about["rows"], self._about["columns"]
        )

    def _header(self, axis: Axis, value: Any, cell: int) -> str:
        """What stands over a row or column; of an axis of seconds with the steps that they are."""
        words = axis.header(value)
        if axis.name != "seconds":
            return words
        other = self._axes[0] if axis is self._axes[1] else self._axes[1]
        step = 1 if other is self._axes[1] else len(self._axes[1].values)
        steps = [self._plan.rows[self._first + cell + i * step].transitions for i in range(len(other.values))]
        low, high = min(steps), max(steps)
        return f"{words}: {low} steps" if low == high else f"{words}: {low} to {high} steps"

    def _reference(self, arm: int) -> int | None:
        """The DDIM(0) cell with the most steps that has the arm's seed and model."""
        arms = self._plan.recipe.arms
        alike = [
            i
            for i in self._newest
            if arms[i].method == "ddim"
            and arms[i].eta == 0
            and (arms[i].seed, arms[i].model) == (arms[arm].seed, arms[arm].model)
            and arms[i].start_arm == arms[arm].start_arm
        ]
        return max(alike, key=lambda i: self._plan.rows[i].transitions, default=None)

    def _apart(self, frame: Frame) -> float | None:
        """Mean squared difference of a finished cell's pictures to the reference of its seed, on the [0, 1] scale."""
        reference = self._reference(frame.arm)
        if reference is None or not (frame.is_last and self._newest[reference].is_last):
            return None
        return float(metrics.mse(frame.x_t.clamp(-1, 1), self._newest[reference].x_t.clamp(-1, 1)).mean())

    def _note(self, frame: Frame) -> str:
        if not frame.is_last:
            return f"step {frame.k + 1} of {frame.steps}"
        if frame.arm == self._reference(frame.arm):
            return "reference"
        apart = self._apart(frame)
        if apart is None:
            return f"{frame.steps} steps" if "seconds" in (axis.name for axis in self._axes) else ""
        return f"{-10 * torch.tensor(apart).log10().item():.1f} dB" if apart else "equal"

    def _spreads(self) -> list[dict[str, Any]]:
        """A map for each row (or column) whose cells differ in noise alone and are all finished, behind the last cell."""
        rows, columns = (len(axis.values) for axis in self._axes)
        if not self._about["spread"]:
            return []
        lines = range(rows) if self._about["spread"] == "columns" else range(columns)
        maps = []
        for line in lines:
            along_row = self._about["spread"] == "columns"
            inside = range(line * columns, (line + 1) * columns) if along_row else range(line, rows * columns, columns)
            frames = [self._newest.get(self._first + cell) for cell in inside]
            finals = [frame.x_t.clamp(-1, 1) / 2 + 0.5 for frame in frames if frame and frame.is_last]
            if len(finals) < len(frames) or len(finals) < 2:
                continue
            deviation = torch.stack(finals).std(0)
            picture = self._picture((deviation / FULL_SPREAD).mean(1, keepdim=True) * 2 - 1)
            maps.append(_value(rows * columns + line, 0, 1, picture, f"spread {float(deviation.mean()):.4f}"))
        return maps

    def _cell(self, frame: Frame, note: str) -> dict[str, Any]:
        picture = self._picture(frame.x_t if frame.is_last else frame.pred_x0)
        return _value(frame.arm - self._first, frame.k, frame.steps, picture, note)

    def _picture(self, x: Tensor, scale: int = 1) -> Image.Image:
        return contact_sheet(to_pixels(x), scale=scale)


def _value(index: int, k: int, steps: int, picture: Image.Image, note: str) -> dict[str, Any]:
    return {"index": index, "k": k, "steps": steps, "picture": data_uri(picture), "note": note}
