"""What a run is looked at by: held-out loss, and pictures from fixed seeds."""

import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddim_app.diffusion.noise import initial_noise, keyed_noise, picture_seed
from ddim_app.diffusion.sampler import Predict, Row, drive, sample
from ddim_app.diffusion.schedule import Schedule
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.models.loading import Model
from ddim_app.train import keyed_random
from ddim_app.train.loop import row_losses

BUCKETS = 10
GROUPS = 8
ROWS_PER_CALL = 64
GAP = 24

Check = Callable[[], None]
"""Called between network calls; raises Stopped to give up."""


class LookSize(NamedTuple):
    """How much a look at a run asks of the network."""

    evaluations: int
    """Of held-out pictures."""
    pictures: int
    """Of a preview."""
    steps: int
    """Of each of these: DDIM needs few to show what a model has learned."""

    @property
    def cost(self) -> int:
        """Forward passes of one picture."""
        return self.evaluations + self.pictures * self.steps


LOOK_SIZES = (LookSize(500, 16, 25), LookSize(200, 16, 10), LookSize(80, 8, 10))
"""The first is that of a run that is long enough for it."""


@dataclass(frozen=True)
class Share:
    """The part of a look's rows that this process evaluates: every `world`-th, from `rank` on."""

    rank: int = 0
    world: int = 1
    accelerator: Any = None

    @classmethod
    def of(cls, accelerator: Any) -> "Share":
        return cls(accelerator.process_index, accelerator.num_processes, accelerator)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def total(self, part: Tensor) -> Tensor:
        """The sum over all processes, each of which has zeros where the rows of others are."""
        if self.world == 1:
            return part
        whole: Tensor = self.accelerator.reduce(part.to(self.accelerator.device), "sum").cpu()
        return whole

    def of_main(self, value: float) -> float:
        """What the main process has."""
        return float(self.total(torch.tensor(float(value) if self.is_main else 0.0)))


class HeldOut(NamedTuple):
    """Mean squared error of the network's prediction on held-out pictures."""

    loss: float
    buckets: list[float]
    """The mean squared error of each tenth of the timesteps, least noise first."""
    groups: list[float]
    """The mean squared error of each of up to GROUPS parts of the pictures: how far they differ is how little is known."""


def held_out(
    predict: Predict, pixels: np.ndarray, schedule: Schedule, device: torch.device, check: Check,
    evaluations: int, labels: Tensor | None = None, share: Share = Share(),
) -> HeldOut | None:  # fmt: skip
    """The loss over `evaluations` (picture, timestep, noise) triples that are the same at every call; None without pictures.

    Timesteps are spread evenly, so each bucket has a tenth of the triples.
    """
    if not len(pixels):
        return None
    T = schedule.num_train_timesteps
    t = torch.tensor([i * T // evaluations for i in range(evaluations)])
    # A stride through the pictures that shares no factor with their number meets every one, at timesteps all over.
    order = keyed_random.permutation(len(pixels), keyed_random.HELD_OUT)
    place = np.arange(evaluations) % len(pixels)
    chosen = order[place]
    noise_key = keyed_random.key(keyed_random.HELD_OUT)
    every = torch.zeros(evaluations)
    mine = np.arange(share.rank, evaluations, share.world)
    for first in range(0, len(mine), ROWS_PER_CALL):
        check()
        part = mine[first : first + ROWS_PER_CALL]
        x0 = from_pixels(pixels[chosen[part]])
        shape = (x0.shape[1], x0.shape[2], x0.shape[3])
        noise = torch.stack([keyed_noise(noise_key, i, shape) for i in part.tolist()])
        with torch.inference_mode():
            y = None if labels is None else labels[chosen[part]]
            every[part] = row_losses(predict, x0.to(device), t[part], noise.to(device), schedule, y).cpu()
    every = share.total(every).double()
    group = torch.from_numpy(place % GROUPS)
    groups = [float(every[group == i].mean()) for i in range(min(GROUPS, len(pixels)))]
    return HeldOut(float(every.mean()), bucket_means(every, t, T), groups)


def bucket_means(losses: torch.Tensor, t: torch.Tensor, num_train_timesteps: int, buckets: int = BUCKETS) -> list[float]:
    """Mean loss of each of `buckets` equal parts of the timesteps, least noise first; NaN where there is none."""
    part = t * buckets // num_train_timesteps
    return [float(losses[part == i].mean()) for i in range(buckets)]


def preview(
    predict: Predict, model: Model, size: LookSize, seed: int, device: torch.device, check: Check, share: Share = Share()
) -> np.ndarray:
    """uint8 (pictures, H, W, C): DDIM from fixed seeds, so grids of different models can be laid side by side; classes in turn."""
    channels, height, width = model.shape
    count = size.pictures
    pictures = torch.zeros(count, height, width, channels, dtype=torch.int32)
    mine = range(share.rank, count, share.world)
    if mine:
        made = _previews(predict, model, [picture_seed(seed, i) for i in mine], size.steps, device, check)
        pictures[list(mine)] = torch.from_numpy(made).int()
    return share.total(pictures).to(torch.uint8).numpy()


def _previews(predict: Predict, model: Model, seeds: list[int], steps: int, device: torch.device, check: Check) -> np.ndarray:
    schedule = model.schedule
    row = Row(
        schedule.levels(min(steps, schedule.num_train_timesteps), schedule.usual_spacing),
        clip=schedule.clip,
        prediction_type=schedule.prediction_type,
        clip_range=schedule.clip_range,
    )
    latents = initial_noise(seeds, model.shape).to(device)
    x = latents
    rows = [replace(row, classes=model.classes.asked(None, seed=each)) for each in seeds]
    for step in drive(sample(latents, rows), predict):
        check()
        x = step.x_next
    return to_pixels(x)


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    return sheet


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MB of the GPU when there is one, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
