"""Models of the Hugging Face Hub: what is fetched, what is said before and meanwhile, and whose token is shown."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from ddim_app.engine import Engine
from ddim_app.models import hub as hub_module
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.hub import Progress
from ddim_app.models.loading import ModelError, load
from ddim_app.models.model_files import WEIGHTS
from ddim_app.runs.sampling import Arm, Recipe
from tests import toys

PICKLED = "diffusion_pytorch_model.bin"


@pytest.fixture
def folder(tiny_root, tmp_path):
    """A copy of the tiny model that may be spoiled."""
    return Path(shutil.copytree(tiny_root / "tiny", tmp_path / "tiny"))


@pytest.fixture
def catalogue(tiny_root):
    return Catalogue([tiny_root])


def pickled(folder):
    """The same weights, pickled instead."""
    weights = folder / "unet" / WEIGHTS
    torch.save(load_file(weights), folder / "unet" / PICKLED)
    weights.unlink()
    return folder


def token_is_known(hub, monkeypatch):
    """Logs whoever runs the program in."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)


def test_offline_a_model_that_is_not_here_fails_with_a_sentence(catalogue):
    with pytest.raises(ModelError) as caught:
        catalogue.load("nobody/no-such-model")
    assert str(caught.value) == (
        "model nobody/no-such-model: it is not on this machine, and HF_HUB_OFFLINE=1 keeps it from being fetched"
    )


def test_a_hub_that_cannot_be_reached_is_said(catalogue, fake_hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match="it is not on this machine, and the Hugging Face Hub cannot be reached to fetch it"):
        catalogue.load("somebody/model")


def test_a_download_is_announced_with_its_size_and_licence_and_fetches_no_code(catalogue, fake_hub, folder):
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nA model.\n")
    (folder / "modeling.py").write_text("raise SystemExit")
    torch.save(load_file(folder / "unet" / WEIGHTS), folder / "unet" / PICKLED)
    fake_hub.repositories["somebody/model"] = folder
    told = []

    def tell(words):
        told.append(words)
        if len(told) == 1:
            assert not fake_hub.fetched(), "announced first"

    model = catalogue.load("somebody/model", tell)
    assert (model.name, model.shape, model.licence) == ("somebody/model", (3, 8, 8), "apache-2.0")
    assert told[0] == "Downloading somebody/model from the Hugging Face Hub: 0.3 MB, licence apache-2.0"
    assert told[-1] == "Downloading somebody/model from the Hugging Face Hub: 0.3 MB of 0.3 MB"
    assert all(isinstance(words, Progress) for words in told[1:])
    assert fake_hub.fetched(("",)) == [
        "api", "unet/config.json", "scheduler/scheduler_config.json", "README.md", f"unet/{WEIGHTS}",
    ]  # fmt: skip


def test_a_pickle_is_announced_with_its_true_size_and_its_conversion_is_said(catalogue, fake_hub, folder):
    size, expected = (folder / "unet" / WEIGHTS).stat().st_size, load(folder)
    fake_hub.repositories["somebody/model"] = pickled(folder)
    told = []
    model = catalogue.load("somebody/model", told.append)
    assert told[0] == f"Downloading somebody/model from the Hugging Face Hub: {size / 1e6:.1f} MB"
    assert told[-1] == f"somebody/model: {PICKLED} is converted from a pickle; nothing in it was run"
    assert model.sha256 == expected.sha256
    assert model.file_sha256 is None
    assert all(torch.equal(a, b) for a, b in zip(model.unet.parameters(), expected.unet.parameters(), strict=True))


