"""A model handed out in fp16: the same one within its rounding, loaded by us and by stock diffusers, the card's words kept."""

import json

import pytest
import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file, save_file

from ddim_app.models.loading import load
from ddim_app.models.model_files import WEIGHTS
from ddim_app.train import bundle
from tests import toys


@pytest.fixture
def run(tmp_path):
    """A model in the layout in which a run publishes it."""
    folder = toys.save_tiny(tmp_path / "run")
    index = {"_class_name": "DDPMPipeline", "scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "README.md").write_text("of the run")
    return folder


def test_every_weight_is_there_within_its_rounding(run, tmp_path):
    bundle.bundle(run, tmp_path / "made")
    source, made = load_file(run / "unet" / WEIGHTS), load_file(tmp_path / "made" / "unet" / WEIGHTS)
    assert source.keys() == made.keys()
    assert {weight.dtype for weight in made.values()} == {torch.float16}
    for name, weight in source.items():
        torch.testing.assert_close(made[name].float(), weight, rtol=2**-11, atol=2**-25)
    assert (tmp_path / "made" / "README.md").read_text() == "of the run"


def test_it_is_computed_with_in_fp32_and_stock_diffusers_draws_with_it(run, tmp_path):
    bundle.bundle(run, tmp_path / "made")
    assert {weight.dtype for weight in load(tmp_path / "made").unet.parameters()} == {torch.float32}
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "made")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(num_inference_steps=2).images[0].size == (8, 8)


def test_a_card_written_by_people_stays(run, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "README.md").write_text("ours")
    bundle.bundle(run, tmp_path / "made")
    assert (tmp_path / "made" / "README.md").read_text() == "ours"


def test_the_model_itself_and_one_without_a_pipeline_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="would be lost: name another folder"):
        bundle.bundle(run, run)
    (run / "model_index.json").unlink()
    with pytest.raises(ValueError, match=r"has no model_index.json: name a folder"):
        bundle.bundle(run, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_command_says_what_it_made_and_what_it_cannot(run, tmp_path, capsys):
    def refused(model):
        with pytest.raises(SystemExit) as ended:
            bundle.main([str(model), str(tmp_path / "made")])
        assert isinstance(ended.value.code, str)  # which is printed, with exit code 1
        assert "\n" not in ended.value.code
        return ended.value.code

    bundle.main([str(run), str(tmp_path / "made")])
    made = str(load(tmp_path / "made").file_sha256)
    assert made in capsys.readouterr().out
    refused(tmp_path / "nothing")
    weights = load_file(run / "unet" / WEIGHTS)
    save_file(weights | {"conv_in.bias": weights["conv_in.bias"] + 1e6}, run / "unet" / WEIGHTS, {"format": "pt"})
    assert "beyond the range of fp16, 65504" in refused(run)
    assert str(load(tmp_path / "made").file_sha256) == made
