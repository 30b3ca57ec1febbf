"""What the Invert tab is told of its runs."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.runs.inversion import InversionArm
from ddim_app.ui.invert import reading, view
from ddim_app.ui.invert.view import PAPER, InversionView
from tests.runs.test_inversion_plan import PICTURE, asked, engine  # noqa: F401


def board_of(engine, recipe):  # noqa: F811
    board = InversionView(engine.plan(recipe))
    return board, board.complete(list(engine.run(recipe)), None)


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_a_run_is_shown_with_its_errors_and_its_latent(engine):  # noqa: F811
    board, value = board_of(engine, asked(InversionArm(method="fixed-point", steps=5)))
    assert value["complete"]
    assert value["pictures"].keys() == {"original", "latent", "back", "error"}
    assert [table["title"] for table in value["tables"]] == ["Round trip", "Latent"]
    table, x, _ = board.plot()
    assert (len(table), x) == (5, "step up, from the clean picture")
    assert reading.single_latent(board.latent) == board.latent


def test_a_curve_has_the_papers_points_behind_it(engine):  # noqa: F811
    ways = [InversionArm(method=method, steps=steps) for steps in (5, 10) for method in ("ddim-target", "o-belm")]
    board, value = board_of(engine, asked(*ways))
    assert len(value["tables"][0]["rows"]) == 4
    assert board.latent is None
    table, _, _ = board.plot()
    assert table[table["series"] == PAPER]["x"].tolist() == ["10"]


def test_a_pair_is_not_sent_on(engine):  # noqa: F811
    board, _ = board_of(engine, asked(InversionArm(method="o-belm", steps=5)))
    with pytest.raises(ValueError, match="this is a pair latent"):
        reading.single_latent(board.latent)
    with pytest.raises(ValueError, match="must be found or loaded first"):
        reading.single_latent(None)


def test_the_error_map_has_a_fixed_scale():
    x = torch.zeros(1, 3, 1, 4)
    back = x.clone()
    back[0, 1, 0] = torch.tensor([0, 2e-6, 2e-3, 2.0])
    colours = pixels(view.error_map(x, back))[0].tolist()
    assert colours == [[24, 16, 48], [24, 16, 48], [190, 70, 60], [255, 240, 190]]
