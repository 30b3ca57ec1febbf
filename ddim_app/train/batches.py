"""The batch of a step: pictures, timesteps and noise as functions of (seed, step, index in the global batch)."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddim_app import backends
from ddim_app.diffusion.noise import Shape, keyed_noise
from ddim_app.media.images import from_pixels
from ddim_app.train import keyed_random


class Batch(NamedTuple):
    """Rows first..first + n - 1 of a step's global batch."""

    step: int
    first: int
    x0: Tensor
    """float32 (n, C, H, W) in [-1, 1]."""
    t: Tensor
    """int64 (n,)."""
    noise: Tensor
    """float32 (n, C, H, W), standard normal."""
    y: Tensor | None = None
    """int64 (n,): their classes, where these are learned."""


@dataclass(frozen=True, eq=False)
class Batches:
    """Makes any part of any step's batch, in any order and any number of times."""

    pixels: np.ndarray
    """uint8 (N, side, side, channels) with side >= the height and width of `shape`; the rest is for random crops."""
    chosen: np.ndarray
    """Which of them are trained on."""
    shape: Shape
    num_train_timesteps: int
    global_batch: int
    seed: int
    mirror: bool = False
    shift: int = 0
    """Pixels by which a picture is moved at most, its edges repeated."""
    edges: np.ndarray | None = None
    """float64 (T + 1,): timestep t is drawn for u in edges[t] <= u < edges[t + 1]; None where all are equally likely."""
    labels: Tensor | None = None
    """int64 (N,): the class of each of `pixels`, where classes are learned."""
    class_dropout: float = 0.0
    """The part of the rows that are of the class `null` instead."""
    null: int = 0

    def rows(self, step: int, first: int, count: int) -> Batch:
        draws = [keyed_random.words(keyed_random.key(keyed_random.CHOICE, self.seed, step), first + i, 5) for i in range(count)]
        chosen = [self._chosen(step, first + i) for i in range(count)]
        x0 = np.stack([self._picture(self.pixels[i], draw) for i, draw in zip(chosen, draws, strict=True)])
        noise_key = keyed_random.key(keyed_random.NOISE, self.seed, step)
        noise = torch.stack([keyed_noise(noise_key, first + i, self.shape) for i in range(count)])
        t = torch.tensor([self._timestep(first + i, draw[0]) for i, draw in enumerate(draws)])
        y = None if self.labels is None else torch.where(self._dropped(draws), self.null, self.labels[chosen])
        # The network keeps the order in memory that its input has, and its norms on a CPU are twice as fast in this one.
        return Batch(step, first, from_pixels(x0).contiguous(), t, noise, y)

    def _dropped(self, draws: list[np.ndarray]) -> Tensor:
        """Which rows are shown without their class."""
        return torch.tensor([int(draw[4]) < self.class_dropout * 2**64 for draw in draws])

    def _timestep(self, index: int, word: int) -> int:
        """The timestep of u in [0, 1), spread evenly over a step's batch: row i of B draws u from the i-th of B equal parts.

        The gradient stays unbiased and varies less than with independent draws (as in arXiv:2107.00630, I.1).
        """
        T, B = self.num_train_timesteps, self.global_batch
        position, whole = (index << 64) + int(word), B << 64
        if self.edges is None:
            return T * position // whole
        return int(np.searchsorted(self.edges[1:-1], position / whole, side="right"))

    def _chosen(self, step: int, index: int) -> int:
        """The place in `pixels` of a row's picture: every one once per epoch, each epoch in an order of its own."""
        epoch, position = divmod(step * self.global_batch + index, len(self.chosen))
        return int(self.chosen[self._order(epoch)[position]])

    def _picture(self, picture: np.ndarray, draw: np.ndarray) -> np.ndarray:
        _, height, width = self.shape
        if self.shift:
            picture = np.pad(picture, ((self.shift, self.shift), (self.shift, self.shift), (0, 0)), "edge")
        top = keyed_random.below(draw[1], picture.shape[0] - height + 1)
        left = keyed_random.below(draw[2], picture.shape[1] - width + 1)
        part = picture[top : top + height, left : left + width]
        mirrored: np.ndarray = part[:, ::-1]
        return mirrored if self.mirror and keyed_random.below(draw[3], 2) else part

    def _order(self, epoch: int) -> np.ndarray:
        return _order(len(self.chosen), self.seed, epoch)


def cosine_edges(alphas_cumprod: Tensor) -> np.ndarray:
    """float64 (T + 1,), 0 to 1: how the timesteps of a schedule share the cosine schedule's density of log-SNR.

    On alpha_bar = cos^2(pi u / 2) with u uniform, a level alpha_bar lies at u = (2 / pi) arctan sqrt((1 - alpha_bar) / alpha_bar)
    (arXiv:2102.09672, Eq. 17, without its offset). A timestep has the part of [0, 1] that is nearer to its own u than to those
    of its neighbours, so levels that the schedule visits often, but the cosine schedule seldom, are drawn seldom.
    """
    alpha_bar = alphas_cumprod.double().numpy()
    u = 2 / np.pi * np.arctan2(np.sqrt(1 - alpha_bar), np.sqrt(alpha_bar))
    return np.concatenate(([0.0], (u[1:] + u[:-1]) / 2, [1.0]))


@lru_cache(4)
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    return keyed_random.permutation(n, seed, epoch)


class BatchesAhead:
    """Makes the batches of the coming steps on threads, so that the loop finds them ready."""

    def __init__(self, make: Callable[[int], list[Batch]], steps: Iterator[int], threads: int) -> None:
        self._make, self._coming = make, steps
        self._pool = ThreadPoolExecutor(threads, "batches", backends.spare_cores)
        self._ready: deque[Future[list[Batch]]] = deque()
        self.waited = 0.0
        """Seconds for which `next` had to wait."""
        for _ in range(threads + 1):
            self._order_next()

    def next(self) -> list[Batch]:
        """The batches of the next step."""
        started = time.perf_counter()
        batches = self._ready.popleft().result()
        self.waited += time.perf_counter() - started
        self._order_next()
        return batches

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _order_next(self) -> None:
        self._ready.append(self._pool.submit(self._make, next(self._coming)))
