"""The cells of one matrix: their pictures as the table takes them, their distances, and what their noise spreads."""

import csv
import io
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from ddim_app.diffusion import metrics
from ddim_app.lazy import Tensor, torch
from ddim_app.media.animation import labelled_sheet, sheet_bytes
from ddim_app.media.images import contact_sheet, data_uri, enlargement, to_pixels
from ddim_app.runs.axes import NOISE_AXES, SIGMA_HAT, Axis
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan
from ddim_app.ui import text

DISTANCE_HINT = "Under each cell: how far it is from its own sampler's cell with the most steps (RMSE of 255)."
LIMIT_HINT = "DPM-Solver++ solves DDIM(0)'s flow: its distance is to DDIM(0)'s cell with the most steps."
SPREAD_HINT = (
    "Spread: standard deviation of every pixel over the noises, on the [0, 1] scale, white at 0.25. DDIM(0) adds no noise, so its "
    "pictures coincide and its spread is 0."
)
FULL_SPREAD = 0.25
"""Standard deviation of a pixel, on the [0, 1] scale, that is drawn white."""
TRUSTED = 20
"""Steps up to which a distance to fewer than all T steps carries a verdict: the reference itself still moves."""
SAMPLERS = {
    0.0: ("η 0", "DDIM", 0, False),
    1.0: ("η 1", "DDPM", 1, False),
    SIGMA_HAT: ("σ̂", "DDPM, larger noise", 1, True),
    "2m": ("2M", "DPM-Solver++", 4, False),
}
"""Title, note, place in the palette and dashes of those values of eta that have a name; others are drawn in ink."""


def header(axis: Axis, value: Any, turn: int) -> dict[str, Any]:
    """What stands beside a row or over a column, and how its line is drawn."""
    if axis.name == "eta":
        between = (f"η {value}", "between", 2 if turn < 4 else turn, False)
        title, note, colour, dashed = SAMPLERS.get(value, between)
        return {"title": title, "note": note, "colour": colour, "dashed": dashed}
    return {"title": axis.header(value), "note": "", "colour": turn, "dashed": False}


