"""Stored sets: what is kept is what is drawn, and is found again by the weights alone."""

import json

import numpy as np
import pytest

from ddim_app.diffusion.metrics import rmse
from ddim_app.engine import Engine
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import stored_sets
from tests import toys


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "tiny", scheduler={"num_train_timesteps": 60, "beta_start": 1e-3, "beta_end": 0.2})
    engine = Engine([root], allow_hub=False)
    return engine, stored_sets.make(engine, "tiny", steps=(1, 4, 5000))


def test_every_picture_is_that_of_its_steps_and_eta(made):
    engine, stored = made
    T = engine.model("tiny").schedule.num_train_timesteps
    assert stored.columns == (1, 4, T)
    for row, arm in enumerate(stored_sets.arms(4)):
        alone = engine.final(Recipe(arms=(arm,), model="tiny", seed=stored_sets.SEED, pictures=4, precision="fp32"))[0]
        assert np.abs(stored.pixels[row, 1].astype(int) - to_pixels(alone)).max() <= 1
    ddpm = engine.final(Recipe(arms=(Arm(method="ddpm", steps=4),), model="tiny", seed=7, pictures=4, precision="fp32"))[0]
    assert np.abs(stored.pixels[len(stored_sets.ETAS) - 1, 1].astype(int) - to_pixels(ddpm)).max() <= 1


def test_distances_are_to_the_rows_own_reference(made):
    _, stored = made
    apart = stored.distances()
    assert apart.shape == (6, 3, 4, 2)
    assert (apart[:, -1] == 0).all()
    for row in range(6):
        expected = rmse(from_pixels(stored.pixels[row, 0]), from_pixels(stored.pixels[row, -1]))
        assert apart[row, 0, :, 0] == pytest.approx(expected.numpy())
    assert (apart[..., 1] >= apart[..., 0]).all()


def test_a_set_is_read_back_to_the_pixel(made, tmp_path):
    _, stored = made
    sheet, index = stored.save(tmp_path, "tiny")
    again = stored_sets.StoredSet.load(tmp_path, "tiny")
    assert (again.pixels == stored.pixels).all()
    assert (again.columns, again.model, again.weights) == (stored.columns, "tiny", stored.weights)
    assert json.loads(index.read_text())["sheet"] == sheet.name
    assert stored.save(tmp_path, "tiny") == (sheet, index)


@pytest.mark.parametrize("harm", ["cut off", "no index", "other version", "other keys"])
def test_a_set_that_is_not_whole_is_none(made, tmp_path, harm):
    _, stored = made
    sheet, index = stored.save(tmp_path, "tiny")
    if harm == "cut off":
        sheet.write_bytes(sheet.read_bytes()[:-9])
    elif harm == "no index":
        index.write_text("{")
    elif harm == "other version":
        index.write_text(json.dumps({**json.loads(index.read_text()), "version": 0}))
    elif harm == "other keys":
        index.write_text(json.dumps({"version": 1, "sheet": sheet.name}))
    assert stored_sets.StoredSet.load(tmp_path, "tiny") is None
