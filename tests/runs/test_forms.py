"""What visitors give as ends: seeds as text, latent files, pictures, and the sentences for what is none of these."""

import io
from typing import Any

import pytest
import torch
from PIL import Image

from ddim_app.diffusion.noise import MAX_SEED, initial_noise
from ddim_app.errors import FieldError
from ddim_app.media.images import png_bytes
from ddim_app.runs import forms, latent_files
from ddim_app.runs.forms import interpolation, parse_seeds, read_end
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source

SHAPE = (3, 8, 8)
USUAL: dict[str, Any] = {
    "model": "tiny", "steps": 10, "ddpm_steps": 0, "eta": 0.0, "seed": 7, "spacing": "trailing", "variance": "small",
    "clip": "clip", "precision": "fast", "noise_seed": "", "branch": 0, "mode": "line", "seeds": "", "method": "ddim",
    "noise": "slerp", "way": "slerp", "frames": 9, "rows": 5, "columns": 5, "start": 0, "stop": 1, "strength": 0.25,
    "level": 500, "table": False, "q_noise": "independent",
}  # fmt: skip
PNG = png_bytes(Image.new("RGB", (20, 16), "teal"))


def made(files: tuple[bytes | None, ...] = (), **changes: Any) -> Any:
    return interpolation({**USUAL, **changes}, files, 1000, SHAPE)


def latents(count: int = 1, **more: Any) -> bytes:
    given = {"x": initial_noise(range(count), SHAPE), "model": "tiny", "timesteps": (999, 500, 10)} | more
    return latent_files.save(Latent(**given))


@pytest.mark.parametrize(
    ("text", "count", "found"),
    [
        ("", 3, [5, 6, 7]),
        (None, 2, [5, 6]),
        ("9", 2, [9, 10]),
        (" 9 , 2,", 2, [9, 2]),
        ("9 2 4", 4, [9, 2, 4, 5]),
        (str(MAX_SEED), 2, [MAX_SEED, 0]),
    ],
)
def test_seeds_are_read_and_count_up(text: str | None, count: int, found: list[int]) -> None:
    assert parse_seeds(text, 5, count) == found


@pytest.mark.parametrize("text", ["x", "1.5", "-1", str(2**32), "1;2", "9" * 30, 7, ["7"], "1," * 300])
def test_seeds_that_are_none(text: object) -> None:
    with pytest.raises(FieldError, match=r"^seeds must be"):
        parse_seeds(text, 5, 200)


def test_too_many_seeds() -> None:
    with pytest.raises(FieldError, match="seeds must be at most 2 here; got 3"):
        parse_seeds("1, 2, 3", 0, 2)


@pytest.mark.parametrize(
    ("changes", "seeds"),
    [
        ({}, [7, 8]),
        ({"seeds": "7, 7"}, [7, 7]),
        ({"mode": "grid", "seeds": "3"}, [3, 4, 5, 6]),
        ({"mode": "loop"}, [7, 8, 9, 10]),
        ({"mode": "loop", "seeds": "1, 5"}, [1, 5]),
        ({"mode": "arithmetic"}, [7, 8, 9]),
        ({"mode": "truncation"}, [7]),
        ({"mode": "variation", "frames": 4, "seeds": "7, 100"}, [7, 100, 101, 102]),
        ({"mode": "mix"}, [7, 8]),
    ],
)
def test_each_mode_has_its_ends(changes: dict[str, Any], seeds: list[int]) -> None:
    recipe = made(**changes)
    assert [end.seed for end in recipe.ends] == seeds


def test_methods_are_arms() -> None:
    labels = {method: [arm.label for arm in made(method=method, eta=0.5, noise="shared").arms] for method in forms.METHODS}
    ddim, ddpm = "DDIM(η = 0.5), one noise for all", "DDPM, one noise for all"
    assert labels["ddim"] == [ddim]
    assert labels["ddpm"] == [ddpm]
    assert labels["2m"] == ["DPM-Solver++ (2M)"]
    assert labels["both"] == [ddim, ddpm]
    assert labels["all"] == [ddim, "DDPM, noise moves along", ddpm, "DDPM, fresh noise"]
    assert [arm.steps for arm in made(method="both", ddpm_steps=40).arms] == [10, 40]


def test_a_mix_has_a_level_or_a_table_of_levels() -> None:
    one, table = made(mode="mix", level=250, ddpm_steps=200, eta=0.3), made(mode="mix", table=True, noise="fresh", q_noise="shared")
    assert isinstance(one, MixRecipe)
    assert (one.levels, one.chain.steps, one.source) == ((250,), 200, Arm(steps=10, eta=0.3))
    assert table.levels == (1000, 875, 750, 625, 500, 375, 250, 125, 0)
    assert (table.step_noise, table.q_noise, one.step_noise) == ("fresh", "shared", "shared")


def test_pictures_take_the_place_of_ends() -> None:
    line = made((None, PNG))
    assert isinstance(line, PathRecipe)
    assert (line.ends[0], line.pictures, line.precision) == (Source(seed=7), [1], "fp32")
    mix = made((PNG,), mode="mix")
    assert mix.precision == "fast"
    teal = torch.tensor([0, 128, 128]) / 127.5 - 1
    torch.testing.assert_close(mix.ends[0].tensor(SHAPE)[0, :, 4, 4], teal)
    assert made((None, None, PNG)).pictures == []  # a line has no third end


