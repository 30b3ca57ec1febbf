"""Kinds of models on the Hub by their schedulers, networks and pipelines: what is expected of each, on a local fake of it.

The numbers are those of the list of kinds that users name; kinds of files and names are tried in `test_hub_table`.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import diffusers
import pytest
import torch

from ddim_app.models.loading import ModelError, describe, load
from tests import toys

COURSE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
ATTENTION = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "add_attention": True,
}  # fmt: skip
BETAS = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
LDM = {"scheduler": ["diffusers", "DDIMScheduler"], "unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}
NCSN = {
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"), "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "time_embedding_type": "fourier", "add_attention": True, "attention_head_dim": 8, "block_out_channels": (32, 32),
}  # fmt: skip
VE = {"_class_name": "ScoreSdeVeScheduler", "sigma_min": 0.01, "sigma_max": 1348.0, "snr": 0.15, "sampling_eps": 1e-5,
      "num_train_timesteps": 2000, "correct_steps": 1}  # fmt: skip
OTHERS = [
    "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "EulerDiscrete", "EulerAncestralDiscrete", "DEISMultistep",
    "SASolver", "LCM", "TCD", "HeunDiscrete", "KDPM2Discrete", "PNDM", "DDIM", "RePaint",
]  # fmt: skip


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """A kind of model."""

    number: str
    kind: str
    expected: str
    """"opens", or words of the reason for which it is refused."""
    network: Mapping[str, Any] = NOTHING
    scheduler: Mapping[str, Any] | Callable[[], Any] = NOTHING
    index: Mapping[str, Any] = NOTHING
    """The components in model_index.json."""
    flat: bool = False
    change: Mapping[str, Any] = NOTHING
    """What config.json says otherwise than the network was built."""


ROWS = [
    Row("4", "NCSN++ by its scheduler", "it is a score-based VE model", NCSN, VE, {"model": LDM["unet"]}, flat=True),
    Row("4", "NCSN++ whose scheduler says only T", "it is a score-based VE model", NCSN, {"_class_name": "ScoreSdeVeScheduler"}),
    Row("4", "NCSN++ beside a DDPM's scheduler", "it is a score-based VE model (Fourier time", NCSN, {}),
    Row("5", "latent diffusion, 3 channels", "it is a latent model, whose UNet makes no pictures", {}, BETAS, LDM),
    Row("6", "LDMPipeline with movq", "it is a latent model", {}, BETAS, {**LDM, "vqvae": [None, None], "movq": ["a", "VQ"]}),
    Row("6", "pipeline of spectrograms", "its pipeline also needs mel", {}, {}, {"mel": ["audio", "Mel"], "vqvae": [None, None]}),
    Row("11", "fine-tune of google's, head_dim null", "opens", ATTENTION, flat=True,
        change={"attention_head_dim": None, "_name_or_path": "google/ddpm-celebahq-256", "timestep_values": None}),
    Row("11", "of diffusers 0.3, predict_epsilon", "opens", {}, {"predict_epsilon": True, "timestep_values": None}),
    Row("12", "grey, 28 px, two halvings", "opens", {"in_channels": 1, "out_channels": 1, "sample_size": 28}),
    Row("12", "grey, 28 px, four levels", "halves the sides of its pictures 3 times, so sample_size must be a multiple of 8",
        {"in_channels": 1, "out_channels": 1, "sample_size": 28, "block_out_channels": (16,) * 4,
         "down_block_types": ("DownBlock2D",) * 4, "up_block_types": ("UpBlock2D",) * 4}),
    *(
        Row("13", f"saved with {name}Scheduler", "opens", {},
            lambda name=name: getattr(diffusers, f"{name}Scheduler").from_config(diffusers.DDPMScheduler().config))
        for name in OTHERS
    ),
    Row("13", "variance_type null", "opens", {}, {"_class_name": "DPMSolverMultistepScheduler", "variance_type": None}),
    Row("13", "flow sigmas of a DPM-Solver", "it is a flow-matching model", {},
        {"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True, "flow_shift": 1.0}),
    Row("18", "consistency model", "it is a consistency model", {"num_class_embeds": 10, "resnet_time_scale_shift": "scale_shift"},
        lambda: diffusers.CMStochasticIterativeScheduler()),
    Row("18", "consistency model, only T", "it is a consistency model", {}, {"_class_name": "CMStochasticIterativeScheduler"}),
    Row("19", "flow matching", "it is a flow-matching model", {}, lambda: diffusers.FlowMatchEulerDiscreteScheduler()),
    Row("19", "flow matching, only T", "it is a flow-matching model", {}, {"_class_name": "FlowMatchHeunDiscreteScheduler"}),
    Row("20", "ten classes", "opens", {"num_class_embeds": 10}),
    Row("20", "ten classes and a null class, names in model_index.json", "opens", {"num_class_embeds": 11}, {},
        {"id2label": {str(i): name for i, name in enumerate("abcdefghij")}}),
    Row("20", "no number of classes", "num_class_embeds must be a whole number", change={"num_class_embeds": "ten"}),
    Row("20b", "class maps as channels", "it is conditional, by class maps", {"in_channels": 5, "out_channels": 1}),
    Row("21", "T = 100, cosine", "opens", {}, {**COURSE, "num_train_timesteps": 100, "variance_type": "fixed_small_log"}),
    Row("21", "T = 200, fixed_large", "opens", {}, {"num_train_timesteps": 200, "variance_type": "fixed_large"}),
    Row("21", "T = 2000", "opens", {}, {"num_train_timesteps": 2000}),
    Row("21", "laplace betas", "opens", {}, {"beta_schedule": "laplace"}),
    Row("22", "learned_range", "opens", {"out_channels": 6}, {"variance_type": "learned_range"}),
    Row("22", "learned_range, T = 4000 cosine", "opens", {"out_channels": 6},
        {**COURSE, "num_train_timesteps": 4000, "variance_type": "learned_range"}),
    Row("22", "learned, grey", "opens", {"in_channels": 1, "out_channels": 2}, {"variance_type": "learned"}),
    Row("22", "six channels beside a DDIM's scheduler", "opens", {"out_channels": 6}, {"_class_name": "DDIMScheduler"}),
    Row("22", "learned_range without the channels", "needs twice as many out_channels", {}, {"variance_type": "learned_range"}),
    Row("23", "size as text", "opens", change={"sample_size": "8"}),
    Row("23", "tuple as text", "opens", change={"sample_size": "(8, 16)"}),
    Row("23", "list", "opens", change={"sample_size": [8, 16]}),
    Row("23", "whole float", "opens", change={"sample_size": 8.0}),
    Row("23", "null", "models convert MODEL weights/NAME --size PIXELS`", change={"sample_size": None}),
    Row("23", "text of no size", "models convert MODEL weights/NAME --size PIXELS`", change={"sample_size": "small"}),
    Row("24", "v_prediction", "opens", {}, {"prediction_type": "v_prediction"}),
    Row("24", "sample prediction", "opens", {}, {"prediction_type": "sample"}),
    Row("24", "thresholding", "opens", {}, {"thresholding": True, "clip_sample": False}),
    Row("25", "zero terminal SNR with epsilon", "opens", {}, {"rescale_betas_zero_snr": True}),
    Row("26", "image to image", "it is an image-to-image model", {"in_channels": 6, "out_channels": 3}),
    Row("27", "class_embed_type timestep", "it is conditional, by class_embed_type timestep", {"class_embed_type": "timestep"}),
    Row("27", "class_embed_type identity", "it is conditional, by class_embed_type", change={"class_embed_type": "identity"}),
]  # fmt: skip


def fake(row, folder):
    """The row's model on this machine."""
    made = row.scheduler() if callable(row.scheduler) else None
    toys.save_tiny(folder, flat=row.flat, scheduler=None if made else dict(row.scheduler), **row.network)
    home = folder if row.flat else folder / "unet"
    if made is not None:
        made.save_config(folder if row.flat else folder / "scheduler")
    if row.index:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline", "_diffusers_version": "0.30", **row.index}))
    config = json.loads((home / "config.json").read_text())
    (home / "config.json").write_text(json.dumps({**config, **row.change}))
    return home


