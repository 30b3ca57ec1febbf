"""Which terms of a sum over timesteps are evaluated, so that few of them estimate it without bias, and with what error.

A design lists evaluations (timestep, draw) in strata. A stratum of N timesteps with n evaluations gives each the weight N / n,
the inverse of its inclusion probability; the error is estimated from how evaluations of one stratum differ.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

CERTAIN = 51
"""The first timesteps, 0 to 50, are always evaluated: nearly all of the bound is there."""
FIRST_DRAWS = (4, 3, 2, 2)
"""Noise draws of the first timesteps, by far the largest terms and the noisiest."""
LEAST = 60
"""Evaluations of the smallest quick design."""


class Evaluation(NamedTuple):
    """One evaluation of a term."""

    t: int
    draw: int
    """Which of the timestep's noise draws."""
    weight: float
    """What its value is multiplied by in the sum."""
    stratum: int


Design = tuple[Evaluation, ...]
"""Sorted by t."""


def full(T: int, draws: int) -> Design:
    """Every term, each from several draws."""
    return tuple(Evaluation(t, draw, 1 / draws, t) for t in range(T) for draw in range(draws))


def quick(T: int, evaluations: int, key: np.ndarray) -> Design:
    """The first terms with certainty, the others by strata, two timesteps drawn at random in each.

    At most `evaluations` of at least LEAST. Bounds of the strata grow geometrically, since terms fall about as 1 / t. `key` is
    a 128-bit Philox key, whose words alone decide. With T no larger than the budget every term is evaluated.
    """
    words = iter(np.random.Philox(key=key).random_raw(2 * evaluations).tolist())
    draws = [FIRST_DRAWS[t] if t < len(FIRST_DRAWS) else 1 for t in range(min(T, CERTAIN))]
    design = [Evaluation(t, draw, 1 / count, t) for t, count in enumerate(draws) for draw in range(count)]
    left = evaluations - len(design)
    if left >= T - CERTAIN:
        return tuple(design) + tuple(Evaluation(t, 0, 1.0, t) for t in range(CERTAIN, T))
    for low, high in pairwise(_edges(CERTAIN, T, left // 2)):
        design += [Evaluation(t, 0, (high - low) / 2, low) for t in sorted(_two_of(low, high, words))]
    return tuple(design)


def total(design: Design, values: np.ndarray) -> tuple[float, float]:
    """(estimate of the sum over all timesteps, its standard error) from the values of a design's evaluations."""
    weights = np.array([evaluation.weight for evaluation in design])
    variance = 0.0
    alone: dict[int, int] = {}
    for stratum in _strata(design):
        if len(stratum) > 1:
            part = values[stratum]
            variance += (weights[stratum[0]] * len(stratum)) ** 2 * float(part.var(ddof=1)) / len(stratum)
        else:
            alone[design[stratum[0]].t] = stratum[0]
    return float((weights * values).sum()), math.sqrt(variance + _of_single(alone, values))


def means(design: Design, values: np.ndarray) -> dict[int, float]:
    """Mean of each evaluated timestep's draws."""
    by_timestep: dict[int, list[float]] = {}
    for evaluation, value in zip(design, values.tolist(), strict=True):
        by_timestep.setdefault(evaluation.t, []).append(value)
    return {t: sum(draws) / len(draws) for t, draws in by_timestep.items()}


def _of_single(alone: dict[int, int], values: np.ndarray) -> float:
    """Variance of the sum of terms with one draw each, from how they leave the line of their neighbours.

    A term's distance from its neighbours' mean has 3/2 of its variance; the curve's own bend makes it larger, never smaller.
    """
    variance = 0.0
    for t in alone:
        middle = next((m for m in (t, t - 1, t + 1) if {m - 1, m, m + 1} <= alone.keys()), None)
        if middle is not None:
            left, here, right = (values[alone[m]] for m in (middle - 1, middle, middle + 1))
            variance += 2 / 3 * float(here - (left + right) / 2) ** 2
    return variance


def _edges(low: int, high: int, strata: int) -> list[int]:
    """Bounds of up to `strata` geometric intervals of at least two timesteps each."""
    edges = [low]
    for i in range(1, strata + 1):
        edge = round(low * (high / low) ** (i / strata))
        if edge - edges[-1] >= 2:
            edges.append(edge)
    edges[-1] = high
    return edges


def _two_of(low: int, high: int, words: Iterator[int]) -> tuple[int, int]:
    """Two different whole numbers of low..high - 1."""
    count = high - low
    first = next(words) % count
    return low + first, low + (first + 1 + next(words) % (count - 1)) % count


def _strata(design: Design) -> list[list[int]]:
    strata: dict[int, list[int]] = {}
    for i, evaluation in enumerate(design):
        strata.setdefault(evaluation.stratum, []).append(i)
    return list(strata.values())
