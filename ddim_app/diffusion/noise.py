"""Noise per seed: x_T, and the noise path that the stochastic samplers of one seed follow at any step count.

Both are contracts: a seed names the same picture for ever, alone or in a batch, on every device. So everything is drawn on
the CPU, one picture at a time, in float32, whatever precision the sampler then works in.
"""

import math
from collections.abc import Sequence

import numpy as np

from ddim_app.diffusion.schedule import Schedule
from ddim_app.lazy import Tensor, torch

Shape = tuple[int, int, int]
MAX_SEED = 2**32 - 1

STEP_NOISE, FORWARD_NOISE = 0xDD1A, 0xF03D
"""Third word of a noise's key, so that different kinds of noise can be keyed by the same two numbers."""


def picture_seed(seed: int, i: int) -> int:
    """Seed of picture i of a run: (seed + i) mod 2^32."""
    return (seed + i) % (MAX_SEED + 1)


def initial_noise(seeds: Sequence[int], shape: Shape) -> Tensor:
    """x_T for each seed, float32 of shape (N, C, H, W): what diffusers draws from a list of CPU generators.

    Only the low 32 bits of a seed reach torch's generator, hence the range 0..2^32 - 1.
    """
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def noise_key(noise_seed: int, branch: int = 0, kind: int = STEP_NOISE) -> np.ndarray:
    """128-bit Philox key of a noise seed and its branch, mixed by SeedSequence so that neighbours have nothing in common."""
    return np.random.SeedSequence([noise_seed, branch, kind]).generate_state(2, np.uint64)


def keyed_noise(key: np.ndarray, t: int, shape: Shape) -> Tensor:
    """Standard normal float32 of `shape` that belongs to (key, t) alone.

    Philox4x64 with t in the top word of its counter, so no two t share a block; the 32-bit halves of each word go through
    Box and Muller's transform in float64. NumPy guarantees the bits of key and words for ever, but not those of its own
    normal generator, which is therefore not used.
    """
    count = math.prod(shape)
    words = np.random.Philox(key=key, counter=[0, 0, 0, t]).random_raw((count + 1) // 2)
    radius = torch.from_numpy(np.sqrt(np.log(((words >> 32) + 1.0) * 2.0**-32) * -2))
    angle = torch.from_numpy((words & 0xFFFFFFFF) * (math.tau * 2.0**-32))
    return torch.cat((angle.cos().mul_(radius), angle.sin().mul_(radius)))[:count].float().view(shape)


class BrownianPath:
    """Draws the step noise of one picture, as a Brownian motion in signal-to-noise time, SNR = alpha_bar / (1 - alpha_bar).

    `between(cur, nxt)` is the path's increment from train timestep cur down to nxt, divided by its standard deviation:
    N(0, I). With w_t = between(t, t - 1), all independent, it equals sum_{t = nxt+1..cur} c_t w_t where
    c_t^2 = (SNR_{t-1} - SNR_t) / (SNR_nxt - SNR_cur). That is exactly how DDPM's posterior noises of the fine steps add up
    in one coarse step while pred_x0 stays the same, so runs with different step lists see one noise.

    The path is drawn by bisection: its end at t = 0 from keyed_noise(.., 0), then each interval's middle from
    keyed_noise(.., middle), conditioned on the interval's ends (Levy's construction). So S transitions cost about
    S (2 + log2(T / S)) draws rather than T, and in any order the same values come out. Sums are float64.
    """

    def __init__(self, schedule: Schedule, shape: Shape, noise_seed: int, branch: int = 0) -> None:
        self._snr = schedule.snr
        self._shape, self._key = shape, noise_key(noise_seed, branch)
        last = len(self._snr) - 1
        end = math.sqrt(self._snr[0] - self._snr[last]) * self._draw(0)
        # Intervals from the whole path down to the one last visited: (low t, high t, path at low, path at high).
        self._intervals = [(0, last, end, torch.zeros_like(end))]

    def between(self, cur: int, nxt: int) -> Tensor:
        """Standard normal float64 (C, H, W) for the transition from train timestep cur down to nxt < cur."""
        start, end = self._at(cur), self._at(nxt)
        return (end - start) / math.sqrt(self._snr[nxt] - self._snr[cur])

    def _draw(self, t: int) -> Tensor:
        return keyed_noise(self._key, t, self._shape).double()

    def _at(self, t: int) -> Tensor:
        """The path's value at train timestep t; it is 0 at T - 1."""
        while not self._intervals[-1][0] <= t <= self._intervals[-1][1]:
            self._intervals.pop()
        low, high, at_low, at_high = self._intervals[-1]
        while low < t < high:
            middle = (low + high) // 2
            at_middle = self._bridge(low, middle, high, at_low, at_high)
            if t <= middle:
                high, at_high = middle, at_middle
            else:
                low, at_low = middle, at_middle
            self._intervals.append((low, high, at_low, at_high))
        return at_low if t == low else at_high

    def _bridge(self, low: int, middle: int, high: int, at_low: Tensor, at_high: Tensor) -> Tensor:
        """The path at `middle` given both ends: mean linear in SNR, variance that of a Brownian bridge."""
        before, after = self._snr[middle] - self._snr[high], self._snr[low] - self._snr[middle]
        span = before + after
        mean = torch.lerp(at_high, at_low, before / span)
        return mean.add_(self._draw(middle), alpha=math.sqrt(before * after / span))
