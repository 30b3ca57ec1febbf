"""From settings to a trainer that can make its first step: network, schedule, data, optimiser, Accelerate."""

import copy
import os
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import InitProcessGroupKwargs  # type: ignore[import-untyped]

from ddim_app import backends
from ddim_app.backends import launch
from ddim_app.diffusion.noise import Shape, initial_noise
from ddim_app.diffusion.output_check import output_fault, peaks
from ddim_app.diffusion.sampler import conditions
from ddim_app.diffusion.schedule import Schedule, from_config
from ddim_app.models import loading
from ddim_app.models.catalogue import local
from ddim_app.models.classes import UNCONDITIONAL, ClassLabels
from ddim_app.models.hub import say
from ddim_app.models.network_config import halvings, learns_variance
from ddim_app.train import config, keyed_random
from ddim_app.train.batches import Batches, cosine_edges
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.data import TrainingData
from ddim_app.train.loop import EMA_LENGTHS, Trainer, make_optimizer
from ddim_app.train.state import TrainingState
from ddim_app.train.stop import Stopper

PATIENCE = timedelta(hours=24)
"""How long processes wait for each other: as long as one may take to decode the pictures."""
CROP_MARGIN = 8
"""Random crops leave an eighth of the cached side."""
SMALL_SET = 200
"""Pictures to train on, fewer of which are moved at random where the settings say so."""


@dataclass(frozen=True)
class StartModel:
    """The network that a run begins with, and what must be published beside it."""

    network: torch.nn.Module
    schedule: Schedule
    shape: Shape
    unet: dict[str, Any]
    scheduler: dict[str, Any]
    init: dict[str, str | None] | None
    """Name and hashes of the model that is fine-tuned."""
    is_published: bool = False
    """Whether the weights are those of a run on its way, not those that it began with."""
    classes: ClassLabels = UNCONDITIONAL


def start(settings: Settings) -> StartModel:
    """The starting network; raises TrainError when it cannot be had or does not fit the resolution."""
    try:
        begin = _fine_tune(settings) if settings.init else _from_scratch(settings)
    except loading.ModelError as error:
        raise TrainError(f"{'--init' if settings.init else '--preset'}: {error}") from error
    if begin.shape[1] != begin.shape[2]:
        raise TrainError(f"--init: only models of square pictures can be trained; this one makes {begin.shape[2]}x{begin.shape[1]}")
    return begin


def _check_side(side: int, unet: dict[str, Any]) -> None:
    count = halvings(unet)
    if side % 2**count or side >> count < 1:
        raise TrainError(f"--resolution must be a multiple of {2**count}, since this network halves it {count} times; got {side}")


def _fine_tune(settings: Settings) -> StartModel:
    catalogue, given = local(), str(settings.init)
    folder, here = catalogue.find(given, say), catalogue.folder(given)
    begin = _of_folder(folder, settings.resolution, given if here is None else folder.resolve().name)
    if learns_variance(begin.unet):
        raise TrainError("--init: this model has a learned variance, which the loss here would leave behind its mean; take another")
    _check_side(begin.shape[1], begin.unet)
    _check_weights(begin)
    return begin


def published(folder: Path, init: dict[str, str | None] | None) -> StartModel:
    """The network of a run as it stands in its folder: what a run with checkpoints goes on with, wherever its start has gone."""
    return replace(_of_folder(folder), init=init, is_published=True)


def _of_folder(folder: Path, resolution: int | None = None, name: str = "") -> StartModel:
    base = loading.load(folder, notify=say)
    unet = {key: value for key, value in base.unet.config.items() if not key.startswith("_")}
    shape = base.shape if resolution is None else (base.shape[0], resolution, resolution)
    unet["sample_size"] = list(shape[1:]) if shape[1] != shape[2] else shape[1]
    return StartModel(
        base.unet.requires_grad_(True), base.schedule, shape, _class(unet, "UNet2DModel"),
        _class(loading.scheduler_config(folder, folder.name), "DDPMScheduler"),
        {"name": name, "sha256": base.sha256, "file_sha256": base.file_sha256}, classes=base.classes,
    )  # fmt: skip


def _check_weights(begin: StartModel) -> None:
    """Raises TrainError for a network of which nothing can be learned, before anything is written."""
    network, T = begin.network, begin.schedule.num_train_timesteps
    broken = [name for name, parameter in network.named_parameters() if not parameter.isfinite().all()]
    if broken:
        raise TrainError(f"--init: its weights are not finite ({len(broken)} tensors, such as {broken[0]}): name another model")
    with torch.inference_mode():
        given = conditions([0, T - 1], [0, 0] if begin.classes.names else ())
        output = network(initial_noise([0, 1], begin.shape), *given, return_dict=False)[0]
    if fault := output_fault(float(peaks(output).max()), "step 1"):
        raise TrainError(f"--init: {fault}")


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
    _check_side(side, unet)
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
    world = launch.processes_asked_for()
    group = InitProcessGroupKwargs(timeout=PATIENCE)
    try:
        made = Accelerator(
            mixed_precision={"fp32": "no"}.get(precision, precision), cpu=device.type == "cpu", kwargs_handlers=[group]
        )
        seen = made.num_processes
    except (ValueError, RuntimeError) as error:
        if world == 1:
            raise TrainError(f"Accelerate cannot start ({str(error)[:160]})") from error
        seen = 0
    if world > 1 and seen != world:
        raise TrainError(
            f"{world} processes or more were asked for but Accelerate works with {seen or 'no'} process: each would train alone; "
            f"start the run by torchrun --nproc_per_node {world} -m ddim_app.train, on CPUs with ACCELERATE_USE_CPU=1 before it"
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
    kept = EMA_LENGTHS if settings.several_averages else [""]
    averages: dict[str, torch.nn.Module] = {name: copy.deepcopy(network).eval().requires_grad_(False) for name in kept}
    if settings.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    optimizer = make_optimizer(network, settings)
    wrapped, prepared = accelerate.prepare(torch.compile(network) if settings.compile else network, optimizer)
    batches = Batches(
        data.pixels, data.train, begin.shape, begin.schedule.num_train_timesteps,
        settings.batch_size * settings.accumulate * accelerate.num_processes, settings.seed, settings.mirror,
        shift_of(settings, begin.shape[1], len(data.train)),
        cosine_edges(begin.schedule.alphas_cumprod) if settings.timestep_density == "cosine" else None,
        data.labels, settings.class_dropout, len(data.classes),
    )  # fmt: skip
    state = TrainingState(network, averages, optimizer, accelerate.scaler)
    return Trainer(accelerate, settings, begin.schedule, batches, state, wrapped, prepared, rows, settings.steps, stopper)


def shift_of(settings: Settings, side: int, pictures: int) -> int:
    """Pixels by which pictures of that side are moved at most, in a set of so many to train on."""
    return round(settings.small_set_shift * side) if pictures < SMALL_SET else 0


def cached_side(side: int, crop: str) -> int:
    """The side of the cached squares: for random crops there is something to choose from."""
    return side if crop == "center" else int(np.ceil(side * CROP_MARGIN / (CROP_MARGIN - 1)))
