"""Data whose best network is known exactly: a mixture of Gaussians in the plane, whose points lie in a picture of two channels.

With q_t, the mixture with means sqrt(ab) mu_k and covariances ab S_k + (1 - ab) I, the best prediction of the noise in x is
-sqrt(1 - ab) grad log q_t(x), which is what a network trained without error would give (the score, arXiv:2011.13456). So every
error of a sampler that asks it is the sampler's own. ab is alpha_bar.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from ddim_app.diffusion.sampler import Predict
from ddim_app.diffusion.schedule import Schedule
from ddim_app.lazy import Tensor, torch


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians in the plane, all float64: weights (K,) that add up to 1, means (K, 2), covariances (K, 2, 2)."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    @classmethod
    def round(cls, means: Tensor, std: float) -> "Mixture":
        """Equal clouds of one standard deviation, as wide one way as the other, around means (K, 2)."""
        count = len(means)
        covariances = (std**2 * torch.eye(2, dtype=torch.float64)).expand(count, 2, 2)
        return cls(torch.full((count,), 1 / count, dtype=torch.float64), means.double(), covariances)

    @property
    def mean(self) -> Tensor:
        """(2,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Tensor:
        """(2, 2)."""
        apart = self.means - self.mean
        within = (self.weights[:, None, None] * self.covariances).sum(0)
        return within + torch.einsum("k,ki,kj->ij", self.weights, apart, apart)

    def eps(self, x: Tensor, alpha_bar: Tensor) -> Tensor:
        """The best prediction of the noise in x (n, 2, H, W) at the levels alpha_bar (n,), in the dtype of x."""
        return self.at(alpha_bar).eps(x)

    def at(self, alpha_bar: Tensor) -> "NoisedMixture":
        """q_t at the levels alpha_bar (n,)."""
        level = alpha_bar.double()[:, None, None]
        covariances = level[..., None] * self.covariances + (1 - level[..., None]) * torch.eye(2, dtype=torch.float64)
        scale = self.weights.log() - torch.linalg.det(covariances).log() / 2 - math.log(math.tau)
        means = level.sqrt() * self.means
        return NoisedMixture((1 - level).sqrt(), means[..., None], torch.linalg.inv(covariances), scale[..., None])

    def nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(component, distance in its standard deviations) of the component that is fewest of them away from points (2, ...)."""
        apart = points.double().flatten(1).T[:, None] - self.means
        squares = torch.einsum("pki,kij,pkj->pk", apart, torch.linalg.inv(self.covariances), apart)
        smallest, component = squares.min(1)
        return component.view(points.shape[1:]), smallest.sqrt().view(points.shape[1:])

    def draw(self, count: int, generator: "torch.Generator") -> Tensor:
        """Points (2, count) of the mixture, float64."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn((count, 2, 1), generator=generator, dtype=torch.float64)
        spread: Tensor = torch.linalg.cholesky(self.covariances)[chosen] @ noise
        return (self.means[chosen] + spread.squeeze(-1)).T

    def network(self, schedule: Schedule) -> Predict:
        """The best network for this data on that schedule, as a sampler asks it."""
        levels = self.at(schedule.alphas_cumprod)
        return lambda x_t, t: NoisedMixture(*(table[t] for table in levels)).eps(x_t)


class NoisedMixture(NamedTuple):
    """q_t of a mixture at n levels; float64."""

    noise: Tensor
    """sqrt(1 - ab), (n, 1, 1)."""
    means: Tensor
    """(n, K, 2, 1)."""
    precisions: Tensor
    """Inverse covariances, (n, K, 2, 2)."""
    scale: Tensor
    """Log of each component's weight over 2 pi and the root of its determinant, (n, K, 1)."""

    def eps(self, x: Tensor) -> Tensor:
        """-sqrt(1 - ab) grad log q_t(x) for x (n, 2, H, W), each at its level, in the dtype of x."""
        logs, pulls = self._parts(x)
        return ((logs.softmax(1)[:, :, None] * pulls).sum(1) * self.noise).view_as(x).to(x.dtype)

    def log_density(self, x: Tensor) -> Tensor:
        """log q_t(x) (n, H, W) of x (n, 2, H, W), float64."""
        return self._parts(x)[0].logsumexp(1).view(x.shape[0], *x.shape[2:])

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of each component at each point: log of its share of the density (n, K, P), and minus its score (n, K, 2, P)."""
        apart = x.double().flatten(2)[:, None] - self.means
        pulls = self.precisions @ apart
        return self.scale - (apart * pulls).sum(2) / 2, pulls
