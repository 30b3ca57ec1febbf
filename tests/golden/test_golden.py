"""Recipes, links, noise and pictures stay what they are: compared with what was written down by `python -m tests.golden.make`."""

import json

import numpy as np
import pytest

from tests.golden import make, measure
from tests.golden.recipes import JSON, RECIPES

TEXTS = json.loads(make.TEXTS.read_text("utf-8"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return measure.engine(tmp_path_factory.mktemp("golden-models"))


@pytest.fixture(scope="module")
def arrays():
    with np.load(make.ARRAYS) as file:
        return dict(file)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_read_and_written_as_before(name):
    assert RECIPES[name].to_json() == JSON[name]
    assert json.loads(measure.of_python(RECIPES[name])) == json.loads(JSON[name])


def test_texts_and_noise_are_what_they_were():
    now = make.texts()
    assert now.keys() == TEXTS.keys()
    assert {name: text for name, text in now.items() if text != TEXTS[name]} == {}


@pytest.mark.parametrize("name", RECIPES)
def test_run_makes_what_it_made(name, engine, arrays):
    """Within 1/255, since networks differ in last bits from CPU to CPU; "fast" is bf16 on some of them and fp32 on others."""
    now = make.kept(name, measure.events(engine, name))
    then = {key: array for key, array in arrays.items() if key.startswith(f"{name}: ")}
    assert now.keys() == then.keys()
    for key, array in now.items():
        apart = np.abs(array.astype(float) - then[key])
        if key.endswith(": terms"):
            assert np.allclose(array, then[key], rtol=0.01, atol=1e-3)
        elif RECIPES[name].precision == "fast":
            assert np.sqrt((apart**2).mean()) < 8
        else:
            assert apart.max() <= 1, key