class MatrixView:
    """What has arrived of a matrix whose cells are the last arms of a plan, row by row."""

    def __init__(self, plan: SamplingPlan, rows: Axis, columns: Axis) -> None:
        self._plan, self._axes = plan, (rows, columns)
        self._newest: dict[int, Frame] = {}
        self._first = len(plan.recipe.arms) - len(rows.values) * len(columns.values)
        sample = self._picture(torch.zeros(plan.recipe.pictures, *plan.model.shape))
        self._about: dict[str, Any] = {
            "run": uuid.uuid4().hex,
            **sides(rows, columns),
            "width": sample.width,
            "height": sample.height,
        }
        for side, axis, step in (("rows", rows, len(columns.values)), ("columns", columns, 1)):
            for at, head in enumerate(self._about[side]):
                head["note"] = head["note"] or self._steps_in(axis, at * step)

    @property
    def cells(self) -> tuple[Arm, ...]:
        """The settings of the cells, row by row."""
        return self._plan.recipe.arms[self._first :]

    def line(self, plan: SamplingPlan) -> str:
        """The matrix in one line."""
        ends = " x ".join(f"{axis.name} {', '.join(map(str, axis.values))}" for axis in self._axes)
        return f"{plan.recipe.model} · {ends} · {text.seeds(plan.recipe)} · {plan.recipe.precision}"

    def add(self, frames: list[Frame]) -> dict[str, Any]:
        """The value with the newest state of the cells that moved."""
        moved = {frame.arm: frame for frame in frames if frame.arm >= self._first}
        self._newest |= moved
        return {**self._about, "cells": [self._cell(frame) for frame in moved.values()]}

    def complete(self) -> dict[str, Any]:
        """The value with all cells, each with its distance to the reference of its seed, and what the noise spreads."""
        within, arms = self._within(), self._plan.recipe.arms
        cells = [self._cell(frame) | self._distance(frame, within) for frame in self._newest.values()]
        references = {arm: self._reference(arm) for arm in self._newest}
        hints = [DISTANCE_HINT] if set(references.values()) - {None} else []
        methods = [(arm.method, arms[other].method) for i, other in references.items() if other is not None and (arm := arms[i])]
        hints += [LIMIT_HINT] if any(one != other for one, other in methods) else []
        spreads = self._spreads()
        return {**self._about, "complete": True, "cells": cells + spreads, "hint": " ".join(hints + [SPREAD_HINT] * bool(spreads))}

    def png(self, recipe: Recipe) -> bytes:
        """The matrix as one PNG with its headers, and the recipe inside."""
        return sheet_bytes(self.labelled(), recipe.to_json())

    def csv(self) -> bytes:
        """A line for each cell: its value on either axis, its steps, and its distance where it has one."""
        rows, columns = self._axes
        lines = []
        for arm, frame in sorted(self._newest.items()):
            row, column = divmod(arm - self._first, len(columns.values))
            apart = self._apart(frame)
            lines.append((rows.values[row], columns.values[column], frame.steps, "" if apart is None else round(apart, 3)))
        return numbers(rows.name, columns.name, lines)

    def labelled(self) -> Image.Image:
        """The matrix as one picture with its headers."""
        scale = enlargement(*self._plan.model.shape[1:], at_least=96)
        rows, columns = (words(self._about[side]) for side in ("rows", "columns"))
        pictures = [self._newest.get(self._first + cell) for cell in range(len(rows) * len(columns))]
        cells = [frame and self._picture(frame.x_t, scale) for frame in pictures]
        return labelled_sheet([cells[at : at + len(columns)] for at in range(0, len(cells), len(columns))], rows, columns)

    def _steps_in(self, axis: Axis, cell: int) -> str:
        """How many steps a value of an axis of seconds stands for."""
        if axis.name != "seconds":
            return ""
        other = self._axes[0] if axis is self._axes[1] else self._axes[1]
        step = 1 if other is self._axes[1] else len(self._axes[1].values)
        steps = [self._plan.rows[self._first + cell + i * step].transitions for i in range(len(other.values))]
        return f"{min(steps)} steps" if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)} steps"

    def _reference(self, arm: int) -> int | None:
        """The cell with the most steps of the arm's sampler, or of what that comes to; None where none has more or fewer."""
        arms, rows = self._plan.recipe.arms, self._plan.rows
        own, limit = (apart_from_steps(each) for each in (arms[arm], arms[arm].limit))
        known = {i: apart_from_steps(arms[i]) for i in self._newest}
        alike = [i for i in known if known[i] == (limit if limit in known.values() else own)]
        varied = len({rows[i].transitions for i in alike}) > 1
        return max(alike, key=lambda i: rows[i].transitions) if varied else None

    def _apart(self, frame: Frame) -> float | None:
        """Mean RMSE of 255 of a finished cell's pictures to those of its reference."""
        reference = self._reference(frame.arm)
        if reference is None or not (frame.is_last and self._newest[reference].is_last):
            return None
        return float(metrics.rmse(frame.x_t, self._newest[reference].x_t).mean())

    def _within(self) -> set[int]:
        """The first cell of each sampler from which on every picture stays near that of its reference."""
        first_cells, T = set[int](), self._plan.model.schedule.num_train_timesteps
        for reference in {found for found in map(self._reference, self._newest) if found is not None}:
            own = apart_from_steps(self._plan.recipe.arms[reference])
            cells = [arm for arm in self._newest if apart_from_steps(self._plan.recipe.arms[arm]) == own]
            cells.sort(key=lambda i: self._newest[i].steps)
            if not all(self._newest[arm].is_last for arm in cells):
                continue
            last = self._newest[reference].x_t
            each = [(metrics.rmse(x, last), metrics.patch_rmse(x, last)) for x in (self._newest[arm].x_t for arm in cells)]
            firsts = [metrics.settled([a[i].item() for a, _ in each], [b[i].item() for _, b in each]) for i in range(len(last))]
            if None not in firsts:
                cell = cells[max(first for first in firsts if first is not None)]
                if cell != reference and (self._newest[cell].steps <= TRUSTED or self._newest[reference].steps == T):
                    first_cells.add(cell)
        return first_cells

    def _distance(self, frame: Frame, within: set[int]) -> dict[str, Any]:
        """What a finished cell says of its distance."""
        reference, apart = self._reference(frame.arm), self._apart(frame)
        if apart is None or reference is None:
            return {}
        own = self._newest[reference].steps
        return {"rmse": round(apart, 2), "own": own, "reference": frame.arm == reference, "within": frame.arm in within}

    def _spreads(self) -> list[dict[str, Any]]:
        """A map for each row (or column) whose cells differ in noise alone and are all finished, behind the last cell."""
        rows, columns = (len(axis.values) for axis in self._axes)
        if not self._about["spread"]:
            return []
        along_row = self._about["spread"] == "columns"
        maps = []
        for line in range(rows if along_row else columns):
            inside = range(line * columns, (line + 1) * columns) if along_row else range(line, rows * columns, columns)
            frames = [self._newest.get(self._first + cell) for cell in inside]
            finals = [frame.x_t.clamp(-1, 1) / 2 + 0.5 for frame in frames if frame and frame.is_last]
            if len(finals) < len(frames) or len(finals) < 2:
                continue
            deviation = torch.stack(finals).std(0)
            picture = self._picture((deviation / FULL_SPREAD).mean(1, keepdim=True) * 2 - 1)
            maps.append(_value(rows * columns + line, 0, 1, picture) | {"note": f"spread {float(deviation.mean()):.4f}"})
        return maps

    def _cell(self, frame: Frame) -> dict[str, Any]:
        return _value(frame.arm - self._first, frame.k, frame.steps, self._picture(frame.x_t if frame.is_last else frame.pred_x0))

    def _picture(self, x: Tensor, scale: int = 1) -> Image.Image:
        return contact_sheet(to_pixels(x), scale=scale)


