"""What a run looks at: held-out loss, pictures from fixed seeds, and the training pictures nearest to them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ddim_app.diffusion.metrics import psnr
from ddim_app.diffusion.noise import Shape, initial_noise, keyed_noise, picture_seed
from ddim_app.diffusion.sampler import Predict, Row, drive, sample
from ddim_app.diffusion.schedule import Schedule
from ddim_app.media.images import to_pixels
from ddim_app.train import keys
from ddim_app.train.batches import to_tensor
from ddim_app.train.loss import bucket_means, row_losses

BUCKETS = 10
ROWS_PER_CALL = 64
PREVIEW_STEPS = 25
"""DDIM needs few steps to show what a model has learned, and a preview should cost seconds."""

Check = Callable[[], None]
"""Called between network calls; raises Stopped to give up."""


class HeldOut(NamedTuple):
    """Mean squared error of the network's prediction on held-out pictures."""

    loss: float
    buckets: list[float]
    """The same for each tenth of the timesteps, least noise first."""


def held_out(
    predict: Predict, pixels: np.ndarray, schedule: Schedule, device: torch.device, check: Check, evaluations: int = 250
) -> HeldOut | None:
    """The loss over `evaluations` (picture, timestep, noise) triples that are the same at every call; None without pictures.

    Timesteps are spread evenly, so each bucket has a tenth of the triples.
    """
    if not len(pixels):
        return None
    T = schedule.num_train_timesteps
    t = torch.tensor([i * T // evaluations for i in range(evaluations)])
    # A stride through the pictures that shares no factor with their number meets every one, at timesteps all over.
    order = keys.permutation(len(pixels), keys.HELD_OUT)
    chosen = order[np.arange(evaluations) % len(pixels)]
    noise_key = keys.key(keys.HELD_OUT)
    losses = []
    for at in range(0, evaluations, ROWS_PER_CALL):
        check()
        part = slice(at, min(at + ROWS_PER_CALL, evaluations))
        x0 = to_tensor(pixels[chosen[part]])
        shape = (x0.shape[1], x0.shape[2], x0.shape[3])
        noise = torch.stack([keyed_noise(noise_key, i, shape) for i in range(part.start, part.stop)])
        with torch.inference_mode():
            losses.append(row_losses(predict, x0.to(device), t[part], noise.to(device), schedule).cpu())
    every = torch.cat(losses).double()
    return HeldOut(float(every.mean()), list(bucket_means(every, t, T, BUCKETS)))


def preview(
    predict: Predict, schedule: Schedule, shape: Shape, count: int, seed: int, device: torch.device, check: Check
) -> np.ndarray:
    """uint8 (count, H, W, C): DDIM from fixed seeds, so grids of different models can be laid side by side."""
    row = Row(
        schedule.levels(min(PREVIEW_STEPS, schedule.num_train_timesteps)),
        clip=schedule.clip,
        prediction_type=schedule.prediction_type,
        clip_range=schedule.clip_range,
    )
    latents = initial_noise([picture_seed(seed, i) for i in range(count)], shape).to(device)
    x = latents
    for step in drive(sample(latents, [row] * count), predict):
        check()
        x = step.x_next
    return to_pixels(x)


class Nearest(NamedTuple):
    """For some samples, the training picture that is nearest in mean squared error."""

    which: list[int]
    psnr: list[float]
    """In dB. Copies of a training picture are far above what held-out pictures reach."""


def nearest(samples: np.ndarray, pixels: np.ndarray, chosen: np.ndarray, check: Check) -> Nearest:
    """Searches all training pictures `pixels[chosen]` for each of the samples; both uint8 (N, H, W, C)."""
    wanted = torch.from_numpy(np.array(samples)).flatten(1).float()
    best, where = torch.full((len(samples),), float("inf")), torch.zeros(len(samples), dtype=torch.int64)
    for at in range(0, len(chosen), 2048):
        check()
        part = chosen[at : at + 2048]
        distance = torch.cdist(wanted, torch.from_numpy(middle(pixels[part], samples.shape)).flatten(1).float())
        least, i = distance.min(1)
        where = torch.where(least < best, torch.from_numpy(part)[i], where)
        best = torch.minimum(best, least)
    index = where.tolist()
    found = to_tensor(middle(pixels[np.array(index)], samples.shape))
    return Nearest(index, psnr(to_tensor(samples), found).tolist())


def middle(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The middle of cached pictures that are larger than the model's, for random crops."""
    top, left = (pixels.shape[1] - shape[1]) // 2, (pixels.shape[2] - shape[2]) // 2
    return pixels[:, top : top + shape[1], left : left + shape[2]]
