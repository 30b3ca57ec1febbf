"""diffusers' schedulers in float64, with their noise."""

import torch

from tests import toys
from tests.toys import LINEAR


def in_float64(scheduler, schedule=LINEAR):
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    scheduler.final_alpha_cumprod = scheduler.one = torch.ones((), dtype=torch.float64)
    return scheduler


def ddpm_loop(scheduler, x, generator, predict=toys.network):
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(predict(x, torch.full((len(x),), t)), t, x, generator=generator).prev_sample
    return x


def drawn_by_ddpm(visited, shape, seed, dtype=torch.float64):
    """What DDPMScheduler.step takes from its generator, as a `draw` for each picture of the batch."""
    generator = torch.Generator().manual_seed(seed)
    noise = {t: torch.randn(shape, generator=generator, dtype=dtype) for t in visited if t > 0}
    return [lambda cur, nxt, i=i: noise[cur][i] for i in range(shape[0])]


def close(actual, expected):
    """To 1e-12 of the largest value: unclipped, the toy network's pictures grow far beyond 1."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12 * max(1.0, expected.abs().max().item()))
