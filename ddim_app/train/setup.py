"""From settings to a trainer that can make its first step: network, schedule, data, optimiser, Accelerate."""

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]

from ddim_app import backends
from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.schedule import Schedule, from_config
from ddim_app.models import catalogue, loading
from ddim_app.train import config, keyed_random
from ddim_app.train.batches import Batches, cosine_edges
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.data import TrainingData
from ddim_app.train.loop import Trainer, make_optimizer
from ddim_app.train.state import TrainingState
from ddim_app.train.stop import Stopper

CROP_MARGIN = 8
"""Random crops leave an eighth of the cached side."""


@dataclass(frozen=True)
class StartModel:
    """The network that a run begins with, and what must be published beside it."""

    network: torch.nn.Module
    schedule: Schedule
    shape: Shape
    unet: dict[str, Any]
    scheduler: dict[str, Any]
    init: dict[str, str] | None
    """Name and sha256 of the model that is fine-tuned."""


def start(settings: Settings) -> StartModel:
    """The starting network; raises TrainError when it cannot be had or does not fit the resolution."""
    try:
        begin = _fine_tune(settings) if settings.init else _from_scratch(settings)
    except loading.ModelError as error:
        raise TrainError(f"{'--init' if settings.init else '--preset'}: {error}") from error
    side, halvings = begin.shape[1], len(begin.unet["block_out_channels"]) - 1
    if begin.shape[1] != begin.shape[2]:
        raise TrainError(f"--init: only models of square pictures can be trained; this one makes {begin.shape[2]}x{begin.shape[1]}")
    if side % 2**halvings or side >> halvings < 1:
        raise TrainError(
            f"--resolution must be a multiple of {2**halvings}, since this network halves it {halvings} times; got {side}"
        )
    return begin


def _fine_tune(settings: Settings) -> StartModel:
    folder = catalogue.locate(str(settings.init), print)
    base = loading.load(folder)
    scheduler = loading.scheduler_config(folder)
    unet = {key: value for key, value in base.unet.config.items() if not key.startswith("_")}
    side = settings.resolution or base.shape[1]
    shape = base.shape if settings.resolution is None else (base.shape[0], side, side)
    unet["sample_size"] = list(shape[1:]) if shape[1] != shape[2] else side
    name = str(settings.init) if not Path(str(settings.init)).is_dir() else folder.resolve().name
    init = {"name": name, "sha256": base.sha256}
    return StartModel(
        base.unet.requires_grad_(True), base.schedule, shape, _class(unet, "UNet2DModel"), _class(scheduler, "DDPMScheduler"), init
    )


def _from_scratch(settings: Settings) -> StartModel:
    preset = config.read_preset(str(settings.preset))
    if not {"unet", "schedule"} <= set(preset):
        raise TrainError(f"--preset {settings.preset}: it needs the tables [unet] and [schedule]")
    side = settings.resolution or preset["unet"]["sample_size"]
    unet = {**preset["unet"], "sample_size": side}
    scheduler = {"clip_sample": True, "variance_type": "fixed_small", "timestep_spacing": "leading", **preset["schedule"]}
    if settings.beta_schedule:
        scheduler["beta_schedule"] = settings.beta_schedule
    if settings.prediction:
        scheduler["prediction_type"] = settings.prediction
    network = loading.build(unet, settings.seed)
    whole = {key: value for key, value in network.config.items() if not key.startswith("_")}
    return StartModel(network, from_config(scheduler), (whole["in_channels"], side, side), _class(whole, "UNet2DModel"),
                 _class(scheduler, "DDPMScheduler"), None)  # fmt: skip


def _class(values: dict[str, Any], name: str) -> dict[str, Any]:
    """A config as diffusers writes it; the class of a scheduler stays what it was."""
    return {"_class_name": values.get("_class_name", name), **{key: value for key, value in values.items() if key != "_class_name"}}


def accelerator(settings: Settings) -> tuple[Accelerator, str]:
    """Accelerate for this process and the number format; raises TrainError when it does not see the other processes."""
    device = (
        torch.device("cpu") if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes") else backends.best_device()
    )
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if backends.computes_bf16(device) else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise TrainError("--precision must be auto, fp32 or bf16 on a CPU; got fp16")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        made = Accelerator(mixed_precision={"fp32": "no"}.get(precision, precision), cpu=device.type == "cpu")
        seen = made.num_processes
    except (ValueError, RuntimeError) as error:
        if world == 1:
            raise TrainError(f"Accelerate cannot start ({str(error)[:160]})") from error
        seen = 0
    if world > 1 and seen != world:
        raise TrainError(
            f"WORLD_SIZE is {world} but Accelerate works with {seen or 'no'} process: every process would train alone; start "
            "the run with torchrun, and on CPUs with ACCELERATE_USE_CPU=1 torchrun"
        )
    return made, precision


def trainer(begin: StartModel, data: TrainingData, settings: Settings, accelerate: Accelerator, stopper: Stopper) -> Trainer:
    """The trainer at step 0. Changes `begin.network` in place."""
    rows = keyed_random.DropoutRows(settings.seed)
    if settings.dropout:
        keyed_random.install_dropout(begin.network, settings.dropout, rows)
    device = accelerate.device
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True  # exact resume is worth more than its few per cent
    # Convolutions on a GPU want channels_last; on a CPU their backward pass and the norms are a fifth slower in it.
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    network = begin.network.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    average = copy.deepcopy(network).eval().requires_grad_(False)
    optimizer = make_optimizer(network, settings)
    wrapped, prepared = accelerate.prepare(torch.compile(network) if settings.compile else network, optimizer)
    batches = Batches(
        data.pixels, data.train, begin.shape, begin.schedule.num_train_timesteps,
        settings.batch_size * settings.accumulate * accelerate.num_processes, settings.seed, settings.mirror,
        cosine_edges(begin.schedule.alphas_cumprod) if settings.timestep_density == "cosine" else None,
    )  # fmt: skip
    state = TrainingState(network, average, optimizer, accelerate.scaler)
    return Trainer(accelerate, settings, begin.schedule, batches, state, wrapped, prepared, rows, settings.steps, stopper)


def cached_side(side: int, crop: str) -> int:
    """The side of the cached squares: for random crops there is something to choose from."""
    return side if crop == "center" else int(np.ceil(side * CROP_MARGIN / (CROP_MARGIN - 1)))
