"""Models from folders: what loads, and the one sentence for what does not."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMPipeline
from safetensors.torch import load_file, save_file

from ddim_app.diffusion.schedule import from_config
from ddim_app.models import hub
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.loading import ModelError, load
from ddim_app.models.model_files import WEIGHTS
from tests import toys

BUNDLED = Path(__file__).parent.parent.parent / "weights" / "avatars-32"


@pytest.fixture
def folder(tiny_root, tmp_path):
    """A copy of the tiny model that may be spoiled."""
    return Path(shutil.copytree(tiny_root / "tiny", tmp_path / "tiny"))


def eps(model, t=500):
    x = torch.randn((2, *model.shape), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.unet(x, torch.tensor([t, 3]), return_dict=False)[0]


def refusal(folder):
    """The sentence with which a folder is refused: one line, of readable length, that names the model."""
    with pytest.raises(ModelError) as caught:
        load(folder)
    sentence = str(caught.value)
    assert sentence.startswith(f"model {folder.name}: ")
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# What loads.


def test_bundled_model_loads_in_stock_diffusers_too_and_predicts_the_same():
    """To the last bit: it is the same network with the same weights and the same schedule."""
    ours, stock = load(BUNDLED), DDPMPipeline.from_pretrained(BUNDLED)
    assert ours.shape[1:] == (stock.unet.config.sample_size,) * 2
    x = torch.randn((2, *ours.shape), generator=torch.Generator().manual_seed(0))
    t = torch.tensor([900, 3])
    with torch.no_grad():
        assert torch.equal(ours.unet(x, t).sample, stock.unet(x, t).sample)
    config = dict(stock.scheduler.config)
    assert torch.equal(from_config(config).alphas_cumprod, ours.schedule.alphas_cumprod)
    torch.testing.assert_close(ours.schedule.alphas_cumprod.float(), stock.scheduler.alphas_cumprod, rtol=1e-4, atol=0)


def test_a_loaded_model_is_ready_to_sample(folder):
    model = load(folder)
    assert (model.name, model.shape) == ("tiny", (3, 8, 8))
    assert not model.unet.training
    assert not any(p.requires_grad for p in model.unet.parameters())
    assert {p.dtype for p in model.unet.parameters()} == {torch.float32}
    assert model.parameters == sum(tensor.numel() for tensor in load_file(folder / "unet" / WEIGHTS).values())
    assert model.file_sha256 == hashlib.sha256((folder / "unet" / WEIGHTS).read_bytes()).hexdigest()
    assert model.hashes == (model.sha256, model.file_sha256)
    assert eps(model).isfinite().all()


def test_flat_and_pipeline_layout_are_one_model(folder, tmp_path):
    flat = toys.save_tiny(tmp_path / "flat", flat=True)
    assert (flat / "config.json").is_file()
    assert torch.equal(eps(load(flat)), eps(load(folder)))


def test_old_layout_with_the_scheduler_config_at_the_root(folder):
    """As in google/ddpm-cifar10-32."""
    shutil.rmtree(folder / "scheduler")
    old = {"_class_name": "GaussianDDPMScheduler", "timesteps": 500, "variance_type": "fixed_large", "clip_predicted_image": True}
    (folder / "scheduler_config.json").write_text(json.dumps(old))
    schedule = load(folder).schedule
    assert (schedule.num_train_timesteps, schedule.variance, schedule.clip) == (500, "large", "clip")


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"in_channels": 1, "out_channels": 1}, (1, 8, 8)),
        ({"sample_size": (8, 12)}, (3, 8, 12)),
        ({"sample_size": 16}, (3, 16, 16)),
    ],
)
def test_grey_and_other_sizes(tmp_path, config, shape):
    model = load(toys.save_tiny(tmp_path / "other", **config))
    assert model.shape == shape
    assert eps(model).shape == (2, *shape)


def test_half_precision_weights_become_float32(folder):
    weights = folder / "unet" / WEIGHTS
    halves = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(halves, weights, metadata={"format": "pt"})
    model = load(folder)
    assert {p.dtype for p in model.unet.parameters()} == {torch.float32}
    assert torch.equal(model.unet.conv_in.weight, halves["conv_in.weight"].float())


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_prediction_type_is_read_from_the_scheduler(folder, prediction_type):
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type=prediction_type)
    assert load(folder).schedule.prediction_type == prediction_type


# What does not.


def unet_says(**changes):
    return lambda folder: edit(folder / "unet" / "config.json", **changes)


def scheduler_says(**changes):
    return lambda folder: edit(folder / "scheduler" / "scheduler_config.json", **changes)


def has(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def lacks(name):
    return lambda folder: (folder / name).rename(folder.parent / "elsewhere")


SPOILED = {
    "no-config": (lacks("unet/config.json"), "there is no config.json"),
    "no-weights": (lacks(f"unet/{WEIGHTS}"), f"there is no {WEIGHTS}"),
    "truncated": (lambda f: os.truncate(f / "unet" / WEIGHTS, 5000), "cannot be read"),
    "truncated-tail": (lambda f: os.truncate(f / "unet" / WEIGHTS, (f / "unet" / WEIGHTS).stat().st_size - 1), "cannot be read"),
    "empty": (has(f"unet/{WEIGHTS}", b""), "cannot be read"),
    "garbage": (has(f"unet/{WEIGHTS}", b"\xff" * 4096), "cannot be read"),
    "broken-json": (has("unet/config.json", b"{"), "config.json is not readable JSON"),
    "binary-json": (has("unet/config.json", b"\xff\xfe\x00"), "config.json is not readable JSON"),
    "nested-json": (has("unet/config.json", b"[" * 100_000), "config.json is not readable JSON"),
    "list-json": (has("unet/config.json", b"[1]"), "must hold a JSON object; got a list"),
    "other-class": (unet_says(_class_name="UNet2DConditionModel"), "must describe a UNet2DModel; got UNet2DConditionModel"),
    "unknown-key": (unet_says(magic=1), "config.json has unknown keys (magic)"),
    "conditional": (unet_says(num_class_embeds=10), "does not fit its config.json (1 tensors, such as class_embedding.weight)"),
    "no-classes": (unet_says(num_class_embeds=0), "num_class_embeds must be a whole number from 1 to 100,000, or null; got 0"),
    "four-channels": (unet_says(in_channels=4, out_channels=4), "in_channels must be 1 (grey) or 3 (RGB)"),
    "more-out-than-twice": (unet_says(out_channels=9), "got 3 and 9"),
    "channels-as-text": (unet_says(in_channels="3"), "got 3 and 3"),
    "no-size": (unet_says(sample_size=None), "sample_size in config.json must be a whole number, or two, from 1 to 1024; got null"),
    "half-a-size": (
        unet_says(sample_size=8.5),
        "sample_size in config.json must be a whole number, or two, from 1 to 1024; got 8.5",
    ),
    "one-size-in-a-list": (unet_says(sample_size=[8]), "sample_size in config.json must be a whole number, or two"),
    "odd-size": (unet_says(sample_size=[8, 7]), "sample_size must be a multiple of 2; got 8 and 7"),
    "three-sizes": (unet_says(sample_size=[8, 8, 8]), "sample_size in config.json must be a whole number, or two"),
    "other-shapes": (unet_says(block_out_channels=[16, 32]), "does not fit its config.json"),
    "other-blocks": (unet_says(layers_per_block=2), "does not fit its config.json"),
    "no-such-block": (unet_says(down_block_types=["Eval", "Eval"]), "config.json does not describe a network"),
    "no-scheduler": (lacks("scheduler"), "there is no scheduler_config.json, so its noise schedule is unknown"),
    "broken-scheduler": (has("scheduler/scheduler_config.json", b"x"), "scheduler_config.json is not readable JSON"),
    "scheduler-key": (scheduler_says(shift=3.0), "scheduler_config.json has unknown keys (shift)"),
    "betas": (scheduler_says(beta_end=7), "scheduler_config.json: beta_end must be a number between 0 and 1; got 7"),
    "betas-type": (scheduler_says(trained_betas={"a": 1}), "scheduler_config.json: "),
    "range-type": (scheduler_says(clip_sample_range="1"), "scheduler_config.json: clip_sample_range must be a number from 0.001"),
    "beta-schedule": (scheduler_says(beta_schedule="x"), "beta_schedule must be one of linear"),
    "learned": (scheduler_says(variance_type="learned"), "variance_type learned needs twice as many out_channels as in_channels"),
    "variance": (scheduler_says(variance_type="big"), "variance_type must be one of fixed_small, "),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_model_gets_one_sentence(folder, spoil):
    change, sentence = SPOILED[spoil]
    load(folder)  # it was good
    change(folder)
    assert sentence in refusal(folder)


def test_a_missing_folder_gets_one_sentence(tmp_path):
    assert refusal(tmp_path / "nowhere") == "model nowhere: there is no folder nowhere"


@pytest.mark.parametrize("change", [{"conv_in.weight": None}, {"stray.weight": torch.zeros(3)}])
def test_tensors_that_are_missing_or_too_many_are_counted_and_named(folder, change):
    """diffusers would fill the gap with random numbers and only log it."""
    weights = folder / "unet" / WEIGHTS
    tensors = {name: tensor for name, tensor in (load_file(weights) | change).items() if tensor is not None}
    save_file(tensors, weights, metadata={"format": "pt"})
    assert refusal(folder).endswith(f"does not fit its config.json (1 tensors, such as {next(iter(change))})")


class Bomb:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.ckpt", "pytorch_model.pt"])
def test_a_pickle_is_refused_unopened_with_the_way_to_convert_it(folder, tmp_path, name):
    (folder / "unet" / WEIGHTS).unlink()
    (folder / "unet" / name).write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    sentence = refusal(folder)
    assert f"{name} is a pickle" in sentence
    assert "safe_serialization=True)" in sentence
    assert not (tmp_path / "trace").exists()


def test_nothing_that_a_folder_names_is_executed(folder, tmp_path):
    """Code beside the weights, and configs that point to it, which diffusers' pipelines may follow."""
    trace = tmp_path / "trace"
    for place in (folder, folder / "unet", folder / "scheduler"):
        (place / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass UNet2DModel: pass\n")
        (place / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(trace)))
    (folder / "model_index.json").write_text('{"_class_name": ["evil", "UNet2DModel"], "unet": ["evil", "UNet2DModel"]}')
    edit(folder / "unet" / "config.json", _auto_map={"AutoModel": "evil.UNet2DModel"}, _module="evil")
    assert load(folder).shape == (3, 8, 8)
    assert not trace.exists()


