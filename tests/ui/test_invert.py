"""The Invert tab over the wire: the endpoint, and its refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.media import images
from ddim_app.runs import latent_files
from ddim_app.runs.kinds import from_json
from tests import toys
from tests.image_files import header_of
from tests.wire import patient_client, served


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "tiny")
    with served(Engine([root], allow_hub=False, device=torch.device("cpu"))) as url:
        yield patient_client(url)


def ask(client, picture=None, **values):
    given = {
        "picture": handle_file(picture) if picture else None, "method": "o-belm", "strength": 1, "decode_steps": 0,
        "evaluations": 0, "clamped": False, "model": "tiny", "steps": 5, "eta": 0, "seed": 3,
        "spacing": "trailing", "noise_seed": "", "precision": "fast", "second_model": "",
    }  # fmt: skip
    return client.predict(*(given | values).values(), api_name="/invert")


def test_a_picture_comes_back_with_its_latent_and_recipe(client, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    pictures, latent, summary = ask(client, str(path))
    original, back = (np.asarray(Image.open(each["image"]).convert("RGB")).astype(int) for each in pictures)
    assert np.array_equal(original, np.asarray(Image.open(path)))
    assert np.abs(original - back).max() <= 1
    loaded = latent_files.load(Path(latent).read_bytes())
    assert (loaded.kind, tuple(loaded.x.shape)) == ("pair", (1, 3, 8, 8))
    assert summary["nfe"] == [5, 4]
    assert summary["scores"]["mse"] < 1e-9
    assert summary["latent"]["verdict"]
    recipe = from_json(summary["recipe"])
    assert recipe.precision == "fp32"
    with Image.open(pictures[1]["image"]) as image:
        assert from_json(image.text[images.RECIPE_KEY]) == recipe


def test_without_a_picture_the_model_makes_one_and_its_noise_is_looked_for(client):
    for clamped in (False, True):
        _, _, summary = ask(client, method="fixed-point", evaluations=50, clamped=clamped)
        assert 5 <= summary["nfe"][0] <= 50  # a step ends early where nothing is left to mend
        assert summary["nfe"][1] == 5
        assert summary["latent"]["cosine_to_true"] is not None
        assert len(summary["residuals"]) == 5


def test_stochastic_at_eta_0_has_eta_1(client):
    _, _, summary = ask(client, method="stochastic", precision="fp64")
    recipe = from_json(summary["recipe"])
    assert (recipe.arms[0].eta, recipe.precision) == (1, "fp64")
    assert summary["scores"]["mse"] < 1e-24
    assert summary["mse_without_residual"] > summary["scores"]["mse"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 1}, "must leave O-BELM two transitions"),
        ({"strength": 0}, "strength must be above 0"),
        ({"method": "magic"}, "method must be one of"),
        ({"eta": 1}, "eta must be 0 for o-belm"),
        ({"steps": "x"}, "steps must be a whole number"),
        ({"second_model": "none"}, "model must be"),
        ({"model": 7}, "model must be the name"),
        ({"seed": -1}, "seed must be a whole number"),
    ],
)
def test_wrong_values_get_a_sentence(client, values, sentence):
    with pytest.raises((AppError, ValueError), match=sentence):
        ask(client, **values)


@pytest.mark.parametrize("data", [b"plain text", header_of(30_000, 30_000), b"%PDF-1.7"], ids=["text", "bomb", "pdf"])
def test_hostile_pictures_get_a_sentence(client, tmp_path, data):
    path = tmp_path / "x.png"
    path.write_bytes(data)
    with pytest.raises((AppError, ValueError), match="picture cannot be used"):
        ask(client, str(path))