def test_weights_that_no_run_could_use_are_not_downloaded(catalogue, fake_hub, folder, monkeypatch):
    """Neither of another class nor of any size: only its configs are fetched."""
    fake_hub.repositories["somebody/model"] = folder
    monkeypatch.setattr(hub_module, "MAX_DOWNLOAD", 100_000)
    with pytest.raises(ModelError, match=r"it has 0\.0 GB, and at most 0 GB are downloaded"):
        catalogue.load("somebody/model")
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text().replace("UNet2DModel", "LlamaForCausalLM"))
    with pytest.raises(ModelError, match="must describe a UNet2DModel; got LlamaForCausalLM"):
        catalogue.load("somebody/model")
    (folder / "model_index.json").write_text("[" + " " * 1_000_000 + "]")
    with pytest.raises(ModelError, match=r"model_index\.json has 1\.0 MB, which is no config"):
        catalogue.load("somebody/model")
    assert not fake_hub.fetched()


def test_an_interrupted_download_goes_on(catalogue, fake_hub, folder, monkeypatch):
    """Within a try as often as something arrives, and in a later try where the last one ended."""
    fake_hub.repositories["somebody/model"] = folder
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    fake_hub.cut = 100_000
    with pytest.raises(ModelError, match="what has arrived of it is kept"):
        catalogue.load("somebody/model")
    part = next((Path(constants.HF_HUB_CACHE)).rglob("*.part"))
    kept = part.stat().st_size
    assert 60_000 <= kept <= 100_000
    fake_hub.cut = None
    fake_hub.ranges.clear()
    told = []
    assert catalogue.load("somebody/model", told.append).shape == (3, 8, 8)
    assert fake_hub.ranges == [f"bytes={kept}-"]
    assert not part.exists()


def test_what_arrives_damaged_is_not_kept(catalogue, fake_hub, folder, monkeypatch):
    fake_hub.repositories["somebody/model"] = folder
    fake_hub.spoil = True
    with pytest.raises(ModelError, match="arrived damaged"):
        catalogue.load("somebody/model")
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.part"))
    fake_hub.spoil = False
    assert catalogue.load("somebody/model").shape == (3, 8, 8)


def test_a_cached_model_is_loaded_without_a_word_and_without_the_hub(catalogue, fake_hub, folder, monkeypatch):
    fake_hub.repositories["somebody/model"] = folder
    catalogue.load("somebody/model")
    fake_hub.requests.clear()
    told = []
    assert catalogue.load("somebody/model", told.append).shape == (3, 8, 8)
    assert not told
    assert not fake_hub.requests
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert catalogue.load("https://hf.co/somebody/model").shape == (3, 8, 8)


