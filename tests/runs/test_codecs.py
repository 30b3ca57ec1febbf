"""Recipes through every codec and back."""

import argparse
import dataclasses
import functools
import io
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddim_app.commands import generate
from ddim_app.commands.generate import recipe_of
from ddim_app.runs import codecs, forms, key_values, snippets
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import StoppedRun, read_file, read_json, read_query, read_text
from ddim_app.runs.forms import METHODS, interpolation
from ddim_app.runs.interpolation import ENDS, MODES
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.key_values import to_arguments, to_query
from ddim_app.runs.kinds import KINDS, Kind
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_pixels
from tests.recipes import arms, names, recipes, seeds

PICTURE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
USUAL = Recipe(arms=(Arm(steps=10), Arm(method="ddpm", steps=10)), seed=7, pictures=4)


@dataclass(frozen=True, kw_only=True)
class Other(BaseRecipe):
    """A kind as others may come to be: a part without a default, a list that has one, and values of many types."""

    kind = "other"

    arm: Arm
    seeds: tuple[int, ...] = (0, 1)
    words: tuple[str, ...] = ()
    either: int | str | None = None
    loops: bool = False
    seed: int = 3
    strength: float = 0.5
    ends: tuple[Arm, ...] = ()

    @classmethod
    def from_values(cls, values):
        lists = {key: tuple(values[key]) for key in ("seeds", "words") if key in values}
        ends = {"ends": tuple(Arm(**arm) for arm in values["ends"])} if "ends" in values else {}
        return cls(**{**values, **lists, **ends, "arm": Arm(**values["arm"])})


@pytest.fixture(autouse=True)
def other(monkeypatch):
    monkeypatch.setitem(KINDS, "other", Kind(Other, lambda recipe, load: None))


text = st.text('ab~,:"[{%5-. é', max_size=8)
others = st.builds(
    Other, arm=arms, seeds=st.lists(seeds, max_size=3).map(tuple), words=st.lists(text, max_size=3).map(tuple),
    either=st.none() | st.integers(-5, 5) | text, loops=st.booleans(), seed=seeds, strength=st.floats(-2, 2),
    ends=st.lists(arms, max_size=2).map(tuple), model=names,
)  # fmt: skip
every = recipes | others


@functools.cache
def parser():
    root = argparse.ArgumentParser()
    generate.add(root.add_subparsers())
    return root


# Round trips.


@given(every)
def test_json(value):
    assert read_json(value.to_json()) == (value, ())


@given(every)
def test_query(value):
    query = to_query(value)
    assert query.isascii()
    assert read_query(query) == (value, ())
    assert read_text(f"https://host.example/sub/path/?{query}#place") == (value, ())
    assert to_query(read_query(query).recipe) == query


@given(every, st.none() | st.builds(StoppedRun, st.integers(0, 999), st.integers(1, 1000)))
def test_png(value, stopped):
    data = codecs.png(PICTURE, value, stopped)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(PICTURE))
    note = (f"The picture is of a run that was stopped after {stopped[0]} of {stopped[1]} steps.",) if stopped else ()
    assert read_file(data) == (value, note)


@given(recipes)
def test_command_line(value):
    assert recipe_of(parser().parse_args(["generate", *to_arguments(value)])) == (value, ())


@given(every)
def test_python(value):
    """Python is never read back; it is run, here without the engine."""
    code = snippets.python(value).replace("from tests.runs.test_codecs", f"from {__name__}")
    code = code[: code.index("\nfor ")]
    names: dict[str, Any] = {"Other": Other}
    exec(code.replace(f"from {Other.__module__} import Other\n", ""), names)
    assert names["recipe"] == value


@given(recipes)
def test_fields_of_the_page_and_the_api_are_those_of_the_recipe(value):
    """What the fields say is the run that the recipe says; where they cannot say it there are none."""
    for values, make in ((codecs.compare_values(value), forms.compare), (codecs.generate_values(value), forms.generate)):
        if values is not None:
            assert codecs._same(make(values, 1001), value)
        elif len(value.arms) == 1 and make is forms.generate:
            arm = value.arms[0]
            assert arm.model or arm.timesteps is not None or {arm.seed, arm.noise_seed, arm.branch} != {None}


@given(st.floats(0, 2), st.integers(1, 1000), st.integers(1, 1000), seeds)
def test_every_comparison_has_its_fields(eta, steps, ddpm_steps, seed):
    value = Recipe(arms=(Arm(steps=steps, eta=eta), Arm(method="ddpm", steps=ddpm_steps, variance="large")), seed=seed)
    assert forms.compare(codecs.compare_values(value), 1000) == value


