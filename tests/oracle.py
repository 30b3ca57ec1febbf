"""What samplers must do on data whose best network is known in closed form, and textbook formulas to hold them against.

For data x0 ~ N(mu, s^2 I) every level's marginal is Gaussian with variance v(ab) = ab s^2 + 1 - ab, and the posterior mean of
x0, hence the best eps and v, is linear in x. Then each transition a -> b of the DDIM family is the linear map

    x - sqrt(a) mu  ->  g (x - sqrt(a) mu) + std z,    g = (sqrt(a b) s^2 + sqrt((1 - a)(1 - b - sigma^2))) / v(a)

exactly, at any step count, not only in the limit of many steps. Nothing in here uses the code under test.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Levels = Sequence[tuple[int, float]]
"""(t, alpha_bar), noisiest first."""
Noise = Callable[[int, int], Tensor]


def sigma_of_eta(a: float, b: float, eta: float) -> float:
    """DDIM (arXiv:2010.02502) Eq. 16, no larger than the whole noise of level b; 0 for eta = 0 also where b < a."""
    return 0.0 if eta == 0 else min(eta * math.sqrt((1 - b) / (1 - a) * (1 - a / b)), math.sqrt(1 - b))


def sigma_large(a: float, b: float) -> float:
    """sigma-hat of DDIM, D.3, and no noise into the clean level."""
    return math.sqrt(1 - a / b) if b < 1 else 0.0


@dataclass(frozen=True)
class Gaussian:
    """Data N(mu, s^2 I); s = 0 is a single picture."""

    mu: float
    s: float

    def variance(self, ab: float | Tensor) -> float | Tensor:
        return ab * self.s**2 + 1 - ab

    def x0(self, x: Tensor, ab: Tensor) -> Tensor:
        """E[x0 | x], from the joint Gaussian of x0 and x."""
        return self.mu + ab.sqrt() * self.s**2 * (x - ab.sqrt() * self.mu) / self.variance(ab)

    def eps(self, x: Tensor, ab: Tensor) -> Tensor:
        return (1 - ab).sqrt() * (x - ab.sqrt() * self.mu) / self.variance(ab)

    def v(self, x: Tensor, ab: Tensor) -> Tensor:
        return ab.sqrt() * self.eps(x, ab) - (1 - ab).sqrt() * self.x0(x, ab)

    def network(self, alphas_cumprod: Tensor, prediction_type: str = "epsilon") -> Callable[[Tensor, Tensor], Tensor]:
        """The best network there can be for that schedule, in float64."""
        best = {"epsilon": self.eps, "sample": self.x0, "v_prediction": self.v}[prediction_type]
        return lambda x, t: best(x, alphas_cumprod[t].view(-1, *[1] * (x.ndim - 1)))

    def gain(self, a: float, b: float, sigma: float = 0.0) -> float:
        """g of one transition; sigma is the std that its direction term makes room for."""
        return (math.sqrt(a * b) * self.s**2 + math.sqrt((1 - a) * max(1 - b - sigma**2, 0.0))) / self.variance(a)

    def chain(self, x: Tensor, levels: Levels, eta: float = 0.0, noise: Noise | None = None, large: bool = False) -> list[Tensor]:
        """x after each transition, exactly; `noise` is asked for z wherever noise is added."""
        visited = []
        deviation = x - math.sqrt(levels[0][1]) * self.mu
        for (t, a), (t_next, b) in pairwise(levels):
            sigma = sigma_of_eta(a, b, eta)
            std = sigma_large(a, b) if large else sigma
            deviation = self.gain(a, b, sigma) * deviation
            if std and noise is not None:
                deviation = deviation + std * noise(t, t_next)
            visited.append(math.sqrt(b) * self.mu + deviation)
        return visited

    def variances(self, first: float, levels: Levels, eta: float = 0.0, large: bool = False) -> list[float]:
        """Variance after each transition, V' = g^2 V + std^2, from variance `first` before it."""
        visited = [first]
        for (_, a), (_, b) in pairwise(levels):
            sigma = sigma_of_eta(a, b, eta)
            std = sigma_large(a, b) if large else sigma
            visited.append(self.gain(a, b, sigma) ** 2 * visited[-1] + std**2)
        return visited[1:]

    def flow(self, x: Tensor, a: float, b: float) -> Tensor:
        """The probability-flow ODE from level a to level b: what DDIM tends to with many steps."""
        stretch = math.sqrt(self.variance(b) / self.variance(a))
        return math.sqrt(b) * self.mu + stretch * (x - math.sqrt(a) * self.mu)


def ddpm_chain(
    x: Tensor, betas: Tensor, network: Callable[[Tensor, Tensor], Tensor], noise: Noise, *, large: bool = False, clip: bool = False
) -> Tensor:
    """DDPM's Algorithm 2 (arXiv:2006.11239) over all T timesteps, from its betas and Eq. 7, with the posterior mean of pred_x0."""
    ab = (1 - betas).cumprod(0)
    for t in range(len(betas) - 1, -1, -1):
        ab_next = ab[t - 1] if t else torch.ones((), dtype=ab.dtype)
        pred_x0 = (x - (1 - ab[t]).sqrt() * network(x, torch.full((len(x),), t))) / ab[t].sqrt()
        if clip:
            pred_x0 = pred_x0.clamp(-1, 1)
        mean = ab_next.sqrt() * betas[t] / (1 - ab[t]) * pred_x0 + (1 - betas[t]).sqrt() * (1 - ab_next) / (1 - ab[t]) * x
        variance = betas[t] if large else (1 - ab_next) / (1 - ab[t]) * betas[t]
        x = mean + variance.sqrt() * noise(t, t - 1) if t else mean
    return x