def outcome(judge, folder):
    try:
        judge(folder, "it")
    except ModelError as error:
        return str(error)
    return "opens"


@pytest.mark.filterwarnings("ignore")  # diffusers' own
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number}: {row.kind}")
def test_a_kind_of_model_does_what_is_expected_of_it(row, tmp_path, tell):
    """Its weights need not be there to be refused; what opens has diffusers' own weights and forward process, to the bit."""
    home = fake(row, tmp_path / "it")
    got = outcome(load, tmp_path / "it")
    tell(f"| {row.number} | {row.kind} | {row.expected} | {got} |")
    assert "\n" not in got
    assert len(got) < 340
    assert got == "opens" if row.expected == "opens" else row.expected in got
    (home / "diffusion_pytorch_model.safetensors").rename(tmp_path / "away")
    assert outcome(describe, tmp_path / "it") == got
    (tmp_path / "away").rename(home / "diffusion_pytorch_model.safetensors")
    if got == "opens":
        model = load(tmp_path / "it")
        stock = diffusers.UNet2DModel.from_pretrained(home, low_cpu_mem_usage=False).eval()
        assert all(torch.equal(a, b) for a, b in zip(model.unet.state_dict().values(), stock.state_dict().values(), strict=True))
        x, t = torch.randn(1, *model.shape, generator=torch.Generator().manual_seed(0)), torch.tensor([7])
        y = torch.tensor([3]) if model.classes.names else None
        with torch.no_grad():
            assert torch.equal(model.unet(x, t, y).sample, stock(x, t, y).sample)
