"""Recipes of Invert back in its fields."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.media.images import png_bytes
from ddim_app.runs import key_values, latent_files
from ddim_app.runs.codecs import read_text
from ddim_app.runs.decoding import of_file
from ddim_app.runs.inversion import METHODS, InversionArm, InvertRecipe
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_image, of_tensor
from ddim_app.ui.invert.reading import OWN, OWN_CLAMPED, inversion_of
from ddim_app.ui.invert.restoring import restored
from ddim_app.ui.invert.samples import opened, sample_png

COLUMN: dict[str, Any] = {
    "model": "faces", "steps": 12, "eta": 0.0, "spacing": "leading", "seed": 9, "noise_seed": "", "precision": "fp32",
    "second_model": "", "class_label": None,
}  # fmt: skip
OWN_FIELDS: dict[str, Any] = {
    "task": "invert", "method": "fixed-point", "strength": 1, "decode_steps": 0, "evaluations": 0, "between": False,
    "picture": OWN, "crop": (0.5, 0.5, 1.0), "latent": None,
}  # fmt: skip
SHAPE = (3, 8, 8)


def photograph(height: int = 20, width: int = 31) -> bytes:
    return png_bytes(Image.fromarray(np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)))


def again(recipe: Any, shape: tuple[int, int, int] = SHAPE) -> Any:
    made = restored(recipe)
    assert made is not None
    return inversion_of(COLUMN | made.column, OWN_FIELDS | made.column | made.own, shape, 1000)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("picture", ["own", "clamped", "sample", "upload"])
def test_the_fields_of_an_inversion_make_it_again(method: str, picture: str) -> None:
    pictures = {
        "own": OWN, "clamped": OWN_CLAMPED, "sample": {"name": "coffee", "file": sample_png("coffee")},
        "upload": {"name": "upload", "file": photograph()},
    }  # fmt: skip
    own = OWN_FIELDS | {"method": method, "picture": pictures[picture], "crop": (0.2, 0.9, 1.5)}
    recipe = inversion_of(COLUMN, own, SHAPE, 1000)
    assert again(replace(recipe, weights="0" * 64, backend="torch", bucket=4)) == recipe


@pytest.mark.parametrize(
    ("column", "own"),
    [
        ({"noise_seed": "77", "precision": "fp64"}, {"between": True}),
        ({"second_model": "others", "class_label": "3"}, {"method": "ddim-target", "decode_steps": 40, "strength": 0.6}),
        ({"eta": 0.5}, {"method": "stochastic", "picture": {"name": "upload", "file": photograph()}}),
        ({}, {"evaluations": 99}),
    ],
)
def test_the_rarer_settings_too(column: dict[str, Any], own: dict[str, Any]) -> None:
    recipe = inversion_of(COLUMN | column, OWN_FIELDS | own, SHAPE, 1000)
    assert again(recipe) == recipe


def test_the_card_shows_the_picture_that_is_restored() -> None:
    recipe = InvertRecipe(sources=(of_image(opened("rocket"), SHAPE),), arms=(InversionArm(steps=4),))
    made = restored(recipe)
    assert made is not None
    assert made.own["picture"] == {"name": "rocket", "file": sample_png("rocket")}
    assert made.picture["pictures"]["chosen"] == "rocket"
    own = restored(replace(recipe, sources=(of_image(Image.open(io.BytesIO(photograph())), SHAPE),)))
    assert own is not None
    assert (own.picture["pictures"]["chosen"], own.picture["pictures"]["size"]) == ("upload", "cropped to a square, 8 × 8")
    assert own.picture["upload"]["file"] == own.own["picture"]["file"]
    assert own.picture["crop_view"]["picture"].startswith("data:image/png")


def test_a_grey_picture_of_another_shape() -> None:
    recipe = InvertRecipe(sources=(of_image(Image.open(io.BytesIO(photograph())), (1, 4, 12)),), arms=(InversionArm(steps=4),))
    assert again(recipe, (1, 4, 12)) == replace(recipe, precision="fp32")


def test_a_link_and_the_json_of_an_inversion_are_restored() -> None:
    own = OWN_FIELDS | {"picture": {"name": "upload", "file": photograph(200, 300)}}
    recipe = inversion_of(COLUMN, own, (3, 32, 32), 1000)
    assert again(read_text(f"http://here/?{key_values.to_query(recipe)}").recipe, (3, 32, 32)) == recipe
    assert again(read_text(recipe.to_json()).recipe, (3, 32, 32)) == recipe


@pytest.mark.parametrize("kind", ["single", "pair"])
@pytest.mark.parametrize("eta", [None, 0.5])
def test_a_latent_drawn_down_is_restored(kind: str, eta: float | None) -> None:
    if kind == "pair" and eta:
        pytest.skip("belongs to its own eta")
    x = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1))
    data = latent_files.save(Latent(x=x, second=x + 1 if kind == "pair" else None, model="faces", timesteps=(900, 400, 0)))
    recipe = of_file(data, model="others", eta=eta, noise_seed=5, precision="fp32")
    made = again(recipe)
    assert made.latent == recipe.latent
    assert replace(made, eta=None) == replace(recipe, eta=None)
    assert (made.eta or 0) == (eta or 0)


def test_what_no_fields_make_is_none() -> None:
    source, arm = Source(seed=3), InversionArm(steps=4)
    for recipe in (
        Recipe(arms=(Arm(),)),
        InvertRecipe(sources=(source, source), arms=(arm,)),
        InvertRecipe(sources=(source,), arms=(arm, replace(arm, steps=5))),
        InvertRecipe(sources=(source,), arms=(replace(arm, tolerance=0.1),)),
        InvertRecipe(sources=(of_tensor(torch.zeros(SHAPE)),), arms=(arm,)),
        InvertRecipe(sources=(Source(png=base64.b64encode(b"no picture").decode()),), arms=(arm,)),
        InvertRecipe(sources=(source,), arms=(replace(arm, steps=10**6),)),
        of_file(b"no latent", model="faces"),
    ):
        assert restored(recipe) is None, json.loads(recipe.to_json())
