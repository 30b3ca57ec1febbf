"""Models of the Hugging Face Hub: what is fetched, and what is said. Tests have no network."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from ddim_app.models import hub as hub_module
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.loading import WEIGHTS, ModelError


@pytest.fixture
def folder(tiny_root, tmp_path):
    """A copy of the tiny model that may be spoiled."""
    return Path(shutil.copytree(tiny_root / "tiny", tmp_path / "tiny"))


def test_a_hub_model_that_is_not_here_fails_offline_with_a_sentence(tiny_root):
    with pytest.raises(ModelError) as caught:
        Catalogue([tiny_root]).load("nobody/no-such-model")
    assert str(caught.value) == (
        "model nobody/no-such-model: it is not on this machine, and the Hugging Face Hub cannot be reached to fetch it"
    )


def test_a_download_is_announced_with_its_size_and_fetches_no_code(tiny_root, folder, monkeypatch):
    fetched, told = [], []

    def snapshot(name, allow_patterns, local_files_only=False):
        if local_files_only:
            raise hub_module.LocalEntryNotFoundError("not in the cache")
        assert told or not any(name.endswith(".safetensors") for name in allow_patterns), "announced first"
        fetched.append(allow_patterns)
        return str(folder)

    sizes = {"unet/config.json": 1_000, f"unet/{WEIGHTS}": 142_999_000, "unet/diffusion_pytorch_model.bin": 143_000_000, "x.py": 5}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    hub = SimpleNamespace(model_info=lambda name, files_metadata: SimpleNamespace(siblings=siblings))
    monkeypatch.setattr(hub_module, "snapshot_download", snapshot)
    monkeypatch.setattr(hub_module, "HfApi", lambda: hub)
    assert Catalogue([tiny_root]).load("somebody/model", told.append).name == "somebody/model"
    assert told == ["Downloading somebody/model from the Hugging Face Hub: 143 MB"]
    assert fetched == [hub_module.CONFIGS, hub_module.HUB_FILES]
    assert all(file.endswith((".json", ".safetensors")) for file in hub_module.HUB_FILES)


def test_weights_that_no_run_could_use_are_not_downloaded(tiny_root, folder, monkeypatch):
    """Neither of another class nor of any size: only its configs are fetched."""
    fetched = []

    def snapshot(name, allow_patterns, local_files_only=False):
        if local_files_only:
            raise hub_module.LocalEntryNotFoundError("not in the cache")
        fetched.append(allow_patterns)
        return str(folder)

    files = [SimpleNamespace(rfilename=WEIGHTS, size=300_000_000_000)]
    hub = SimpleNamespace(model_info=lambda name, files_metadata: SimpleNamespace(siblings=files))
    monkeypatch.setattr(hub_module, "snapshot_download", snapshot)
    monkeypatch.setattr(hub_module, "HfApi", lambda: hub)
    with pytest.raises(ModelError, match=r"it has 300\.0 GB, and at most 4 GB are downloaded"):
        Catalogue([tiny_root]).load("somebody/large")
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace("UNet2DModel", "LlamaForCausalLM"))
    with pytest.raises(ModelError, match="must describe a UNet2DModel; got LlamaForCausalLM"):
        Catalogue([tiny_root]).load("somebody/language-model")
    assert fetched == [hub_module.CONFIGS] * 2


@pytest.mark.parametrize("name", ["weights/tiny", "a--b/c", "a..b/c", "ü/b", "a/b/c", "-a/b", "a/b-", "http://a/b"])
def test_what_is_no_hub_id_is_not_looked_for_there(tiny_root, name):
    assert not Catalogue([tiny_root.parent / "weights", tiny_root]).is_on_hub(name)


def test_a_cached_hub_model_is_loaded_without_a_word(tiny_root, folder, monkeypatch):
    monkeypatch.setattr(hub_module, "snapshot_download", lambda name, allow_patterns, local_files_only: str(folder))
    told = []
    assert Catalogue([tiny_root]).load("somebody/model", told.append).shape == (3, 8, 8)
    assert not told
