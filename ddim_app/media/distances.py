"""How far two 8-bit pictures are apart, as `diffusion.metrics` has it for tensors: without torch, which no page waits for."""

import numpy as np

from ddim_app.media.images import Pixels


def rmse(a: Pixels, b: Pixels) -> np.ndarray:
    """Root mean squared error per picture in levels, float64 (...), from uint8 (..., H, W, C)."""
    return np.asarray(np.sqrt(_squared(a, b).mean((-3, -2, -1))))


def patch_rmse(a: Pixels, b: Pixels, size: int = 4) -> np.ndarray:
    """The largest root mean squared error of a size x size patch of each picture, over its channels."""
    squared = _squared(a, b).mean(-1)
    sides = min(size, squared.shape[-2]), min(size, squared.shape[-1])
    patches = np.lib.stride_tricks.sliding_window_view(squared, sides, axis=(-2, -1))
    return np.asarray(np.sqrt(patches.mean((-2, -1)).max((-2, -1))))


def _squared(a: Pixels, b: Pixels) -> np.ndarray:
    return np.asarray(np.square(a.astype(np.float64) - b))
