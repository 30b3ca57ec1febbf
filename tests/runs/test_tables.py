"""The axes of a matrix, found again in its recipe's arms."""

from dataclasses import replace

import pytest

from ddim_app.runs.axes import cells, parse
from ddim_app.runs.sampling import Arm
from ddim_app.runs.tables import table_of

BASE = Arm(steps=12, eta=0.25, spacing="leading", clip="off")


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (("steps", "5, 10, 20, 50"), ("eta", "0, 0.5, 1, sigma-hat")),
        (("eta", "sigma-hat, 0"), ("steps", "5")),
        (("eta", "0, 0.3"), ("noise_seed", "1, 2, 3")),
        (("steps", "5, 10"), ("eta", "0, 2m, sigma-hat")),
        (("seed", "1, 2"), ("clip", "clip, off")),
        (("model", "avatars-32, runs/me"), ("spacing", "leading, trailing")),
        (("steps", "7"), ("eta", "0, 1")),
    ],
)
def test_a_matrix_is_found_again(rows, columns):
    arms = cells(BASE, parse(*rows, 1000), parse(*columns, 1000))
    found = table_of([replace(arm, weights="a" * 64) for arm in arms], 1000)
    assert found is not None
    assert cells(found.base, parse(*found.rows, 1000), parse(*found.columns, 1000)) == arms
    if rows[0] == "steps" and "," in rows[1]:
        assert (found.rows, found.columns) == (rows, columns)


@pytest.mark.parametrize(
    "arms",
    [
        [Arm()],
        [Arm(steps=5), Arm(steps=10, eta=1), Arm(steps=5, eta=1)],
        [Arm(), Arm(method="ddpm")],
        [Arm(), Arm(start_arm=0, start_step=3)],
        [Arm(steps=5, timesteps=(1, 2)), Arm(steps=6)],
        [Arm(model="a,b"), Arm(model="c")],
        [Arm(), Arm()],
    ],
)
def test_what_is_no_matrix_is_none(arms):
    assert table_of(arms, 1000) is None
