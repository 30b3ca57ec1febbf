"""How far apart two equally large sets of features are: kernel distance, Frechet distance, precision and recall."""

from typing import NamedTuple

import numpy as np

BLOCKS = 16
"""Equal parts of both sets; the error of a distance comes from leaving one after the other out."""
NEIGHBOURS = 5


class DistanceEstimate(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.error:.4f}"


class Shares(NamedTuple):
    """Naeem et al. (arXiv:2002.09797), each a share of a set."""

    precision: float
    """Of the pictures, those inside the neighbourhood of a picture of the reference."""
    recall: float
    """Of the reference, those inside the neighbourhood of a picture."""
    density: float
    """Neighbourhoods of the reference that a picture lies in, of NEIGHBOURS; may be above 1."""
    coverage: float
    """Of the reference, those with a picture in their neighbourhood."""


def kernel_distance(x: np.ndarray, y: np.ndarray) -> DistanceEstimate:
    """Squared maximum mean discrepancy of (N, D) and (N, D) under the kernel (x . y / D + 1)^3, without bias, as in KID's
    definition (arXiv:1801.01401); around 0 for two sets of one distribution, and sometimes below it. The error is that of the
    jackknife over BLOCKS."""
    dimensions = x.shape[1]

    def sums(a: np.ndarray, b: np.ndarray, same: bool) -> np.ndarray:
        kernel = (a @ b.T / dimensions + 1) ** 3
        if same:
            np.fill_diagonal(kernel, 0)
        return _block_sums(kernel)

    xx, yy, xy = sums(x, x, True), sums(y, y, True), sums(x, y, False)
    sizes = np.bincount(_blocks(len(x)), minlength=BLOCKS)

    def distance(kept: np.ndarray) -> float:
        n = int(sizes[kept].sum())
        inside = np.ix_(kept, kept)
        return float((xx[inside].sum() + yy[inside].sum()) / (n * (n - 1)) - 2 * xy[inside].sum() / n**2)

    whole = np.arange(BLOCKS)
    left_out = np.array([distance(np.delete(whole, i)) for i in whole])
    return DistanceEstimate(distance(whole), _error(left_out))


def frechet_distance(x: np.ndarray, y: np.ndarray) -> DistanceEstimate:
    """|m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) of the means and covariances of (N, D) and (N, D).

    Its bias, of order 1 / N, is taken off by the jackknife over BLOCKS, which also gives the error; two sets of one distribution
    are around 0 apart, and sometimes below it.
    """
    blocks = _blocks(len(x))
    whole = _frechet(x, y)
    left_out = np.array([_frechet(x[blocks != i], y[blocks != i]) for i in range(BLOCKS)])
    return DistanceEstimate(BLOCKS * whole - (BLOCKS - 1) * float(left_out.mean()), _error(left_out))


def shares(reference: np.ndarray, pictures: np.ndarray) -> Shares:
    """Precision, recall, density and coverage of `pictures` (N, D) by the NEIGHBOURS-th neighbours within each set."""
    real, made = _radii(reference), _radii(pictures)
    apart = _distances(reference, pictures)
    inside = apart < real[:, None]
    return Shares(
        float(inside.any(0).mean()),
        float((apart < made[None]).any(1).mean()),
        float(inside.sum(0).mean() / NEIGHBOURS),
        float((apart.min(1) < real).mean()),
    )


def _frechet(x: np.ndarray, y: np.ndarray) -> float:
    difference = x.mean(0) - y.mean(0)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(np.atleast_2d(a))
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ np.atleast_2d(b) @ root).clip(0)).sum()
    return float(difference @ difference + np.trace(np.atleast_2d(a)) + np.trace(np.atleast_2d(b)) - 2 * cross)


def _blocks(count: int) -> np.ndarray:
    """The block of each of `count` pictures."""
    return np.arange(count) * BLOCKS // count


def _block_sums(kernel: np.ndarray) -> np.ndarray:
    """(BLOCKS, BLOCKS): sums of the parts of a square matrix."""
    starts = np.searchsorted(_blocks(len(kernel)), np.arange(BLOCKS))
    return np.asarray(np.add.reduceat(np.add.reduceat(kernel, starts, 0), starts, 1))


def _error(left_out: np.ndarray) -> float:
    """Standard error of the jackknife, from the values with one block left out each."""
    return float(np.sqrt((BLOCKS - 1) / BLOCKS * ((left_out - left_out.mean()) ** 2).sum()))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.asarray(np.sqrt(squared.clip(0)))


def _radii(values: np.ndarray) -> np.ndarray:
    """The distance of each row to its NEIGHBOURS-th neighbour."""
    return np.asarray(np.partition(_distances(values, values), NEIGHBOURS, axis=1)[:, NEIGHBOURS])