# Links are short, and can be written by hand.


def test_a_usual_link_is_short_and_readable():
    assert to_query(USUAL) == "v=1&seed=7&pictures=4&steps=10&arm=method:ddpm"
    matrix = USUAL.with_arms(*(Arm(steps=s, eta=e) for s in range(5, 85, 10) for e in np.linspace(0, 1, 8)))
    assert len(matrix.arms) == 64
    assert len(to_query(matrix)) < 2500


def test_a_link_by_hand_needs_neither_version_nor_all_settings():
    assert read_text("?steps=10&eta=.5&seed=7".replace("=.5", "=0.5")).recipe == Recipe(arms=(Arm(steps=10, eta=0.5),), seed=7)


def test_what_hosts_put_into_an_address_is_no_setting():
    assert not key_values.is_recipe("__theme=dark&view=api&utm_source=x")
    assert key_values.is_recipe("__theme=dark&steps=5")
    assert read_query("__theme=dark&view=api&steps=5") == (Recipe(arms=(Arm(steps=5),)), ())


# Unknown keys are named.


def test_unknown_keys_are_left_out_and_named():
    values = json.loads(USUAL.to_json()) | {"guidance": 7.5}
    values["arms"][1]["karras"] = True
    assert read_json(json.dumps(values)) == (
        USUAL,
        (
            "'guidance' means nothing to this version and was left out.",
            "'arms.karras' means nothing to this version and was left out.",
        ),
    )
    assert read_query("steps=10&utm_source=x&arm=method:ddpm,karras:1").notes == (
        "'utm_source' means nothing to this version and was left out.",
        "'arms.karras' means nothing to this version and was left out.",
    )
    assert read_json(json.dumps(values | {f"key{i}": i for i in range(1000)})).notes[-1] == "So were 997 more."


def test_other_weights_are_said():
    made = dataclasses.replace(USUAL, weights="a" * 64)
    assert codecs.other_weights(made, {"avatars-32": ["a" * 64]}) is None
    assert codecs.other_weights(USUAL, {"avatars-32": ["a" * 64]}) is None
    linked = dataclasses.replace(USUAL, weights="a" * 8)
    assert codecs.other_weights(linked, {"avatars-32": [None, "a" * 64]}) is None
    assert codecs.other_weights(linked, {"avatars-32": ["b" + "a" * 63]}).startswith("avatars-32 has other weights here")
    assert codecs.other_weights(made, {"avatars-32": ["b" * 64]}).startswith("avatars-32 has other weights here")
    inverted = InvertRecipe(sources=(Source(seed=1),), arms=(InversionArm(),), decode_model="other", decode_weights="c" * 64)
    assert codecs.other_weights(inverted, {"avatars-32": ["a" * 64], "other": ["d" * 64]}).startswith(
        "other has other weights here"
    )


PATH = {
    "model": "avatars-32", "seed": 0, "seeds": "7, 3, 9, 4294967295", "steps": 12, "ddpm_steps": 0, "eta": 0.25,
    "spacing": "leading", "variance": "large", "clip": "off", "precision": "fp32", "noise_seed": "5", "branch": 1,
    "way": "slerp", "frames": 6, "rows": 3,
    "columns": 4, "start": 0.5, "stop": 1.5, "strength": 0.5, "noise": "fresh", "class_label": "2", "guidance": 2.0,
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", MODES)
def test_the_fields_of_a_path_make_it_again(mode, method):
    count = ENDS[mode][0] if mode != "loop" else 4
    seeds = ", ".join(PATH["seeds"].split(", ")[:count])
    own = {"mode": mode, "method": method, "seeds": seeds} | ({"frames": count} if mode == "variation" else {})
    recipe = interpolation(PATH | own, (), 1000, None)
    values = codecs.path_values(replace(recipe, weights="0" * 64, backend="torch"))
    assert values is not None
    assert interpolation(values, (), 1000, None) == recipe


def test_a_path_that_no_fields_make_has_none():
    recipe = interpolation(PATH | {"mode": "line", "method": "ddim", "seeds": "7, 3"}, (), 1000, None)
    listed = replace(recipe, arms=(replace(recipe.arms[0], timesteps=(900, 10)),))
    grey = of_pixels(torch.zeros(3, 8, 8))
    for other in (listed, replace(recipe, ends=(grey, recipe.ends[1]), precision="fp32"), Recipe(arms=(Arm(),))):
        assert codecs.path_values(other) is None