def test_a_picture_of_an_earlier_run_is_the_seed_that_its_recipe_names() -> None:
    recipe = Recipe(arms=(Arm(),), seed=123)
    picture = Image.new("RGB", (8, 8))
    assert read_end(png_bytes(picture, [("ddim_recipe", recipe.to_json())]), SHAPE).ends == (Source(seed=123),)
    own_seed = Recipe(arms=(Arm(seed=9),), seed=123)
    assert read_end(png_bytes(picture, [("ddim_recipe", own_seed.to_json())]), SHAPE).ends == (Source(seed=9),)
    for unclear in ("{", Recipe(arms=(Arm(),), pictures=4).to_json(), Recipe(arms=(Arm(), Arm(eta=1.0))).to_json()):
        assert read_end(png_bytes(picture, [("ddim_recipe", unclear)]), SHAPE).ends[0].png is not None


def test_latents_of_pictures_are_decoded_on_their_own_steps_without_clipping() -> None:
    recipe = made((latents(),), steps=50, method="both")
    assert {(arm.timesteps, arm.clip, arm.steps) for arm in recipe.arms} == {((999, 500, 10), "off", 3)}
    assert recipe.precision == "fp32"
    torch.testing.assert_close(recipe.ends[0].tensor(SHAPE), initial_noise([0], SHAPE))


def test_latents_of_a_path_are_ordinary_noise() -> None:
    path = PathRecipe(arms=made().arms, ends=(Source(seed=1), Source(seed=2)))
    recipe = made((latents(3, recipe=path),), mode="loop", steps=50, seeds="1, 2, 3")
    assert [end.floats is not None for end in recipe.ends] == [True] * 3
    assert {(arm.timesteps, arm.clip) for arm in recipe.arms} == {(None, "clip")}
    assert (len(made((latents(3, recipe=path),)).ends), recipe.precision) == (2, "fast")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello", "file must be a picture, or a latent file of this app; it cannot be used: it is not a picture"),
        (PNG[:60], "file cannot be used: it is broken or incomplete"),
        (b"\x10\0\0\0\0\0\0\0{broken", "latent must be a .safetensors file of a latent; this is none"),
        (latents(x=initial_noise([1], (3, 4, 4))), "latent must fit the model: it is 3x4x4"),
        (latents(second=initial_noise([1], SHAPE)), "file must hold ordinary latents (x_T): it holds a pair latent"),
        (
            latents(noises=torch.zeros(2, 1, *SHAPE), residual=torch.zeros(1, *SHAPE)),
            "file must hold ordinary latents (x_T): it holds a stochastic latent",
        ),
        (latents()[:-4] + torch.tensor([torch.nan]).numpy().tobytes(), "latent must hold finite numbers; its x has NaN"),
    ],
)
def test_files_that_are_no_end(data: bytes, sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        made((data,))
    assert str(caught.value).startswith(sentence)


def test_files_need_a_model_and_agree_on_their_steps() -> None:
    with pytest.raises(FieldError, match="file needs a model that is here already"):
        interpolation(USUAL, (PNG,), 1000, None)
    with pytest.raises(FieldError, match="must be inverted on the same timesteps"):
        made((latents(), latents(timesteps=(999, 9))))
    with pytest.raises(FieldError, match="file must be a picture here; this is a latent file"):
        made((latents(),), mode="mix")
    out = io.BytesIO()
    Image.new("1", (4, 4)).save(out, "TIFF")
    assert made((out.getvalue(),)).pictures == [0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mode": "spiral"}, "mode must be one of line, grid, loop, arithmetic, variation, truncation, mix; got 'spiral'"),
        ({"method": "euler"}, "method must be one of ddim, ddpm, 2m, both, all; got 'euler'"),
        ({"frames": 1}, "frames must be a whole number from 2 to 121; got 1"),
        ({"frames": "x"}, "frames must be a whole number from 2 to 121; got 'x'"),
        ({"mode": "variation", "frames": 1000}, "frames must be a whole number from 2 to 24; got 1000"),
        ({"mode": "mix", "level": 1001}, "level must be a whole number from 0 to 1000; got 1001"),
        ({"mode": "mix", "level": -1}, "level must be a whole number from 0 to 1000; got -1"),
        ({"mode": "mix", "frames": 1000}, "frames must be a whole number from 2 to 33; got 1000"),
        ({"mode": "grid", "rows": 12}, "rows must be a whole number from 2 to 11; got 12"),
        ({"steps": 3.7}, "steps must be a whole number from 1 to 1000; got 3.7"),
        ({"noise": None}, "noise must be one of slerp, shared, fresh; got nothing"),
        ({"ddpm_steps": ""}, "ddpm_steps must be a whole number from 0 to 1000; got ''"),
    ],
)
def test_wrong_values(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        made(**changes)
    assert str(caught.value) == sentence
