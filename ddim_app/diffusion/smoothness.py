"""How smoothly pictures follow one another: the distance of neighbours along a path, and how even the steps are."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ddim_app.diffusion import metrics


class Smoothness(NamedTuple):
    """Distances of the neighbouring frames of one strip."""

    rmse: list[float]
    """Root mean squared error of each pair in levels of 8 bits, 0 to 255."""
    ssim: list[float]
    """Structural similarity of each pair; 1 for equal pictures."""

    @property
    def mean(self) -> float:
        """Mean distance of neighbours in levels; the smaller the smoother for the same ends."""
        return sum(self.rmse) / len(self.rmse)

    @property
    def largest(self) -> float:
        """The largest jump in levels."""
        return max(self.rmse)


def rmse(a: Tensor, b: Tensor) -> Tensor:
    """Root mean squared error per picture in levels of 8 bits, float64 (N,), from (N, C, H, W); outside [-1, 1] is cut off."""
    return 255 * metrics.mse(a.clamp(-1, 1), b.clamp(-1, 1)).sqrt()


def smoothness(pictures: Tensor, pairs: Sequence[tuple[int, int]]) -> Smoothness:
    """Of (N, C, H, W) in [-1, 1]; `pairs` say which are neighbours."""
    first, second = (pictures[[pair[side] for pair in pairs]].clamp(-1, 1) for side in (0, 1))
    return Smoothness(rmse(first, second).tolist(), metrics.ssim(first, second).tolist())
