"""Latents as files: all comes back, and what is no latent gets a sentence."""

import json
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from ddim_app.errors import FieldError
from ddim_app.runs import latent_files
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.sampling import Arm, Recipe
from tests import toys

X = toys.pictures(2, (3, 4, 4))
SINGLE = Latent(x=X.float(), model="avatars-32", weights="a" * 64, timesteps=(999, 499, 99))
NOISES = torch.stack([X, -X])
LATENTS = [
    SINGLE,
    Latent(x=X, second=2 * X, model="m", timesteps=(9, 3)),
    Latent(x=X, noises=NOISES, residual=X / 9, model="m", timesteps=(9, 3, 1), eta=0.5, recipe=Recipe(arms=(Arm(),))),
]


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_all_comes_back(latent):
    back = latent_files.load(latent_files.save(latent))
    assert back.kind == latent.kind
    assert back.tensors().keys() == latent.tensors().keys()
    for name, tensor in latent.tensors().items():
        assert back.tensors()[name].dtype == tensor.dtype
        assert torch.equal(back.tensors()[name], tensor)
    for name in ("model", "weights", "timesteps", "eta", "recipe"):
        assert getattr(back, name) == getattr(latent, name)


@pytest.mark.parametrize("latent", LATENTS, ids=lambda latent: latent.kind)
def test_equal_latents_are_equal_files(latent):
    """safetensors writes its metadata in another order each time; of six, twenty times the same happens by chance never."""
    assert len({latent_files.save(latent) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": torch.full((1, 3, 4, 4), torch.nan)}, "must hold finite numbers; its x has NaN"),
        ({"x": torch.zeros(3, 4, 4)}, r"1 to 64 latents as \(N, C, H, W\); got \(3, 4, 4\)"),
        ({"x": torch.zeros(0, 3, 4, 4)}, "1 to 64 latents"),
        ({"x": X.half()}, "must hold 32-bit or 64-bit floats"),
        ({"second": torch.zeros(1, 3, 4, 4)}, "second of shape"),
        ({"second": X}, "floats of one sort"),
        ({"noises": NOISES.float()}, "with noises and residual"),
        ({"noises": NOISES[:1].float(), "residual": X.float()}, r"noises of shape \(2, 2, 3, 4, 4\)"),
        ({"timesteps": (1, 2)}, "must name its timesteps, falling"),
        ({"timesteps": ()}, "must name its timesteps, falling"),
        ({"model": ""}, "must be the name of a model"),
    ],
)
def test_wrong_latents_get_a_sentence(changes, sentence):
    with pytest.raises(FieldError, match=sentence):
        replace(SINGLE, **changes)


def test_a_latent_of_another_size_gets_a_sentence():
    assert SINGLE.check_shape((3, 4, 4)) is SINGLE
    with pytest.raises(FieldError, match=r"it is 3x4x4 .* the model's 3x32x32"):
        SINGLE.check_shape((3, 32, 32))


def changed(tensors=None, **metadata):
    good = {"format": latent_files.FORMAT, "model": "m", "timesteps": "[9, 3]", "eta": "0.0"}
    return safetensors.torch.save(tensors or {"x": X}, {k: v for k, v in (good | metadata).items() if v is not None})


def test_the_file_that_the_others_are_changed_from_is_good():
    assert latent_files.load(changed()).timesteps == (9, 3)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "must be a .safetensors file of a latent"),
        (b"\x89PNG" * 99, "must be a .safetensors file of a latent"),
        ((2**60).to_bytes(8, "little") + b"{}", "must be a .safetensors file of a latent"),
        (len(b"[" * 9999).to_bytes(8, "little") + b"[" * 9999, "must be a .safetensors file of a latent"),
        (safetensors.torch.save({"x": X}), "must be a .safetensors file of a latent"),
        (changed()[:-5], "is broken or incomplete"),
        (changed({"y": X}), "is broken or incomplete"),
        (changed(format="other"), "of format 'other'"),
        (changed(timesteps="[3, 9]"), "must name its timesteps, falling"),
        (changed(timesteps="[0.5]"), "must name whole timesteps"),
        (changed(timesteps="7"), "is broken or incomplete"),
        (changed(timesteps=None), "is broken or incomplete"),
        (changed(recipe="{}"), "is broken: recipe must be the JSON"),
        (changed(weights="x"), "is broken: weights must be a sha256"),
        (changed({"x": torch.full((1, 1, 2, 2), torch.inf)}), "must hold finite numbers"),
        (changed({"x": torch.zeros(1, 1, 2, 2, dtype=torch.int64)}), "32-bit or 64-bit floats"),
    ],
)
def test_files_that_are_no_latents_get_a_sentence(data, sentence):
    with pytest.raises(FieldError, match=sentence) as raised:
        latent_files.load(data)
    assert raised.value.field == "latent"


def test_huge_files_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(latent_files, "MAX_BYTES", 10)
    with pytest.raises(FieldError, match="at most 0 MB"):
        latent_files.load(changed())


def test_the_header_is_plain_json():
    data = latent_files.save(LATENTS[2])
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["recipe"] == LATENTS[2].recipe.to_json()
