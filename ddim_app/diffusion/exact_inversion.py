"""Inversion that is exact: O-BELM's pair of levels, and a stochastic sampler's noise solved for."""

import math
from collections.abc import Callable, Generator
from itertools import pairwise
from typing import NamedTuple

from ddim_app.diffusion import formulas
from ddim_app.diffusion.fixed_point_inversion import time
from ddim_app.diffusion.naive_inversion import AskedNetwork, InversionMove, Levels, Moves, ask, up
from ddim_app.diffusion.sampler import Query
from ddim_app.diffusion.schedule import Level
from ddim_app.lazy import Tensor, torch

Noise = Callable[[Level], Tensor]
"""level -> standard normal (N, C, H, W)."""


class LatentPair(NamedTuple):
    """The latents of one picture at the two noisiest levels, which O-BELM needs both of."""

    x: Tensor
    """At levels[0]."""
    second: Tensor
    """The latents at levels[1], (N, C, H, W)."""


class NoiseMap(NamedTuple):
    """What makes a stochastic sampler draw one picture."""

    x: Tensor
    """At levels[0]."""
    noises: Tensor
    """(S - 1, N, C, H, W): the noise of every step but the last."""
    residual: Tensor
    """x_0 minus what is predicted at the last level, where the sampler adds no noise."""


def belm_up(x0: Tensor, levels: Levels, network: AskedNetwork) -> Generator[Query | InversionMove, Tensor, LatentPair]:
    """O-BELM (arXiv:2410.07273) from the clean picture up, after one step of DDIM; S evaluations.

    With z = x / sqrt(ab), h and h' the steps of `time` below and above a level and r = h / h', its rule is
    z_below = r^2 z_above + (1 - r^2) z - h (1 + r) eps(x), here solved for z_above. Needs two transitions.
    """
    rising = list(reversed(levels))
    eps = yield from ask(x0, rising[1], network)
    below, (x, pred_x0) = x0, up(x0, eps, rising[0], rising[1])
    yield InversionMove(0, rising[1], x, pred_x0)
    for k, (low, cur, high) in enumerate(zip(rising, rising[1:], rising[2:], strict=False), 1):
        eps = yield from ask(x, cur, network)
        r, h = _ratio(low, cur, high)
        z, z_below = x / math.sqrt(cur.alpha_bar), below / math.sqrt(low.alpha_bar)
        above = math.sqrt(high.alpha_bar) * (z_below - (1 - r**2) * z + h * (1 + r) * eps) / r**2
        below, x = x, above
        yield InversionMove(k, high, x, formulas.predict_x0(below, eps, cur.alpha_bar))
    return LatentPair(x, below)


def belm_down(pair: LatentPair, levels: Levels, network: AskedNetwork) -> Moves:
    """The picture of a pair, to rounding; S - 1 evaluations, since the pair has taken the first step already."""
    above, x = pair
    for k, (high, cur, low) in enumerate(zip(levels, levels[1:], levels[2:], strict=False)):
        eps = yield from ask(x, cur, network)
        r, h = _ratio(low, cur, high)
        z, z_above = x / math.sqrt(cur.alpha_bar), above / math.sqrt(high.alpha_bar)
        below = math.sqrt(low.alpha_bar) * (r**2 * z_above + (1 - r**2) * z - h * (1 + r) * eps)
        yield InversionMove(k, low, below, formulas.predict_x0(x, eps, cur.alpha_bar))
        above, x = x, below
    return x


def _ratio(low: Level, cur: Level, high: Level) -> tuple[float, float]:
    h = time(cur) - time(low)
    return h / (time(high) - time(cur)), h


def independent(x0: Tensor, levels: Levels, noise: Noise) -> list[Tensor]:
    """x_t at each level but the clean one, drawn from q(x_t | x_0) with noise of its own: the edit-friendly way."""
    return [formulas.add_noise(x0, noise(level), level.alpha_bar) for level in levels[:-1]]


def chained(x0: Tensor, levels: Levels, noise: Noise, eta: float) -> list[Tensor]:
    """x_t at each level but the clean one, each drawn from q_sigma(x_next | x_t, x_0), DDIM Eq. 7: CycleDiffusion's way."""
    drawn = [formulas.add_noise(x0, noise(levels[0]), levels[0].alpha_bar)]
    for cur, nxt in pairwise(levels[:-1]):
        sigma = formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, eta)
        eps = formulas.predict_eps(drawn[-1], x0, cur.alpha_bar)
        drawn.append(formulas.ddim_step(x0, eps, nxt.alpha_bar, sigma) + sigma * noise(nxt))
    return drawn


def noise_up(
    x0: Tensor, drawn: list[Tensor], levels: Levels, network: AskedNetwork, eta: float
) -> Generator[Query | InversionMove, Tensor, NoiseMap]:
    """The noise map that makes the sampler of `eta` > 0 pass through (nearly) the `drawn` x_t and end in x0; S evaluations.

    z_t = (x_next - mu(x_t)) / sigma_t. It walks down on the x that the way back will have, so that this repeats it bit by bit.
    """
    x, noises = drawn[0], list[Tensor]()
    for k, (cur, nxt) in enumerate(pairwise(levels)):
        eps = yield from ask(x, cur, network)
        pred_x0 = formulas.predict_x0(x, eps, cur.alpha_bar)
        if nxt.is_clean:
            yield InversionMove(k, nxt, x0, pred_x0)
            break
        mean, sigma = _mean(pred_x0, eps, cur, nxt, eta)
        noises.append((drawn[k + 1] - mean) / sigma)
        x = mean + sigma * noises[-1]
        yield InversionMove(k, nxt, x, pred_x0, noise=noises[-1])
    stacked = torch.stack(noises) if noises else x0.new_zeros((0, *x0.shape))
    return NoiseMap(drawn[0], stacked, x0 - pred_x0)


def noise_down(latent: NoiseMap, levels: Levels, network: AskedNetwork, eta: float) -> Moves:
    """The picture of a noise map; without its residual, what the sampler itself ends in."""
    x = latent.x
    for k, (cur, nxt) in enumerate(pairwise(levels)):
        eps = yield from ask(x, cur, network)
        pred_x0 = formulas.predict_x0(x, eps, cur.alpha_bar)
        if nxt.is_clean:
            x = pred_x0 + latent.residual
        else:
            mean, sigma = _mean(pred_x0, eps, cur, nxt, eta)
            x = mean + sigma * latent.noises[k]
        yield InversionMove(k, nxt, x, pred_x0)
    return x


def _mean(pred_x0: Tensor, eps: Tensor, cur: Level, nxt: Level, eta: float) -> tuple[Tensor, float]:
    sigma = formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, eta)
    return formulas.ddim_step(pred_x0, eps, nxt.alpha_bar, sigma), sigma
