"""The matrix that the tab opens with, from the stored set of the bundled model."""

from functools import cache
from typing import Any

from PIL import Image

from ddim_app.media.animation import labelled_sheet, sheet_bytes
from ddim_app.media.images import contact_sheet, data_uri, enlargement
from ddim_app.runs import axes
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies.stored_sets import SEED, StoredSet, arm_key, arms
from ddim_app.ui.bundled import stored_set
from ddim_app.ui.matrix.view import numbers, sides, words

DOWN, ACROSS = ("eta", "0, 0.5, 1, sigma-hat"), ("steps", "5, 10, 20, 50, 100")
HINT = "Stored, fp32. Under each cell: how far it is from its own row's picture with {} steps (RMSE of 255)."


class StoredMatrix:
    """One picture a cell, each measured to its own row's picture with all T steps."""

    def __init__(self, stored: StoredSet) -> None:
        self._stored, self._T = stored, stored.columns[-1]
        self._rows, self._columns = (axes.parse(*side, self._T) for side in (DOWN, ACROSS))
        arms_of = axes.cells(Arm(), self._rows, self._columns)
        self.recipe = Recipe(arms=arms_of, model=stored.model, seed=SEED, pictures=1, precision="fp32")
        self._size: tuple[int, int] = stored.pixels.shape[3:5]
        keys = [arm_key(arm) for arm in arms(1)]
        places = [(keys.index(arm_key(arm)), stored.columns.index(arm.steps)) for arm in self.recipe.arms]
        apart, first = stored.distances()[:, :, 0], stored.settled()
        self._cells = [(stored.pixels[at][:1], float(apart[at][0]), at[1] == first[at[0]][0]) for at in places]

    def value(self) -> dict[str, Any]:
        """What the table takes."""
        height, width = self._size
        cells = [
            {"index": i, "k": 0, "steps": 1, "picture": data_uri(contact_sheet(pixels)), "rmse": round(rmse, 2), "own": self._T,
             "reference": False, "within": within}
            for i, (pixels, rmse, within) in enumerate(self._cells)
        ]  # fmt: skip
        about = {"run": "stored", "width": width, "height": height, "complete": True, "hint": HINT.format(self._T)}
        return {**about, **sides(self._rows, self._columns), "cells": cells}

    def png(self) -> bytes:
        """The table as one labelled picture, with the recipe that makes it."""
        about, count = sides(self._rows, self._columns), len(self._columns.values)
        scale = enlargement(*self._size, at_least=96)
        pictures: list[Image.Image | None] = [contact_sheet(pixels, scale=scale) for pixels, _, _ in self._cells]
        rows = [pictures[at : at + count] for at in range(0, len(pictures), count)]
        made = self.recipe.made({self.recipe.model: self._stored.weights})
        return sheet_bytes(labelled_sheet(rows, words(about["rows"]), words(about["columns"])), made.to_json())

    def csv(self) -> bytes:
        """The numbers of the table."""
        values = [(down, across) for down in self._rows.values for across in self._columns.values]
        lines = [(down, across, across, round(rmse, 3)) for (down, across), (_, rmse, _) in zip(values, self._cells, strict=True)]
        return numbers(self._rows.name, self._columns.name, lines)


@cache
def stored_matrix() -> StoredMatrix:
    """That of the bundled model."""
    return StoredMatrix(stored_set())
