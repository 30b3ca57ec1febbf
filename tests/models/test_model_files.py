"""Files of models as they are: formats, variants, parts, pointers, folders inside folders; and what recipes call their weights."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

from ddim_app.models import loading
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.loading import ModelError, load
from ddim_app.models.model_files import WEIGHTS, licence, weight_files
from ddim_app.runs import codecs
from ddim_app.runs.sampling import Arm, Recipe
from tests import toys

PICKLED = "diffusion_pytorch_model.bin"


@pytest.fixture
def folder(tiny_root, tmp_path):
    """A copy of the tiny model that may be spoiled."""
    return Path(shutil.copytree(tiny_root / "tiny", tmp_path / "tiny"))


def saved(folder, **options):
    """Saves the network again by diffusers itself, in place of its weights; returns it as diffusers loads it."""
    home = folder / "unet"
    unet = UNet2DModel.from_pretrained(home)
    (home / WEIGHTS).unlink()
    unet.to(options.pop("dtype", torch.float32)).save_pretrained(home, **options)
    return unet.float()


def same(model, unet):
    """Whether it is that network to the last bit, and predicts the same."""
    x, t = torch.randn((2, *model.shape), generator=torch.Generator().manual_seed(0)), torch.tensor([900, 3])
    with torch.no_grad():
        equal = torch.equal(model.unet(x, t).sample, unet.eval()(x, t).sample)
    return equal and all(torch.equal(a, b) for a, b in zip(model.unet.parameters(), unet.parameters(), strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"safe_serialization": False}, {"variant": "fp16", "dtype": torch.float16}, {"variant": "non_ema"}, {"variant": "bf16"},
        {"max_shard_size": "60KB"}, {"max_shard_size": "60KB", "safe_serialization": False},
        {"max_shard_size": "60KB", "variant": "fp16", "dtype": torch.float16}, {"variant": "fp16", "safe_serialization": False},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_diffusers_wrote_opens_as_the_same_network(folder, options):
    sharded = "max_shard_size" in options
    unet = saved(folder, **options)
    assert not (folder / "unet" / WEIGHTS).exists()
    assert len(list((folder / "unet").glob("*-of-*"))) > 1 or not sharded
    assert same(load(folder), unet)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_other_names(folder, name):
    unet = saved(folder, safe_serialization=name.endswith("safetensors"))
    old = WEIGHTS if name.endswith("safetensors") else PICKLED
    (folder / "unet" / old).rename(folder / "unet" / name)
    assert same(load(folder), unet)


def test_old_names_of_attention_in_a_pickle_open_as_in_diffusers(tmp_path):
    from tests.models.hub_table import celebahq, old_attention_names

    celebahq(tmp_path)
    found = torch.load(tmp_path / PICKLED, weights_only=True)
    save_file(found, tmp_path / WEIGHTS, {"format": "pt"})
    old_attention_names(tmp_path)
    torch.save(load_file(tmp_path / WEIGHTS), tmp_path / PICKLED)
    (tmp_path / WEIGHTS).unlink()
    assert same(load(tmp_path), UNet2DModel.from_pretrained(tmp_path, use_safetensors=False))


ORDER = [
    "diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp32.bin",
    "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bf16.safetensors",
    "diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.non_ema.bin",
]  # fmt: skip


def test_the_best_of_several_weights_is_taken():
    """Full precision before rounded, average before none, then safetensors before pickles."""
    for i, name in enumerate(ORDER):
        assert weight_files(["config.json", *ORDER[i:][::-1]]).names == (name,)
    parts = [f"diffusion_pytorch_model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert weight_files([*parts, ORDER[2]]).names == tuple(parts)
    assert weight_files([*parts[:2], ORDER[2]]).names == (ORDER[2],)
    with pytest.raises(ValueError, match="its weights are in 3 parts, of which 2 are there"):
        weight_files(parts[:2])
    with pytest.raises(ValueError, match=r"ema\.pt is a pickle of an unknown kind"):
        weight_files(["config.json", "ema.pt"])
    with pytest.raises(ValueError, match="nor weights of another name"):
        weight_files(["config.json", "diffusion_pytorch_model.safetensors.index.json"])


def test_an_index_that_points_outside_is_not_followed(folder):
    unet = saved(folder, max_shard_size="60KB")
    index = folder / "unet" / f"{WEIGHTS}.index.json"
    outside = dict.fromkeys(json.loads(index.read_text())["weight_map"], "../../secret.safetensors")
    index.write_text(json.dumps({"metadata": {}, "weight_map": outside}))
    assert same(load(folder), unet)


def test_a_folder_of_weights_is_left_as_it_is(folder):
    """A conversion writes beside nothing of the user's, and reading twice reads the conversion."""
    saved(folder, safe_serialization=False)
    before = sorted(path.name for path in folder.rglob("*"))
    told = []
    assert load(folder, notify=told.append).sha256 == load(folder, notify=told.append).sha256
    # Before the first one stands that it is converted now, unless another test has drawn these weights.
    assert told[-2:] == [f"tiny: {PICKLED} is converted from a pickle; nothing in it was run"] * 2
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_cache_that_cannot_be_written_is_a_sentence(folder, tmp_path, monkeypatch):
    saved(folder, safe_serialization=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDIM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="Not a directory"):
        load(folder)


