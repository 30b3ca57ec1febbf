"""What sets of pictures are compared by: statistics of a random convolutional network, which needs no download and no training.

The network has orthogonal weights of a fixed seed. Of every channel of every layer there are the mean, the deviation and the mean
absolute horizontal difference over the positions: without the last two, and with the last layer alone, weak noise is not seen at
all. How it was chosen, and its limits: docs/quality.md. Random features evaluate about as trained ones (arXiv:2208.09218).
"""

from dataclasses import dataclass

import numpy as np

from ddim_app.lazy import Tensor, torch
from ddim_app.media.images import Pixels, from_pixels

CHANNELS, STRIDES, SEED = (32, 64, 128, 128), (1, 2, 2, 2), 0
SMALLEST_SIDE = 16
"""Of a picture: its last layer still has neighbours."""
ROWS_PER_CALL = 64
DIMENSIONS = 128
"""The most that a Frechet distance has."""


def weights(channels: int) -> list[Tensor]:
    """The convolutions' weights (out, in, 3, 3) for pictures of 1 or 3 channels, orthogonal and scaled for the ReLU after them."""
    generator = torch.Generator().manual_seed(SEED)
    made = []
    for before, after in zip((channels, *CHANNELS), CHANNELS, strict=False):
        weight = torch.empty(after, before, 3, 3)
        made.append(torch.nn.init.orthogonal_(weight, gain=2**0.5, generator=generator))
    return made


def features(pixels: Pixels) -> np.ndarray:
    """float64 (N, 3 x 352): the statistics of uint8 pictures (N, H, W, 1 or 3)."""
    layers = weights(pixels.shape[-1])
    with torch.inference_mode():
        parts = [_statistics(from_pixels(pixels[i : i + ROWS_PER_CALL]), layers) for i in range(0, len(pixels), ROWS_PER_CALL)]
    return torch.cat(parts).double().numpy()


def _statistics(x: Tensor, layers: list[Tensor]) -> Tensor:
    found, functional = [], torch.nn.functional
    for weight, stride in zip(layers, STRIDES, strict=True):
        x = functional.relu(functional.conv2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), weight, stride=stride))
        found += [x.mean((2, 3)), x.std((2, 3), correction=0), (x[..., 1:] - x[..., :-1]).abs().mean((2, 3))]
    return torch.cat(found, 1)


@dataclass(frozen=True)
class FeatureSpace:
    """Features standardised by the pictures that decide the space, and the principal components of those.

    They should be others than those that are compared in it, which it would fit better than any others: with 192 real pictures
    against as many the precision was 0.98 and the recall 0.90 in the space of the first, 0.96 and 0.97 in that of a third set.
    """

    mean: np.ndarray
    deviation: np.ndarray
    components: np.ndarray
    """(features, at most DIMENSIONS): orthonormal columns."""

    @classmethod
    def of(cls, deciding: np.ndarray, most: int = DIMENSIONS) -> "FeatureSpace":
        """The space of features (N, D), with at most `most` components. A feature that hardly varies is not magnified without
        bound: a single picture could then be all of a distance."""
        deviation, mean = deciding.std(0), deciding.mean(0)
        deviation = np.maximum(deviation, 0.1 * np.median(deviation)) + 1e-12
        _, _, axes = np.linalg.svd((deciding - mean) / deviation, full_matrices=False)
        return cls(mean, deviation, axes[: min(DIMENSIONS, most)].T)

    def standardised(self, values: np.ndarray) -> np.ndarray:
        """Features (N, D) with mean 0 and deviation 1 over the deciding pictures."""
        return np.asarray((values - self.mean) / self.deviation)

    def projected(self, values: np.ndarray) -> np.ndarray:
        """Features (N, D) as their principal components (N, at most DIMENSIONS)."""
        return np.asarray(self.standardised(values) @ self.components)