def test_revisions_and_pull_requests(catalogue, fake_hub, folder, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    toys.save_tiny(other, seed=1)
    fake_hub.repositories |= {"somebody/model": folder, "somebody/model@refs/pr/7": other}
    told = []
    main = catalogue.load("somebody/model", told.append)
    assert not any("pull request" in words for words in told)
    proposed = catalogue.load("https://huggingface.co/somebody/model/tree/refs%2Fpr%2F7", told.append)
    assert (proposed.name, proposed.sha256 != main.sha256) == ("somebody/model@refs/pr/7", True)
    assert any(words.startswith("somebody/model@refs/pr/7 is a pull request: what a visitor") for words in told)
    with pytest.raises(ModelError, match="the model has no revision refs/pr/8"):
        catalogue.load("somebody/model@refs/pr/8")


# Whose token is shown.


def test_ids_that_visitors_name_are_asked_without_the_hosts_token(catalogue, fake_hub, folder, monkeypatch):
    token_is_known(fake_hub, monkeypatch)
    fake_hub.repositories["somebody/model"] = folder
    fake_hub.private = {"somebody/model"}
    with pytest.raises(ModelError, match="there is no such public model"):
        catalogue.load("somebody/model")
    assert fake_hub.tokens == {None}


@pytest.mark.parametrize("settings", [{"trusted": True}, {"first": "somebody/model"}, {"allow_hub": ("somebody/model",)}])
def test_ids_of_whoever_runs_the_program_are_asked_with_their_token(tiny_root, fake_hub, folder, monkeypatch, settings):
    token_is_known(fake_hub, monkeypatch)
    fake_hub.repositories["somebody/model"] = folder
    fake_hub.private, fake_hub.gated = {"somebody/model"}, {"somebody/model"}
    assert Catalogue([tiny_root], **settings).load("somebody/model").shape == (3, 8, 8)
    assert fake_hub.tokens == {"Bearer hf_secret"}


def test_a_gated_model_is_not_called_missing(tiny_root, fake_hub, folder):
    fake_hub.repositories["somebody/model"] = folder
    fake_hub.gated = {"somebody/model"}
    with pytest.raises(ModelError) as caught:
        Catalogue([tiny_root], trusted=True).load("somebody/model")
    assert str(caught.value) == "model somebody/model: it is gated: accept its terms on the Hub, then `hf auth login`"


# What a host offers.


def test_hosted_only_what_the_host_named_is_asked_for(tiny_root, fake_hub, folder):
    fake_hub.repositories |= {"somebody/model": pickled(folder), "somebody/model@refs/pr/7": folder, "other/model": folder}
    hosted = Catalogue([tiny_root], allow_hub=("https://huggingface.co/somebody/model",))
    assert hosted.names() == ["tiny", "somebody/model"]
    for name in ("other/model", "somebody/model@refs/pr/7", "https://hf.co/other/model"):
        with pytest.raises(ModelError, match=r"must be one of the models here \(tiny, somebody/model\); got"):
            hosted.load(name)
    assert not fake_hub.requests
    assert hosted.load("somebody/model").shape == (3, 8, 8)


def test_hosted_models_are_fetched_at_start_and_stay_at_their_commit(tiny_root, fake_hub, folder, tmp_path, monkeypatch):
    fake_hub.repositories["somebody/model"] = pickled(folder)
    hosted, told = Catalogue([tiny_root], allow_hub=("somebody/model", "nobody/none")), []
    hosted.fetch_hosts(told.append)
    assert any("nothing in it was run" in words for words in told)
    assert any(words.startswith("model nobody/none: there is no such public model") for words in told)
    before = hosted.load("somebody/model").sha256
    fake_hub.repositories["somebody/model"] = toys.save_tiny(tmp_path / "newer", seed=5)
    fake_hub.requests.clear()
    assert hosted.load("somebody/model").sha256 == before
    assert not fake_hub.requests
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    told.clear()
    Catalogue([tiny_root], allow_hub=("somebody/model",)).fetch_hosts(told.append)
    assert told == [f"somebody/model: {PICKLED} is converted from a pickle; nothing in it was run"]


# The engine.


def test_names_as_people_paste_them_are_one_model_of_the_engine(tiny_root, fake_hub, folder):
    fake_hub.repositories["somebody/model"] = folder
    engine, told = Engine([tiny_root], device=torch.device("cpu")), []
    for name in (" somebody/model ", "https://huggingface.co/somebody/model/tree/main", "somebody/model/"):
        recipe = Recipe(arms=(Arm(steps=2),), model=name)
        assert recipe.model == "somebody/model"
        assert json.loads(recipe.to_json())["model"] == "somebody/model"
        assert engine.plan(recipe, told.append).model is engine.model(name)
    assert sum(not isinstance(words, Progress) for words in told) == 1
    assert engine.is_here("hf.co/somebody/model")


def test_an_interrupted_download_of_other_weights_is_not_mixed_in(catalogue, fake_hub, folder, monkeypatch):
    """What is kept goes by its sha256, so weights that were changed meanwhile start anew."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    weights = folder / "unet" / WEIGHTS
    fake_hub.repositories["somebody/model"] = folder
    fake_hub.cut = 50_000
    with pytest.raises(ModelError):
        catalogue.load("somebody/model")
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    fake_hub.cut = None
    assert catalogue.load("somebody/model").sha256 == load(folder).sha256
