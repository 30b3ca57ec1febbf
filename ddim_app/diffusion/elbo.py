"""The variational bound of DDPM (arXiv:2006.11239, sections 3.3 and 4.3) and what it is made of, as pure functions in float64.

Timesteps are 0-based: term 0 is the paper's L_0, term t >= 1 is the paper's L_t, the cost of going from level t to t - 1,
and the prior is its L_T. Everything here is in nats of one picture; `bits` turns nats into bits per dimension.
"""

import math
from collections.abc import Sequence

from ddim_app.diffusion.schedule import Schedule
from ddim_app.lazy import Tensor, torch

DECODERS = ("posterior", "beta")
"""Variance of the decoder p(x_0 | x_1): the posterior's of the second level (the authors' choice for both variances), or beta_1."""
BIN = 1 / 255
"""Half the distance of two 8-bit values in [-1, 1]."""
CIFAR10_TABLE_4 = (
    (1.77581, 0.95136), (0.11994, 12.02277), (0.05415, 18.47482), (0.02866, 24.43656), (0.01507, 30.80948),
    (0.00716, 38.03236), (0.00282, 46.12765), (0.00081, 54.18826), (0.00013, 60.97170), (0.0, 67.60125),
)  # fmt: skip
"""DDPM, Table 4, unconditional CIFAR-10: (rate in bits/dim, distortion as RMSE on 0..255) after 1000, 900, ..., 100 steps."""


def bits(nats: Tensor, dimensions: int) -> Tensor:
    """Bits per dimension."""
    return nats / (dimensions * math.log(2))


def prior(x0: Tensor, alpha_bar_T: float) -> Tensor:
    """L_T = KL(q(x_T | x_0) || N(0, I)) of each picture: 1/2 sum [ab x_0^2 - ab - log(1 - ab)]. x0 (N, C, H, W)."""
    x0 = x0.double().flatten(1)
    return 0.5 * (alpha_bar_T * x0**2 - alpha_bar_T - math.log1p(-alpha_bar_T)).sum(1)


def gaussian_kl(apart: Tensor, variance_q: Tensor, variance_p: Tensor) -> Tensor:
    """KL(N(m, variance_q I) || N(m + apart, variance_p I)) of each picture; apart (N, C, H, W), the variances (N,)."""
    apart, ratio = apart.double().flatten(1), variance_q / variance_p
    return 0.5 * (apart.shape[1] * (ratio - 1 - ratio.log()) + apart.square().sum(1) / variance_p)


def variances(schedule: Schedule) -> dict[str, Tensor]:
    """The two fixed variances of the reverse steps, (T,) each: "small" is the posterior's, 0 at the first step, "large" beta_t."""
    a, b = schedule.alphas_cumprod, _before(schedule)
    beta = 1 - a / b
    return {"small": (1 - b) / (1 - a) * beta, "large": beta}


def analytic(schedule: Schedule, residuals: Sequence[float]) -> Tensor:
    """The analytic variance of DDPM's reverse steps, (T,), from V_t = E|x0 - pred_x0|^2 a dimension: true in the mean, so that of
    all variances of one number per t it has the least bound (arXiv:2201.06503, Theorem 1); "small" where V_t is 0."""
    table = variances(schedule)
    of_x0 = _before(schedule).sqrt() * table["large"] / (1 - schedule.alphas_cumprod)
    return table["small"] + of_x0**2 * torch.tensor(residuals, dtype=torch.float64)


def transition(x0: Tensor, pred_x0: Tensor, schedule: Schedule, t: Tensor, variance: str) -> Tensor:
    """Term t >= 1 of each picture, KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t)), DDPM Eq. 5 to 8.

    The network's mean is the posterior's with pred_x0 in the place of x_0, so x_t cancels in their difference; its variance is
    "small" or "large". x0 and pred_x0 (N, C, H, W), t (N,) int64; returns (N,).
    """
    t = t.cpu()
    table = variances(schedule)
    of_x0 = (_before(schedule).sqrt() * table["large"] / (1 - schedule.alphas_cumprod))[t]  # Eq. 7
    apart = of_x0.to(x0.device).view(-1, 1, 1, 1) * (x0.double() - pred_x0.double())
    return gaussian_kl(apart, table["small"][t].to(x0.device), table[variance][t].to(x0.device))


def decoder_variance(schedule: Schedule, decoder: str) -> float:
    """sigma_1^2 of p(x_0 | x_1); the posterior's own at the first step would be 0."""
    if decoder == "posterior" and schedule.num_train_timesteps > 1:
        return float(variances(schedule)["small"][1])
    return 1 - schedule.level(0).alpha_bar


def decoder_loss(x0: Tensor, mean: Tensor, variance: float) -> Tensor:
    """L_0 = -log p(x_0 | x_1) of each picture by the discretised Gaussian decoder, DDPM Eq. 13.

    x0 (N, C, H, W) holds 8-bit values scaled to [-1, 1]; the first and last bins reach to infinity. Differences of the normal
    distribution are taken in its logarithm, on the side of the tail, so that far bins keep their digits.
    """
    x0, mean = x0.double().flatten(1), mean.double().flatten(1)
    scale = 1 / math.sqrt(variance)
    low = torch.where(x0 < -1 + BIN, -math.inf, (x0 - mean - BIN) * scale)
    high = torch.where(x0 > 1 - BIN, math.inf, (x0 - mean + BIN) * scale)
    mirrored = low + high > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    logs: Tensor = above + torch.log(-torch.expm1(below - above))
    return -logs.sum(1)


def rmse(x0: Tensor, pred_x0: Tensor) -> Tensor:
    """Root mean square distance of each picture, on the scale 0..255."""
    return 127.5 * (x0.double() - pred_x0.double()).flatten(1).square().mean(1).sqrt()


def rates(prior_nats: float, terms: Sequence[float]) -> list[float]:
    """Rate once x_t is sent, for each t: L_T + sum of the terms s > t (DDPM section 4.3). In the unit that comes in.

    The receiver then sees pred_x0(x_t), so it goes with the RMSE at t. Entry 0 is the whole rate; the distortion is term 0.
    """
    rising = [float(prior_nats)]
    for term in list(terms)[:0:-1]:
        rising.append(rising[-1] + float(term))
    return rising[::-1]


def loss_weights(schedule: Schedule, variance: str) -> Tensor:
    """Weight of |noise - eps|^2 in each term, (T,): beta^2 / (2 sigma^2 alpha (1 - alpha_bar)), DDPM Eq. 12; L_simple has 1.

    Entry 0 is that of the decoder's variance, there being no posterior's; where alpha_bar is 0 it is infinite.
    """
    a, b = schedule.alphas_cumprod, _before(schedule)
    table = variances(schedule)
    sigma2 = table[variance].clone()
    sigma2[0] = decoder_variance(schedule, "posterior")
    return table["large"] ** 2 / (2 * sigma2 * (a / b) * (1 - a))


def true_reverse_variance(alpha_bar: float, alpha_bar_next: float, s: float) -> float:
    """Variance of q(x_next | x_t) for data N(0, s^2 I): beta-tilde at s = 0, beta at s = 1 (DDPM section 3.2)."""

    def variance(ab: float) -> float:
        return ab * s**2 + 1 - ab

    return variance(alpha_bar_next) * (1 - alpha_bar / alpha_bar_next) / variance(alpha_bar)


def _before(schedule: Schedule) -> Tensor:
    """alpha_bar of the next cleaner level, (T,): 1 for the first."""
    return torch.cat((torch.ones(1, dtype=torch.float64), schedule.alphas_cumprod[:-1]))
