"""How far two pictures are apart, and how smoothly pictures follow one another along a path."""

from collections.abc import Sequence
from typing import NamedTuple

from ddim_app.lazy import Tensor, torch


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per picture on the [0, 1] scale, float64 (N,), from (N, C, H, W) in [-1, 1]."""
    return ((a.double() - b.double()) / 2).pow(2).flatten(1).mean(1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per picture in dB, float64 (N,): -10 log10(mse), infinite for equal pictures."""
    return -10 * mse(a, b).log10()


def ssim(a: Tensor, b: Tensor, window: int = 7) -> Tensor:
    """Structural similarity per picture (Wang et al. 2004, Eq. 13), float64 (N,), from (N, C, H, W) in [-1, 1].

    Uniform window, data range 1 after scaling to [0, 1], sample covariances, mean over the windows that lie inside: the
    convention of scikit-image. `window` is cut down for pictures smaller than it.
    """
    a, b = a.double() / 2 + 0.5, b.double() / 2 + 0.5
    size = min(window, *a.shape[-2:])
    bessel = size**2 / max(size**2 - 1, 1)

    def mean(x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, size, stride=1)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = bessel * (mean(a * a) - mean_a**2), bessel * (mean(b * b) - mean_b**2)
    covariance = bessel * (mean(a * b) - mean_a * mean_b)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return torch.flatten(luminance * structure, 1).mean(1)


class Smoothness(NamedTuple):
    """Distances of the neighbouring frames of one path."""

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
    return 255 * mse(a.clamp(-1, 1), b.clamp(-1, 1)).sqrt()


def patch_rmse(a: Tensor, b: Tensor, size: int = 4) -> Tensor:
    """The largest root mean squared error of a size x size patch of each picture, over its channels, as `rmse` has it.

    An eye of ten wrong pixels hardly moves the error of a whole picture, and is all that one sees.
    """
    squared = ((a.clamp(-1, 1).double() - b.clamp(-1, 1).double()) * 127.5).pow(2).mean(1, keepdim=True)
    return torch.nn.functional.avg_pool2d(squared, min(size, *a.shape[-2:]), stride=1).flatten(1).amax(1).sqrt()


SAME, SAME_PATCH = 5.0, 15.0
"""RMSE of 255 under which two pictures, and every 4 x 4 patch of them, count as the same by eye."""


def settled(distances: Sequence[float], patches: Sequence[float]) -> int | None:
    """The first place from which on all distances, of pictures and of their worst patches, are those of the same picture.

    >>> settled([23.8, 13.5, 6.9, 3.4, 0.9], [60, 40, 22, 11, 4])
    3
    """
    apart = [i for i, (whole, patch) in enumerate(zip(distances, patches, strict=True)) if whole >= SAME or patch >= SAME_PATCH]
    first = apart[-1] + 1 if apart else 0
    return first if first < len(distances) else None


def smoothness(pictures: Tensor, pairs: Sequence[tuple[int, int]]) -> Smoothness:
    """The smoothness of pictures (N, C, H, W) in [-1, 1]; `pairs` say which of them are neighbours."""
    first, second = (pictures[[pair[side] for pair in pairs]].clamp(-1, 1) for side in (0, 1))
    return Smoothness(rmse(first, second).tolist(), ssim(first, second).tolist())
