"""Recipes judge every value from outside: one sentence with the field, the range and the value, or a run."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.sampler import VARIANCES
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.errors import FieldError
from ddim_app.runs import base, forms, sampling
from ddim_app.runs.kinds import from_json
from ddim_app.runs.sampling import Arm, Recipe

SETTINGS = {
    "model": "avatars-32", "steps": 25, "ddpm_steps": None, "spacing": "trailing", "eta": 0.0, "variance": "small", "clip": "clip",
    "seed": 0, "pictures": 1, "noise_seed": None, "branch": 0, "precision": "fast", "method": "ddim", "timesteps": None,
}  # fmt: skip
"""Every field of page and API, with values that are all right."""

seeds = st.integers(0, 2**32 - 1)
arms = st.builds(
    Arm, method=st.sampled_from(tuple(sampling.METHODS)), steps=st.integers(1, 1000), spacing=st.sampled_from(SPACINGS),
    timesteps=st.none() | st.lists(st.integers(0, 999), min_size=1, max_size=5, unique=True).map(tuple),
    eta=st.floats(0, 2), variance=st.sampled_from(VARIANCES), clip=st.sampled_from(CLIP_RULES),
)  # fmt: skip
recipes = st.builds(
    Recipe, arms=st.lists(arms, min_size=1, max_size=4).map(tuple), model=st.text("abc/-é", min_size=1), seed=seeds,
    pictures=st.integers(1, 16), noise_seed=st.none() | seeds, branch=seeds, precision=st.sampled_from(base.PRECISIONS),
)  # fmt: skip


@given(recipes)
def test_json_of_a_recipe_is_the_recipe(value):
    text = value.to_json()
    again = from_json(text)
    assert again == value
    assert again.to_json() == text
    assert "\n" not in text


def test_json_is_canonical():
    """Equal recipes have equal text: every field in its order, defaults included, numbers in one spelling, no spaces."""
    text = Recipe(arms=(Arm(steps=10.0, eta=1),), seed=7.0).to_json()
    assert text == Recipe(arms=(Arm(steps=10, eta=1.0),), seed=7).to_json()
    assert text == (
        '{"kind":"sampling","model":"avatars-32","precision":"fast","version":1,'
        '"arms":[{"method":"ddim","steps":10,"spacing":"trailing","eta":1.0,"variance":"small","clip":"clip"}],'
        '"seed":7,"pictures":1,"branch":0}'
    )


def test_recipes_are_frozen_values():
    value = Recipe(arms=(Arm(),))
    assert value == Recipe(arms=(Arm(),))
    assert hash(value) == hash(Recipe(arms=(Arm(),)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.seed = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.arms[0].steps = 3
    assert value.with_arms(Arm(eta=1)).arms == (Arm(eta=1.0),)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("steps", 0, "steps must be a whole number from 1 to 1000; got 0"),
        ("steps", 1001, "steps must be a whole number from 1 to 1000; got 1001"),
        ("steps", 3.7, "steps must be a whole number from 1 to 1000; got 3.7"),
        ("steps", math.nan, "steps must be a whole number from 1 to 1000; got nan"),
        ("steps", True, "steps must be a whole number from 1 to 1000; got True"),
        ("steps", "x", "steps must be a whole number from 1 to 1000; got 'x'"),
        ("steps", None, "steps must be a whole number from 1 to 1000; got nothing"),
        ("ddpm_steps", -1, "ddpm_steps must be a whole number from 0 to 1000; got -1"),
        ("ddpm_steps", 1001, "ddpm_steps must be a whole number from 0 to 1000; got 1001"),
        ("ddpm_steps", "", "ddpm_steps must be a whole number from 0 to 1000; got ''"),
        ("eta", -0.1, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got -0.1"),
        ("eta", 2.001, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got 2.001"),
        ("eta", math.nan, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got nan"),
        ("eta", math.inf, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got inf"),
        ("eta", "1", "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got '1'"),
        ("eta", True, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got True"),
        ("seed", -1, "seed must be a whole number from 0 to 4294967295; got -1"),
        ("seed", 2**60, "seed must be a whole number from 0 to 4294967295; got 1152921504606846976"),
        ("seed", "seven", "seed must be a whole number from 0 to 4294967295; got 'seven'"),
        ("seed", 2**32, "seed must be a whole number from 0 to 4294967295; got 4294967296"),
        ("pictures", 0, "pictures must be a whole number from 1 to 16; got 0"),
        ("pictures", 10_000, "pictures must be a whole number from 1 to 16; got 10000"),
        ("noise_seed", -5, "noise_seed must be a whole number from 0 to 4294967295; got -5"),
        ("noise_seed", "a", "noise_seed must be a whole number from 0 to 4294967295; got 'a'"),
        ("branch", 0.5, "branch must be a whole number from 0 to 4294967295; got 0.5"),
        ("spacing", "karras", f"spacing must be one of {', '.join(SPACINGS)}; got 'karras'"),
        ("variance", "middling", "variance must be one of small, large, learned, analytic; got 'middling'"),
        ("clip", None, "clip must be one of clip, off, dynamic; got nothing"),
        ("precision", "fp16", "precision must be one of fast, fp32, fp64; got 'fp16'"),
        ("model", "", "model must be the name of a model; got ''"),
        ("model", ["x"], "model must be the name of a model; got ['x']"),
        ("seed", "9" * 500, f"seed must be a whole number from 0 to 4294967295; got '{'9' * 56}..."),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_bad_values_get_one_sentence(field, value, sentence):
    with pytest.raises(FieldError) as caught:
        forms.compare(SETTINGS | {field: value}, 1000)
    assert str(caught.value) == sentence
    assert caught.value.field == field


def refusal(judge, settings):
    """The FieldError, None where the settings are taken; anything else gets through and fails the test."""
    try:
        judge(settings, 1000)
    except FieldError as error:
        return error


@pytest.mark.parametrize("value", [0, 3.7, "x", None, True, math.nan, [1], {}, 10**400])
@pytest.mark.parametrize("field", [*SETTINGS])
def test_no_value_of_any_field_breaks_the_judge(field, value):
    for judge in (forms.compare, forms.generate):
        error = refusal(judge, SETTINGS | {field: value})
        assert error is None or error.field == field
        assert error is None or len(str(error)) < 300


def test_whole_floats_are_whole_numbers():
    """JSON clients and sliders send 25.0 for 25."""
    value = forms.compare(SETTINGS | {"steps": 25.0, "seed": 7.0}, 1000)
    assert (type(value.seed), value.seed) == (int, 7)
    assert (type(value.arms[0].steps), value.arms[0].steps) == (int, 25)


@pytest.mark.parametrize(("ddpm_steps", "expected"), [(None, 25), (0, 25), (1000, 1000)])
def test_compare_is_ddim_beside_ddpm(ddpm_steps, expected):
    value = forms.compare(SETTINGS | {"ddpm_steps": ddpm_steps, "eta": 0.5, "variance": "large", "spacing": "leading"}, 1000)
    ddim, ddpm = value.arms
    assert (ddim.method, ddim.steps, ddim.eta, ddim.spacing) == ("ddim", 25, 0.5, "leading")
    assert (ddpm.method, ddpm.steps, ddpm.variance, ddpm.spacing) == ("ddpm", expected, "large", "leading")
    assert [arm.label for arm in value.arms] == ["DDIM(η = 0.5)", "DDPM(σ̂)"]


@pytest.mark.parametrize(
    ("given", "expected"), [(None, None), ("", None), ([], None), ("999, 500 0", (999, 500, 0)), ([0, 500.0, 999], (999, 500, 0))]
)
def test_lists_of_timesteps(given, expected):
    value = forms.generate(SETTINGS | {"timesteps": given}, 1000)
    assert value.arms[0].timesteps == expected
    assert value.arms[0].steps == (25 if expected is None else 3)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("5, 5", "timesteps must not name a timestep twice; got [5, 5]"),
        ("5, x", "timesteps must be a whole number from 0 to 999; got 'x'"),
        ([1000], "timesteps must be a whole number from 0 to 999; got 1000"),
        ("-1", "timesteps must be a whole number from 0 to 999; got '-1'"),
        ("1²", "timesteps must be a whole number from 0 to 999; got '1²'"),
        (7, "timesteps must be a list of whole numbers such as 999, 500, 0; got 7"),
    ],
)
def test_bad_lists_of_timesteps(given, sentence):
    with pytest.raises(FieldError) as caught:
        forms.generate(SETTINGS | {"timesteps": given}, 1000)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("given", "expected"), [(None, None), ("", None), (" ", None), ("12", 12), (12, 12), (12.0, 12)])
def test_noise_seeds(given, expected):
    assert forms.compare(SETTINGS | {"noise_seed": given}, 1000).noise_seed == expected


@pytest.mark.parametrize("count", [0, 65])
def test_numbers_of_arms(count):
    with pytest.raises(FieldError, match=f"arms must be 1 to 64 arms; got {count}"):
        Recipe(arms=(Arm(),) * count)


def test_a_later_version_is_refused():
    with pytest.raises(FieldError, match="version must be a whole number from 1 to 1; got 2"):
        Recipe(arms=(Arm(),), version=2)
