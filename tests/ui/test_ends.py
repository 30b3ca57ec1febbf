"""The cards of Interpolate's ends: what they say as seeds and files."""

from dataclasses import replace

import pytest
import torch

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.media.images import png_bytes, to_pil, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.interpolation import MovingArm, PathRecipe, name_of
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_pixels, of_tensor
from ddim_app.ui.interpolate.ends import values_of, with_file
from ddim_app.ui.interpolate.view import ends_line

SEEDS = {"ends": [{"seed": seed} for seed in (7, 8, 9, 10)]}
GREY = torch.zeros(3, 8, 8)


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False)


def test_a_mode_takes_the_first_cards_as_many_as_it_may_have():
    assert values_of(SEEDS, {}, "line") == ({"seeds": "7, 8"}, [None, None])
    assert values_of(SEEDS, {}, "loop")[0] == {"seeds": "7, 8, 9, 10"}
    assert values_of(SEEDS, {}, "truncation")[0] == {"seeds": "7"}
    assert values_of(SEEDS, {}, "variation")[0] == {"seeds": "7, 8, 9, 10", "frames": 4}


def test_a_file_stands_in_its_place_under_its_name_and_goes_with_its_card(engine):
    picture = png_bytes(to_pil(to_pixels(GREY[None])[0]))
    cards, files = with_file(engine, picture, SEEDS, {}, "tiny", 1)
    assert cards["ends"][1]["name"] == "Picture"
    assert cards["ends"][1]["thumb"].startswith("data:image/png;base64,")
    assert values_of(cards, files, "line") == ({"seeds": "7, 0"}, [None, picture])
    named = png_bytes(to_pil(to_pixels(GREY[None])[0]), [("ddim_recipe", Recipe(arms=(Arm(),), seed=5).to_json())])
    cards, files = with_file(engine, named, cards, files, "tiny", 1)
    assert (cards["ends"][1], files) == ({"seed": 5}, {})


def test_a_latent_is_shown_by_the_picture_that_it_was_inverted_from(engine):
    made = InvertRecipe(model="tiny", sources=(of_pixels(GREY),), arms=(InversionArm(steps=3),))
    plain = latent_files.Latent(x=torch.randn(1, 3, 8, 8), model="tiny", timesteps=(9, 3))
    names = []
    for latent in (plain, replace(plain, recipe=made), replace(plain, x=torch.randn(3, 3, 8, 8))):
        cards, _ = with_file(engine, latent_files.save(latent), SEEDS, {}, "tiny")
        names.append((cards["ends"][0]["name"], cards["ends"][0]["about"]))
    assert names == [("Latent", "2 steps"), ("Latent", "of a picture, 2 steps"), ("3 latents", "2 steps")]


@pytest.mark.parametrize("cards", [None, [], {"ends": 3}, {"ends": ["7"]}, {"ends": [{"seed": 1}] * 25}])
def test_what_is_no_list_of_cards_is_refused(cards):
    with pytest.raises(FieldError, match="seeds must be a list"):
        values_of(cards, {}, "loop")


def test_a_file_that_is_no_end_is_refused(engine):
    with pytest.raises(FieldError, match="not a picture"):
        with_file(engine, b"nothing", SEEDS, {}, "tiny")


def test_an_end_has_one_name_on_its_card_in_lines_and_on_the_film():
    latent = of_tensor(torch.zeros(3, 8, 8))
    recipe = PathRecipe(
        model="tiny", ends=(Source(seed=7), of_pixels(GREY), latent), arms=(MovingArm(),), mode="loop", precision="fp32"
    )
    assert [name_of(end, i) for i, end in enumerate(recipe.ends)] == ["seed 7", "picture B", "latent C"]
    assert ends_line(recipe) == "7, picture B, latent C"