def apart_from_steps(arm: Arm) -> Arm:
    """The arm as all are that differ from it in nothing but their steps."""
    return replace(arm, steps=1, start_step=None, start_arm=None)


def sides(rows: Axis, columns: Axis) -> dict[str, Any]:
    """The headers of both axes, which of them is one of noises, and along which the chart runs with which marks."""
    along = next((side for side, axis in (("columns", columns), ("rows", rows)) if axis.name in ("steps", "seconds")), "")
    axis = {"columns": columns, "rows": rows}.get(along)
    return {
        "rows": [header(rows, value, turn) for turn, value in enumerate(rows.values)],
        "columns": [header(columns, value, turn) for turn, value in enumerate(columns.values)],
        "spread": "columns" if columns.name in NOISE_AXES else "rows" if rows.name in NOISE_AXES else "",
        "along": along,
        "marks": list(axis.values) if axis else [],
        "unit": axis.name if axis else "",
    }


def words(heads: Sequence[dict[str, Any]]) -> list[str]:
    """Headers as plain text, for files."""
    return [", ".join(filter(None, (head["title"], head["note"]))) for head in heads]


def numbers(down: str, across: str, lines: Sequence[tuple[Any, Any, int, Any]]) -> bytes:
    """A CSV file of the cells: (value down, value across, steps, RMSE of 255 or "")."""
    out = io.StringIO()
    csv.writer(out).writerows([(down, across, "NFE", "RMSE of 255 to the row's reference"), *lines])
    return out.getvalue().encode()


def _value(index: int, k: int, steps: int, picture: Image.Image) -> dict[str, Any]:
    return {"index": index, "k": k, "steps": steps, "picture": data_uri(picture)}
