"""The fold "How good?": a model's stored quality table, its curve, and the command that makes one."""

import shlex
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.models.loading import ModelError
from ddim_app.studies import quality_files
from ddim_app.studies.quality_table import FEWEST, NAMED, QualityTable
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import chart
from ddim_app.ui.fields import on_any
from ddim_app.ui.matrix.view import SAMPLERS

TITLE = "How good?"
WHAT = (
    "Kernel distance of {pictures} pictures a cell to as many training pictures, ± one standard error: how far textures, edges and "
    "colours of all of them are apart; smaller is better, and it can be compared within this table alone."
)
FLOOR = " Training pictures are {} from other training pictures."
NONE = "There is no table of {} on this machine."
WHY = "No live page can compute it: a cell needs {fewest} pictures or more{here}. This command makes the table of {whose}:"
COMMAND = "python -m ddim_app quality {} --reference TRAINING_PICTURES"


class QualityFold:
    """Closed until it is opened; what it shows is that of the chosen model."""

    def __init__(self) -> None:
        with gr.Accordion(TITLE, open=False, elem_id="quality-fold") as self.fold:
            self._said = text.line("", "quality-said")
            self._table = gr.HTML({}, **component_files("numbers"), apply_default_css=False, elem_id="quality-table")
            self._curve = chart.component("quality-curve")
            self._why = text.line("", "quality-why")
            self._command = text.line("", "quality-command")

    def connect(self, engine: Engine, events: list[Callable[..., Any]], model: Component, tab: str) -> None:
        """Keeps the fold as the chosen model is, while the tab is open."""
        parts: list[Component] = [self._said, self._table, self._curve, self._why, self._command]
        on_any([self.fold.expand, *events], lambda name: shown(name, table_of(engine, name)), [model], parts, tab=tab)


def table_of(engine: Engine, model: Any) -> QualityTable | None:
    """The stored table of a model that is here; None for any other."""
    try:
        if not isinstance(model, str) or not engine.is_here(model):
            return None
        return quality_files.find(engine.catalogue.folder(model), engine.model(model).sha256)
    except (FieldError, ModelError):
        return None


def shown(model: Any, table: QualityTable | None) -> list[Any]:
    """What the number is, the table, its curve, why the page cannot make one, and the command that does."""
    name = str(model)
    command = COMMAND.format(shlex.quote(name))
    if table is None:
        return [NONE.format(name), {}, {}, WHY.format(fewest=FEWEST, here="", whose="this model"), command]
    floor = table.beside.get("other pictures of the reference")
    said = WHAT.format(pictures=f"{table.pictures:,}") + (FLOOR.format(floor.kernel) if floor else "")
    evaluations = sum(steps * figures.pictures for (_, steps), figures in table.cells.items())
    here = f", and this table took {evaluations:,} evaluations"
    return [said, _cells(table), _lines(table), WHY.format(fewest=FEWEST, here=here, whose="this or another model"), command]


def _cells(table: QualityTable) -> dict[str, Any]:
    """A row an eta, a column a number of steps, as in the DDIM paper's Table 1."""
    rows = [
        [_look(row)[0], *(str(found.kernel) if (found := table.cells.get((row, steps))) else "" for steps in table.columns)]
        for row in table.rows
    ]
    return {"head": ["", *(f"S = {steps}" for steps in table.columns)], "rows": rows}


def _lines(table: QualityTable) -> dict[str, Any]:
    series, between = [], 0
    for row in table.rows:
        title, colour, dashed = _look(row)
        if colour is None:  # ink, as in the matrix; the second of them is told by its dashes
            colour, dashed, between = 2, between % 2 == 1, between + 1
        points = [(steps, table.cells[row, steps].kernel.value) for steps in table.columns if (row, steps) in table.cells]
        series.append(chart.line(title, points, colour, dashed))
    return chart.lines("Kernel distance to the training pictures", "steps", series, log=True, ticks=table.columns)


def _look(row: str) -> tuple[str, int | None, bool]:
    """A row's name, its place in the palette, None where it has none of its own, and whether its line is dashed."""
    key: Any = row if row in NAMED else float(row)
    title, _, colour, dashed = SAMPLERS.get(key, (row if row in NAMED else f"η {row}", "", None, False))
    return title, colour, dashed
