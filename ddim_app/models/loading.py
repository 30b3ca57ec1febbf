"""How a model is loaded. The only file of the app that knows diffusers; the benchmarks compare with its pipelines.

A model is a folder with a diffusers `UNet2DModel` and its scheduler config, as a pipeline (`unet/`, `scheduler/`) or flat
(`config.json` beside the weights), or a repository of the same layouts on the Hugging Face Hub. Its weights are read from
safetensors alone, and nothing that a folder or repository names is ever executed.
"""

import hashlib
import inspect
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.schedule import Schedule, from_config

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

log = logging.getLogger(__name__)

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIGS = ["config.json", "unet/config.json", "scheduler_config.json", "scheduler/scheduler_config.json"]

FORWARD_KEYS = {
    "num_train_timesteps", "timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "rescale_betas_zero_snr", "prediction_type", "variance_type", "clip_sample", "clip_predicted_image",
    "clip_sample_range", "thresholding",
}  # fmt: skip
"""Scheduler config keys that define the forward process or how its authors sample; all are used."""
SAMPLER_KEYS = {
    "timestep_spacing", "steps_offset", "set_alpha_to_one", "sample_max_value", "dynamic_thresholding_ratio",
    "skip_prk_steps", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "solver_order", "algorithm_type",
    "solver_type", "lower_order_final", "euler_at_final", "final_sigmas_type", "lambda_min_clipped", "interpolation_type",
    "tensor_format", "set_alpha_to_zero", "eta", "name_or_path",
}  # fmt: skip
"""Keys of diffusers' schedulers that choose how to sample, which here the recipe does."""


class ModelError(ValueError):
    """A model that cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Model:
    """A network with the schedule it was trained on, in evaluation mode, fp32, on the CPU."""

    name: str
    unet: "UNet2DModel"
    schedule: Schedule
    shape: Shape
    """(channels, height, width) of its pictures."""
    sha256: str
    """The sha256 of the weights file, in hexadecimal."""

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.unet.parameters())


def load(folder: Path, name: str | None = None) -> Model:
    """The model in `folder`; raises ModelError, in one sentence, when it cannot be used."""
    name = name or folder.name
    if not folder.is_dir():
        raise ModelError(f"model {name}: there is no folder {folder.name}")
    home = unet_folder(folder)
    if home is None:
        raise ModelError(f"model {name}: there is no config.json, neither in the folder nor in its unet/ subfolder")
    config = read_config(home / "config.json", name)
    shape = check_unet_config(config, name)
    weights = _weights_file(home, name)
    _check_size(config, weights, name)
    try:
        unet, report = _network_class().from_pretrained(
            home, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32, low_cpu_mem_usage=False,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # whatever the loader makes of a broken file, the user gets one sentence
        reason = str(error).strip().split("\n")[0][:200]
        raise ModelError(f"model {name}: {weights.name} cannot be read or does not fit its config.json ({reason})") from error
    wrong = report["missing_keys"] + report["unexpected_keys"]
    if wrong:
        raise ModelError(f"model {name}: {weights.name} does not fit its config.json ({len(wrong)} tensors, such as {wrong[0]})")
    return Model(name, unet.eval().requires_grad_(False), _schedule(folder, name), shape, _sha256(weights))


def build(config: Mapping[str, Any], seed: int) -> "UNet2DModel":
    """A new network with random weights that depend on `seed` alone; raises ModelError when the config does not fit together."""
    check_unet_config({"_class_name": "UNet2DModel", **config}, "new")
    # torch initialises modules from its global generator only; it is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        try:
            return _network_class()(**config)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"the network's settings do not fit together ({str(error)[:160]})") from error


def scheduler_config(folder: Path) -> dict[str, Any]:
    """The scheduler config of a model folder as it stands."""
    return read_config(_scheduler_file(folder, folder.name), folder.name)


def _network_class() -> "type[UNet2DModel]":
    """diffusers' class. Its import takes seconds, so it waits for the first model; the page is up meanwhile."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    return UNet2DModel  # type: ignore[no-any-return]


def unet_folder(folder: Path) -> Path | None:
    """The folder with config.json and the weights: `folder/unet` in the pipeline layout, else `folder`."""
    return next((home for home in (folder / "unet", folder) if (home / "config.json").is_file()), None)


