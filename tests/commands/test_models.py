"""`python -m ddim_app models`: what is here, whether a model opens, and one that stock diffusers loads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline

from ddim_app import __main__ as command_line
from ddim_app.models import catalogue as catalogue_module
from ddim_app.models.loading import load
from tests.models.hub_table import cifar10_old, edited, flowers, plain, saved, without_a_size


@pytest.fixture
def command(tiny_root, tmp_path, monkeypatch, capsys):
    """Runs the command beside weights/tiny and an empty cache of the Hub; returns (exit status, output, errors)."""
    shutil.copytree(tiny_root, tmp_path / "here" / "weights")
    monkeypatch.setattr(catalogue_module, "ROOT", tmp_path / "here")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ddim_app", "models", *map(str, words)])
        try:
            command_line.main()
            status = 0
        except SystemExit as error:
            status = error.code
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def test_the_list_has_a_line_for_each_model_and_the_reason_where_one_does_not_open(command, fake_hub, tmp_path):
    (tmp_path / "repository").mkdir()
    plain(tmp_path / "repository")
    fake_hub.repositories["somebody/model"] = tmp_path / "repository"
    command("convert", "somebody/model", tmp_path / "made")
    bad = Path(shutil.copytree(tmp_path / "here" / "weights" / "tiny", tmp_path / "here" / "runs" / "bad"))
    (bad / "unet" / "config.json").write_text("[]")
    (tmp_path / "here" / "weights" / "tiny" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert command() == (
        0,
        "tiny: RGB 8 x 8, T = 1000, predicts epsilon, licence mit\n"
        "runs/bad: does not open: config.json must hold a JSON object; got a list\n"
        "somebody/model: RGB 8 x 8, T = 1000, predicts epsilon, licence not named\n",
        "",
    )


def test_check_says_it_before_any_weights_are_downloaded(command, fake_hub, tmp_path):
    (tmp_path / "repository").mkdir()
    flowers(tmp_path / "repository")
    fake_hub.repositories["somebody/model"] = tmp_path / "repository"
    status, said, _ = command("check", "https://huggingface.co/somebody/model")
    assert status == 0
    assert said.startswith("somebody/model opens: RGB 8 x 8, T = 1000, predicts epsilon, licence not named; not downloaded yet: ")
    assert said.endswith("unet/diffusion_pytorch_model.bin, 0.3 MB, a pickle that will be converted without running it\n")
    assert not fake_hub.fetched()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody/none", "model nobody/none: it is not on this machine, and HF_HUB_OFFLINE=1 keeps it from being fetched"),
        ("none", "model must be one of the models here (tiny), the path of a folder, or an id on the Hugging Face Hub"),
    ],
)
def test_check_of_what_does_not_open_exits_with_the_reason(command, name, sentence):
    status, said, _ = command("check", name)
    assert sentence in status
    assert not said


def test_check_of_a_folder_loads_it(command, tmp_path):
    folder = tmp_path / "here" / "weights" / "tiny"
    status, said, _ = command("check", folder)
    assert (status, said) == (
        0,
        f"{folder} opens: RGB 8 x 8, T = 1000, predicts epsilon, licence not named, 0.1 million parameters, "
        f"sha256 {load(folder).sha256}\n",
    )


@pytest.mark.parametrize("build", [flowers, cifar10_old])
def test_what_convert_writes_is_loaded_by_stock_diffusers(command, tmp_path, build):
    (tmp_path / "source").mkdir()
    build(tmp_path / "source")
    status, said, _ = command("convert", tmp_path / "source", tmp_path / "made")
    assert (status, said.startswith(f"wrote {tmp_path / 'made'}: 0.1 million parameters")) == (0, True)
    ours, stock = load(tmp_path / "source"), DDPMPipeline.from_pretrained(tmp_path / "made")
    assert load(tmp_path / "made").sha256 == ours.sha256
    x, t = torch.randn((2, *ours.shape), generator=torch.Generator().manual_seed(0)), torch.tensor([900, 3])
    with torch.no_grad():
        assert torch.equal(ours.unet(x, t).sample, stock.unet.eval()(x, t).sample)
    torch.testing.assert_close(ours.schedule.alphas_cumprod.float(), stock.scheduler.alphas_cumprod, rtol=1e-4, atol=0)
    assert json.loads((tmp_path / "made" / "model_index.json").read_text())["scheduler"] == ["diffusers", "DDPMScheduler"]
    status, _, _ = command("convert", tmp_path / "source", tmp_path / "made")
    assert "folder must be a new folder, or an empty one" in status


def test_a_model_that_does_not_say_its_size_opens_once_that_is_named(command, fake_hub, tmp_path):
    """Refused with what to type; checked with it before any weights are fetched; what convert writes opens everywhere."""
    (tmp_path / "repository").mkdir()
    without_a_size(tmp_path / "repository")
    fake_hub.repositories["somebody/model"] = tmp_path / "repository"
    status, _, _ = command("check", "somebody/model")
    assert "sample_size in config.json must be a whole number" in status
    assert "`python -m ddim_app models convert MODEL weights/NAME --size PIXELS`" in status
    status, said, _ = command("check", "somebody/model", "--size", 16)
    assert (status, said.startswith("somebody/model opens with --size 16: RGB 16 x 16")) == (0, True)
    assert not fake_hub.fetched()
    made = tmp_path / "here" / "weights" / "sized"
    assert command("convert", "somebody/model", made, "--size", 16)[0] == 0
    assert command("check", "sized")[1].startswith("sized opens: RGB 16 x 16")
    model, stock = catalogue_module.local().load("sized"), DDPMPipeline.from_pretrained(made)
    assert (model.shape, stock.unet.config.sample_size) == ((3, 16, 16), 16)
    assert model.sha256 == load(tmp_path / "repository", size=8).sha256


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        (9, "its network halves the sides of its pictures 1 time, so sample_size must be a multiple of 2; got 9"),
        (0, "size must be a whole number from 1 to 1024; got 0"),
        (2048, "size must be a whole number from 1 to 1024; got 2048"),
    ],
)
@pytest.mark.parametrize("act", [("check",), ("convert", "made")])
def test_a_size_that_the_network_cannot_have_is_refused(command, tmp_path, size, sentence, act, monkeypatch):
    without_a_size(tmp_path / "source")
    monkeypatch.chdir(tmp_path)
    status, said, _ = command(act[0], tmp_path / "source", *act[1:], "--size", size)
    assert sentence in status
    assert not said
    assert not (tmp_path / "made").exists()


def test_the_size_in_words_is_written_as_numbers(command, tmp_path):
    saved(tmp_path / "source")
    edited(tmp_path / "source" / "unet" / "config.json", sample_size="(8, 16)")
    assert command("convert", tmp_path / "source", tmp_path / "made")[0] == 0
    assert DDPMPipeline.from_pretrained(tmp_path / "made").unet.config.sample_size == [8, 16]


def test_the_command_ends_with_1_when_a_model_does_not_open(tmp_path):
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-m", "ddim_app", "models", "check", tmp_path / "empty"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"python -m ddim_app models: model {tmp_path / 'empty'}: there is no config.json")
    assert ran.stderr.count("\n") == 1
