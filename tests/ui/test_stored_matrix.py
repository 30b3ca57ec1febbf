"""The matrix that the tab opens with is the one that its recipe draws."""

import io

import numpy as np
import pytest
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.media.images import to_pixels
from ddim_app.runs.kinds import from_json
from ddim_app.ui.matrix.stored_matrix import stored_matrix


def test_a_cell_of_the_stored_matrix_is_drawn_again():
    """Within a level, since other machines round otherwise."""
    stored = stored_matrix()
    recipe = stored.recipe.with_arms(stored.recipe.arms[1], stored.recipe.arms[16])  # DDIM and sigma-hat, 10 steps
    drawn = [to_pixels(x)[0].astype(int) for x in Engine(allow_hub=False).final(recipe)]
    cells = [stored._cells[at][0][0].astype(int) for at in (1, 16)]
    assert all(np.abs(a - b).max() <= 1 for a, b in zip(drawn, cells, strict=True))


def test_its_files_hold_the_recipe_and_the_numbers_of_the_page():
    stored = stored_matrix()
    sheet = stored.png()
    made = from_json(text_inside(sheet))
    assert made.arms == stored.recipe.arms
    assert made.weights
    assert Image.open(io.BytesIO(sheet)).width > 5 * 96
    lines = stored.csv().decode().splitlines()
    assert len(lines) == 21
    shown = [cell["rmse"] for cell in stored.value()["cells"]]
    assert [float(line.rsplit(",", 1)[1]) for line in lines[1:]] == pytest.approx(shown, abs=0.006)