def _weights_file(home: Path, name: str) -> Path:
    weights = home / WEIGHTS
    if weights.is_file():
        return weights
    pickled = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl") for path in home.glob(kind))
    if pickled:
        raise ModelError(
            f"model {name}: {pickled[0]} is a pickle, which can run code when it is opened; convert it where you trust it, with "
            f"UNet2DModel.from_pretrained(FOLDER).save_pretrained(FOLDER, safe_serialization=True), to get {WEIGHTS}"
        )
    raise ModelError(f"model {name}: there is no {WEIGHTS} beside config.json")


def read_config(path: Path, name: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {name}: {path.name} is not readable JSON ({str(error)[:120]})") from error
    if not isinstance(config, dict):
        raise ModelError(f"model {name}: {path.name} must hold a JSON object; got a {type(config).__name__}")
    return config


def check_unet_config(config: Mapping[str, Any], name: str) -> Shape:
    """(C, H, W) of the pictures, once the config is one of an unconditional UNet2DModel for grey or RGB pictures."""
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise ModelError(f"model {name}: config.json must describe a UNet2DModel; got {str(kind)[:60]}")
    _refuse_unknown(config, set(inspect.signature(_network_class().__init__).parameters), "config.json", name)
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        raise ModelError(f"model {name}: it is class-conditional; only unconditional models can be used")
    channels, out = config.get("in_channels", 3), config.get("out_channels", 3)
    if channels not in (1, 3) or out != channels:
        raise ModelError(f"model {name}: in_channels and out_channels must both be 1 (grey) or 3 (RGB); got {channels} and {out}")
    size = config.get("sample_size")
    height, width = size if isinstance(size, list) and len(size) == 2 else (size, size)
    if not all(type(side) is int and 1 <= side <= 1024 for side in (height, width)):
        raise ModelError(f"model {name}: sample_size must be a whole number, or two, from 1 to 1024; got {str(size)[:60]}")
    _check_widths(config, name)
    return channels, height, width  # type: ignore[return-value]


def _check_widths(config: Mapping[str, Any], name: str) -> None:
    """Refuses what would take for ever to build."""
    widths, layers = config.get("block_out_channels", [1]), config.get("layers_per_block", 2)
    if (
        not isinstance(widths, list | tuple)
        or not 1 <= len(widths) <= 12
        or not all(type(w) is int and 1 <= w <= 8192 for w in widths)
    ):
        raise ModelError(f"model {name}: block_out_channels must be 1 to 12 whole numbers from 1 to 8192; got {str(widths)[:60]}")
    if type(layers) is not int or not 1 <= layers <= 32:
        raise ModelError(f"model {name}: layers_per_block must be a whole number from 1 to 32; got {str(layers)[:60]}")


def _check_size(config: Mapping[str, Any], weights: Path, name: str) -> None:
    """Refuses a config whose network could not be in the weights file, before memory is taken for it."""
    try:
        with torch.device("meta"):
            network = _network_class().from_config(dict(config))
    except Exception as error:  # whatever the builder makes of a wrong config, the user gets one sentence
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise ModelError(f"model {name}: config.json does not describe a network ({reason})") from error
    parameters, size = sum(p.numel() for p in network.parameters()), weights.stat().st_size
    if parameters > size:  # even at one byte each
        raise ModelError(
            f"model {name}: {weights.name} cannot be read or does not fit its config.json, which describes {parameters:,} "
            f"parameters: it has {size:,} bytes"
        )


def _scheduler_file(folder: Path, name: str) -> Path:
    files = [folder / "scheduler" / "scheduler_config.json", folder / "scheduler_config.json"]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        raise ModelError(f"model {name}: there is no scheduler_config.json, so its noise schedule is unknown")
    return path


def _schedule(folder: Path, name: str) -> Schedule:
    path = _scheduler_file(folder, name)
    config = read_config(path, name)
    _refuse_unknown(config, FORWARD_KEYS | SAMPLER_KEYS, path.name, name)
    try:
        return from_config(config)
    except (ValueError, TypeError) as error:
        raise ModelError(f"model {name}: {path.name}: {str(error)[:200]}") from error


def _refuse_unknown(config: Mapping[str, Any], known: set[str], file: str, name: str) -> None:
    """A key that nobody here knows may change what the model means, so it is not passed over."""
    unknown = sorted(key for key in config if key not in known and not key.startswith("_"))
    if unknown:
        raise ModelError(
            f"model {name}: {file} has unknown keys ({', '.join(unknown)[:120]}); remove them if the model does not depend on them"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