# Names.


def test_catalogue_lists_folders_and_sees_new_ones(tiny_root, tmp_path):
    runs = tmp_path / "runs"
    catalogue = Catalogue([tiny_root, runs])
    assert catalogue.names() == ["tiny"]
    shutil.copytree(tiny_root / "tiny", runs / "me")
    (runs / "no-model").mkdir()
    assert catalogue.names() == ["tiny", "runs/me"]
    assert catalogue.load("runs/me").name == "runs/me"


@pytest.mark.parametrize(
    "name", ["nope", "", "..", "../tiny", "./tiny", "/etc/passwd", "runs/nope", "a/b/c", "https://x.org/y", "a/..", "x" * 500]
)
def test_names_that_no_model_has_are_refused_with_the_list(tiny_root, tmp_path, name, monkeypatch):
    """None is joined to a path, and none is asked of the Hub."""
    monkeypatch.setattr(hub, "download", lambda *args: pytest.fail("asked the Hub"))
    (tmp_path / "runs").mkdir()
    with pytest.raises(ModelError) as caught:
        Catalogue([tiny_root, tmp_path / "runs"]).load(name)
    sentence = str(caught.value)
    assert sentence.startswith("model must be one of the models here (tiny), or an id on the Hugging Face Hub")
    assert sentence.endswith(f"got {name[:60]!r}")


def test_hub_ids_are_refused_where_the_host_does_not_allow_them(tiny_root):
    with pytest.raises(ModelError, match=r"model must be one of the models here \(tiny\); got 'google/ddpm-cifar10-32'"):
        Catalogue([tiny_root], allow_hub=False).load("google/ddpm-cifar10-32")
