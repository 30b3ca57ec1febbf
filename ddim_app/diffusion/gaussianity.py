"""Whether a latent looks like noise, which is what a model starts from and what slerp supposes."""

import math
from typing import NamedTuple

from ddim_app.lazy import Tensor, torch

CORRELATED = 0.1
"""Correlation of neighbouring pixels from which on a latent is said to show the picture; noise of 32 x 32 has below 0.04."""
SPREAD = 0.1
"""How far from 1 the standard deviation may be."""

NOISE_STDS = (0.8, 1.25)
"""Standard deviations between which a latent can still pass for noise; what lies between others the model has never seen."""


class LatentMoments(NamedTuple):
    """Moments of one latent's values. N(0, I) has 0, 1, 0, 0, 0, up to a few of `errors`."""

    mean: float
    std: float
    skew: float
    kurtosis: float
    """Excess kurtosis: 0 for a normal distribution."""
    neighbours: float
    """Correlation of pixels that lie side by side or one above the other."""

    @property
    def is_noise_wide(self) -> bool:
        """Whether the latent's standard deviation is that of noise, or near it."""
        return NOISE_STDS[0] <= self.std <= NOISE_STDS[1]

    @property
    def verdict(self) -> str:
        """What it means, in one sentence."""
        if not all(map(math.isfinite, self)):
            return "This is not a latent: it has run away."
        if self.neighbours > CORRELATED:
            return (
                f"Still looks like the picture (neighbouring pixels correlate by {self.neighbours:.2f}): it will interpolate badly."
            )
        if abs(self.std - 1) > SPREAD:
            return f"Not spread like noise (standard deviation {self.std:.2f} instead of 1): it will interpolate badly."
        if abs(self.kurtosis) > 1 or abs(self.skew) > 0.5:
            return "Spread like noise, but its values are not distributed like it."
        return "Looks like noise: it will interpolate well."


def errors(count: int) -> LatentMoments:
    """Standard errors of the LatentMoments of `count` independent normal values, to first order."""
    return LatentMoments(count**-0.5, (2 * count) ** -0.5, (6 / count) ** 0.5, (24 / count) ** 0.5, (2 * count) ** -0.5)


def look(x: Tensor) -> list[LatentMoments]:
    """How each latent of (N, C, H, W) looks."""
    return [_look(one.double()) for one in x]


def _look(x: Tensor) -> LatentMoments:
    mean, std = float(x.mean()), float(x.std(correction=0))
    if not (math.isfinite(mean) and math.isfinite(std)) or std == 0:
        return LatentMoments(mean, std, 0.0, 0.0, 0.0) if std == 0 else LatentMoments(mean, std, math.nan, math.nan, math.nan)
    z = (x - mean) / std
    sideways, upright = z[..., 1:] * z[..., :-1], z[..., 1:, :] * z[..., :-1, :]
    pairs = sideways.numel() + upright.numel()
    neighbours = float(sideways.sum() + upright.sum()) / pairs if pairs else 0.0
    return LatentMoments(mean, std, float(z.pow(3).mean()), float(z.pow(4).mean()) - 3, neighbours)


def cosine(a: Tensor, b: Tensor) -> list[float]:
    """Cosine of the angle between the latents of two (N, C, H, W), one by one: 1 where the true x_T was found again."""
    values: list[float] = torch.cosine_similarity(a.double().flatten(1), b.double().flatten(1)).tolist()
    return values
