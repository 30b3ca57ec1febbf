"""`python -m ddim_app deploy`: a model that the Hub has as a pickle lies in the Space as safetensors."""

import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from ddim_app.__main__ import main
from ddim_app.engine import space
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.loading import load
from ddim_app.models.model_files import WEIGHTS
from tests import toys
from tests.models.fake_hub import FakeHub

NAME = "google/ddpm-cifar10-32"
"""The model that the README names."""


def deployed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says of the models."""
    monkeypatch.setattr(space, "PARTS", ("app.py", "weights"))
    monkeypatch.setattr(sys, "argv", ["ddim_app", "deploy", str(folder)])
    main()
    return capsys.readouterr().err


def test_a_pickle_lies_in_the_space_as_safetensors_and_no_start_fetches_it(
    fake_hub: FakeHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = toys.save_tiny(tmp_path / "source")
    expected = load(source).sha256
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    torch.save(load_file(source / "unet" / WEIGHTS), source / "unet" / "diffusion_pytorch_model.bin")
    (source / "unet" / WEIGHTS).unlink()
    fake_hub.repositories[NAME] = source
    assert f"{NAME} is a pickle, so the Space has it as safetensors" in deployed(tmp_path / "space", monkeypatch, capsys)
    fake_hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "a new machine"))
    started, told = Catalogue([tmp_path / "space" / "weights"], allow_hub=(NAME,)), []
    started.fetch_hosts(told.append)
    model = started.load(NAME, told.append)
    assert (model.name, model.sha256, model.licence) == (NAME, expected, "apache-2.0")
    assert (started.names().count(NAME), told, fake_hub.requests) == (1, [], [])


def test_a_model_that_cannot_be_had_is_left_to_the_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    said = deployed(tmp_path / "space", monkeypatch, capsys)
    assert f"model {NAME}: it is not on this machine" in said
    assert "The Space fetches and converts it at each of its starts" in said
    assert (tmp_path / "space" / "README.md").is_file()
    assert not (tmp_path / "space" / "weights" / NAME.replace("/", "--")).exists()
