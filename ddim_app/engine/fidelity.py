"""How far finished pictures are from those of fp32: what a faster way of evaluating the network costs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ddim_app.diffusion.metrics import psnr
from ddim_app.diffusion.noise import BrownianPath, initial_noise
from ddim_app.diffusion.sampler import Predict, drive, sample
from ddim_app.lazy import Tensor, torch
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm, arm_row

ROWS = 16


class Fidelity(NamedTuple):
    """PSNR in dB on the [0, 1] scale over some seeds."""

    median: float
    worst: float
    pictures: int


def pictures(predict: Predict, model: Model, arm: Arm, seeds: Sequence[int]) -> Tensor:
    """Finished pictures (N, C, H, W) in [-1, 1] of the seeds, sampled by `arm`."""
    row, done = arm_row(arm, model), []
    for start in range(0, len(seeds), ROWS):
        some = seeds[start : start + ROWS]
        paths = [BrownianPath(model.schedule, model.shape, seed) for seed in some]
        rows = [
            replace(row, draw=path.between, classes=model.classes.asked(None, seed=seed))
            for path, seed in zip(paths, some, strict=True)
        ]
        *_, last = drive(sample(initial_noise(list(some), model.shape), rows), lambda *given: predict(*given).cpu())
        done.append(last.x_next.cpu())
    return torch.cat(done).clamp(-1, 1)


def fidelity(predict: Predict, exact: Predict | Tensor, model: Model, arm: Arm, seeds: Sequence[int]) -> Fidelity:
    """How near the pictures of `predict` come to those of `exact`, seed by seed; `exact` may be the pictures themselves."""
    expected = exact if isinstance(exact, torch.Tensor) else pictures(exact, model, arm, seeds)
    decibels = psnr(pictures(predict, model, arm, seeds), expected)
    return Fidelity(float(decibels.median()), float(decibels.min()), len(seeds))