def test_a_conversion_that_does_not_fit_the_config_names_the_pickle(folder):
    saved(folder, safe_serialization=False)
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [16, 32]}))
    with pytest.raises(ModelError, match=f"model tiny: {PICKLED} cannot be read or does not fit"):
        load(folder)


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ("---\nlicense: apache-2.0\n---\nA model.", "apache-2.0"), ("---\ntags: [a]\n---\n", None), ("A model.", None),
        ("---\nlicense: [mit]\n---\n", None), ("---\nlicense: {\n---\n", None), ("---\n- a\n---\n", None),
        ("---\nlicense: 'a\\nb'\n---\n", "a\\nb"),
        ("---\nlicense: mit\n---\n" + "x" * 1_000_001, None),
    ],
)  # fmt: skip
def test_the_licence_of_the_card(tmp_path, card, named):
    (tmp_path / "README.md").write_text(card)
    assert licence(tmp_path) == named


# What recipes call the weights.


def test_the_hash_is_of_the_tensors_whatever_holds_them(folder, tmp_path):
    whole = load(folder)
    saved(folder, safe_serialization=False)
    pickled = load(folder)
    (folder / "unet" / PICKLED).unlink()
    toys.save_tiny(folder)
    saved(folder, max_shard_size="60KB")
    assert load(folder).sha256 == pickled.sha256 == whole.sha256
    assert load(toys.save_tiny(tmp_path / "other", seed=1)).sha256 != whole.sha256


def test_recipes_that_name_the_hash_of_the_file_keep_working(folder):
    model = load(folder)
    file = hashlib.sha256((folder / "unet" / WEIGHTS).read_bytes()).hexdigest()
    assert file != model.sha256
    recipe = Recipe(arms=(Arm(steps=2),), model="tiny")
    for sha256 in (file, model.sha256):
        assert codecs.other_weights(replace(recipe, weights=sha256), {"tiny": model.hashes}) is None
    assert "has other weights here" in str(codecs.other_weights(replace(recipe, weights="0" * 64), {"tiny": model.hashes}))


# Folders.


def test_whoever_runs_the_program_names_any_folder(folder, tiny_root, tmp_path, monkeypatch):
    catalogue = Catalogue([tiny_root], trusted=True)
    monkeypatch.chdir(tmp_path)
    for name in (str(folder), f"{folder}/", "tiny/", "./tiny", f" {folder} ", str(folder / "unet")):
        assert catalogue.load(name).shape == (3, 8, 8)
    with pytest.raises(ModelError, match="must be one of the models here"):
        Catalogue([tiny_root]).load(str(folder))


def test_a_name_with_its_folder_in_front_is_the_name(tiny_root):
    catalogue = Catalogue([tiny_root])
    for name in (f"{tiny_root.name}/tiny", f" {tiny_root.name}/tiny/ ", "tiny/"):
        assert catalogue.load(name).name == "tiny"
        assert not catalogue.is_on_hub(name)


@pytest.mark.parametrize("inside", ["checkpoints", "checkpoints/step-000000012"])
def test_a_folder_of_checkpoints_names_the_run(folder, tmp_path, inside, monkeypatch):
    run = Path(shutil.copytree(folder, tmp_path / "runs" / "me"))
    (run / inside).mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    roots = [tmp_path / "weights", tmp_path / "runs"]
    for catalogue, name in ((Catalogue(roots), f"runs/me/{inside}"), (Catalogue(roots, trusted=True), str(run / inside))):
        with pytest.raises(ModelError) as caught:
            catalogue.load(name)
        assert str(caught.value).endswith("it is a part of the model runs/me: name that")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links here")
def test_a_model_whose_files_are_links_opens(folder, tmp_path):
    """As in the cache of the Hub's library."""
    linked = tmp_path / "linked"
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        place = linked / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    assert load(linked).sha256 == load(folder).sha256


def test_conversions_are_kept_up_to_a_limit_those_used_last(folder, tmp_path, monkeypatch):
    """What a load uses is never deleted, and counts as used anew."""
    monkeypatch.setenv("DDIM_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "converted"
    weights = folder / "unet" / WEIGHTS
    torch.save(load_file(weights), folder / "unet" / PICKLED)
    weights.unlink()
    load(folder)
    (mine,) = kept.iterdir()
    size = mine.stat().st_size
    for age, name in enumerate(("new", "older", "oldest")):
        (kept / name).write_bytes(b"\0" * size)
        os.utime(kept / name, (1_000_000 - age, 1_000_000 - age))
    os.utime(mine, (1, 1))
    monkeypatch.setattr(loading, "MAX_CONVERTED", 2 * size)
    load(folder)
    assert {path.name for path in kept.iterdir()} == {mine.name, "new"}
    monkeypatch.setattr(loading, "MAX_CONVERTED", 1)
    load(folder)
    assert list(kept.iterdir()) == [mine]
