"""A model's quality table in a file beside it, from where the page shows it."""

import math
from pathlib import Path
from typing import Any

from ddim_app.models import beside
from ddim_app.studies.quality_table import NAMED, VERSION, QualityTable, SetFigures
from ddim_app.studies.set_distances import DistanceEstimate, Shares

KIND = "quality"


def find(folder: Path | None, sha256: str) -> QualityTable | None:
    """That of a model with these weights, from beside it or from this machine's cache; None where there is none."""
    tables = (_from_json(values) for values in beside.found(folder, KIND, sha256))
    return next((table for table in tables if table is not None and table.settings.get("weights") == sha256), None)


def keep(folder: Path, table: QualityTable) -> Path | None:
    """Writes the table beside its model, as `variance_files.keep` does; returns the file, None where the one there says more.

    More is said by more pictures a cell, and by more cells of as many. Raises OSError.
    """
    sha256 = table.settings["weights"]
    there = find(folder, sha256)
    if there is not None and (there.pictures, len(there.cells)) > (table.pictures, len(table.cells)):
        return None
    return beside.keep(folder, KIND, sha256, table.as_json())


def _from_json(values: Any) -> QualityTable | None:
    """The table that `QualityTable.as_json` wrote; None for anything else."""
    try:
        if values["version"] != VERSION:
            return None
        cells = {(_row(cell["row"]), int(cell["steps"])): _figures(cell) for cell in values["cells"]}
        lines = {str(name): _figures(cell) for name, cell in values["beside"].items()}
        settings = dict(values["settings"])
        table = QualityTable(str(values["model"]), settings, str(values["reference"]), int(values["pictures"]), cells, lines)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError):
        return None
    return table if cells else None


def _row(row: Any) -> str:
    return row if row in NAMED else f"{float(row):g}"


def _figures(cell: Any) -> SetFigures:
    shares = Shares(*(float(cell[name]) for name in Shares._fields))
    kernel, frechet = (DistanceEstimate(*map(float, cell[name])) for name in ("kernel", "frechet"))
    if not all(map(math.isfinite, (*kernel, *frechet, *shares))):
        raise ValueError("a figure must be a finite number")
    return SetFigures(int(cell["pictures"]), kernel, frechet, shares)
