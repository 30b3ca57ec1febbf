"""Models whose output is no prediction, in runs of every kind: each ends with the step and the word "model", and nobody else's."""

import pytest
from safetensors.torch import load_file, save_file

from ddim_app.engine import Engine
from ddim_app.errors import RunError
from ddim_app.models.model_files import WEIGHTS
from ddim_app.runs.kinds import KINDS
from ddim_app.runs.sampling import Arm, Recipe
from tests.golden.recipes import RECIPES
from tests.toys import save_tiny

VALUES = {"nan": "not a number", "inf": "infinite", "-inf": "infinite", "1e38": "as large as 1e+38", "20000": "as large as 2e+04"}
NAMED = {"tiny": {}, "tiny-b": {}, "tiny-60": {"scheduler": {"num_train_timesteps": 60}}, "avatars-32": {"sample_size": 32}}
"""Networks in the place of those that the recipes name."""


def spoil(folder, value):
    """Gives every output of a model's network that value."""
    weights = folder / "unet" / WEIGHTS
    tensors = load_file(weights)
    tensors["conv_out.bias"].fill_(float(value))
    save_file(tensors, weights, {"format": "pt"})


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("spoiled")
    for value in VALUES:
        spoil(save_tiny(root / value), value)
    return Engine([save_tiny(root / "good").parent], allow_hub=False)


@pytest.fixture(scope="module", params=["nan", "inf", "20000"])
def spoiled(tmp_path_factory, request):
    """An engine whose models all say the same."""
    root = tmp_path_factory.mktemp("all")
    for name, settings in NAMED.items():
        spoil(save_tiny(root / name, **settings), request.param)
    return Engine([root], allow_hub=False)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("method", ["ddim", "ddpm"])
@pytest.mark.parametrize("clip", ["clip", "off", "dynamic"])
def test_a_sampler_ends_at_the_first_step_however_it_clips(engine, value, method, clip):
    recipe = Recipe(arms=(Arm(method=method, steps=5, clip=clip),), model=value, precision="fp32")
    with pytest.raises(RunError) as caught:
        engine.final(recipe)
    assert str(caught.value).startswith(f"The model's output was {VALUES[value]} at step 1, so the run was ended")


def test_every_kind_is_tried():
    assert {recipe.kind for recipe in RECIPES.values()} == set(KINDS)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_of_any_kind_ends_before_it_shows_a_picture(spoiled, name):
    shown = []
    with pytest.raises(RunError, match=r"The model's output was .* at (step|round) 1( of .*)?, so the run was ended") as caught:
        shown.extend(spoiled.run(RECIPES[name]))
    assert "\n" not in str(caught.value)
    assert not [frame for frame in shown if not hasattr(frame, "ends")]  # but the pictures that were given, and their mix
