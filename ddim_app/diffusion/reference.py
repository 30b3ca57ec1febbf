"""The samplers as the papers write them, for one picture: where a reader begins.

The app samples many pictures at a time, each with its own levels, eta and clipping; that is `sampler`, which these loops are
tested against. `network(x, t)` predicts eps, the noise in x (C, H, W) at train timestep t:

    model = load_model("avatars-32")
    network = lambda x, t: model.unet(x[None], t).sample[0]
    picture = sample(network, initial_noise([7], model.shape)[0], model.schedule.levels(20))
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from ddim_app.diffusion.schedule import Level

Predict = Callable[[Tensor, int], Tensor]
"""(x, t) -> eps."""
Draw = Callable[[int, int], Tensor]
"""(t, next t) -> standard normal noise of the picture's shape."""


def sample(network: Predict, x: Tensor, levels: Sequence[Level], eta: float = 0, draw: Draw | None = None) -> Tensor:
    """The picture that x_T becomes on its way down the levels: DDIM (arXiv:2010.02502); with eta = 1 DDPM (arXiv:2006.11239)."""
    for cur, nxt in pairwise(levels):
        a, b = cur.alpha_bar, nxt.alpha_bar
        eps = network(x, cur.t)
        pred_x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)  # Eq. 9
        sigma = eta * math.sqrt((1 - b) / (1 - a) * (1 - a / b))  # Eq. 16
        x = math.sqrt(b) * pred_x0 + math.sqrt(1 - b - sigma**2) * eps  # Eq. 12
        if sigma and draw:
            x = x + sigma * draw(cur.t, nxt.t)
    return x


def sample_2m(network: Predict, x: Tensor, levels: Sequence[Level]) -> Tensor:
    """The same flow as `sample` with eta = 0, to second order: DPM-Solver++ (arXiv:2211.01095), Algorithm 2, in its symbols."""
    h_before, x0_before = math.inf, x
    for cur, nxt in pairwise(levels):
        alpha_s, sigma_s, alpha_t, sigma_t = (math.sqrt(v) for a in (cur.alpha_bar, nxt.alpha_bar) for v in (a, 1 - a))
        x0 = (x - sigma_s * network(x, cur.t)) / alpha_s
        if nxt.is_clean:
            return x0
        h = math.log(alpha_t / sigma_t) - math.log(alpha_s / sigma_s)
        D = x0 + h / h_before / 2 * (x0 - x0_before)
        x = sigma_t / sigma_s * x - alpha_t * math.expm1(-h) * D
        h_before, x0_before = h, x0
    return x


def invert(network: Predict, x: Tensor, levels: Sequence[Level]) -> Tensor:
    """The latent x_T of a picture, nearly: the loop of `sample` with eta = 0 from the clean level up (section 4.3).

    The network is asked at the timestep that the step goes to, in place of the one it has not reached yet.
    """
    for cur, nxt in pairwise(reversed(levels)):
        eps = network(x, nxt.t)
        pred_x0 = (x - math.sqrt(1 - cur.alpha_bar) * eps) / math.sqrt(cur.alpha_bar)
        x = math.sqrt(nxt.alpha_bar) * pred_x0 + math.sqrt(1 - nxt.alpha_bar) * eps
    return x
