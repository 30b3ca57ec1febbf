"""From a picture to noise: DDPM's Markov chain, its closed form, and DDIM's processes that are none, as pure functions.

Every picture's level is one float `alpha_bar`. A transition is named by its two levels: `a` is the noisier one's alpha_bar
(the paper's t), `b` the other's (t - 1). Noise is an argument, standard normal of the picture's shape.
"""

import math
from typing import NamedTuple

from ddim_app.diffusion.formulas import ddim_sigma
from ddim_app.lazy import Tensor


class Linear(NamedTuple):
    """A Gaussian whose mean is of_x x + of_x0 x_0."""

    of_x: float
    of_x0: float
    variance: float

    def mean(self, x: Tensor, x0: Tensor) -> Tensor:
        return self.of_x * x + self.of_x0 * x0

    def sample(self, x: Tensor, x0: Tensor, noise: Tensor) -> Tensor:
        return self.mean(x, x0) + math.sqrt(self.variance) * noise


def closed_form(a: float) -> Linear:
    """q(x_t | x_0) = N(sqrt(ab) x_0, (1 - ab) I), DDPM Eq. 4: what every process of this module has at each level."""
    return Linear(0.0, math.sqrt(a), 1 - a)


def markov(b: float, a: float) -> Linear:
    """q(x_t | x_{t-1}) of DDPM, Eq. 2: N(sqrt(1 - beta) x, beta I), for neighbours or any two levels b > a."""
    return Linear(math.sqrt(a / b), 0.0, 1 - a / b)


def downwards(a: float, b: float, eta: float) -> Linear:
    """q_sigma(x_{t-1} | x_t, x_0), DDIM (arXiv:2010.02502) Eq. 7, with sigma of Eq. 16.

    N(sqrt(b) x_0 + sqrt(1 - b - sigma^2) (x_t - sqrt(a) x_0) / sqrt(1 - a), sigma^2 I). There is no such step to x_0, where
    b = 1 would make it certain.
    """
    sigma = ddim_sigma(a, b, eta)
    along = math.sqrt(max(1 - b - sigma**2, 0.0) / (1 - a))
    return Linear(along, math.sqrt(b) - along * math.sqrt(a), sigma**2)


def upwards(b: float, a: float, eta: float) -> Linear:
    """q_sigma(x_t | x_{t-1}, x_0), the forward transition of the same process by Bayes (DDIM, below Eq. 7).

    Its coefficient of x_0 vanishes only for eta = 1, which is why DDIM's forward process is not Markovian otherwise.
    With k = sqrt((1 - b - sigma^2) (1 - a)) / (1 - b): mean k x_{t-1} + (sqrt(a) - k sqrt(b)) x_0, variance
    sigma^2 (1 - a) / (1 - b).
    """
    sigma = ddim_sigma(a, b, eta)
    k = math.sqrt(max(1 - b - sigma**2, 0.0) * (1 - a)) / (1 - b)
    return Linear(k, math.sqrt(a) - k * math.sqrt(b), sigma**2 * (1 - a) / (1 - b))


class Moments(NamedTuple):
    """Estimates from many draws, each with its standard error."""

    mean: float
    mean_error: float
    variance: float
    variance_error: float


def moments(draws: Tensor) -> Moments:
    """Mean and variance of a 1-d tensor of independent draws; the error of the variance is that of normal draws."""
    count, variance = len(draws), float(draws.double().var())
    return Moments(float(draws.double().mean()), math.sqrt(variance / count), variance, variance * math.sqrt(2 / max(count - 1, 1)))
