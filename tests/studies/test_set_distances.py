"""Distances of sets against their definitions and closed forms, and their errors against what repeated draws spread."""

import numpy as np
import pytest

from ddim_app.studies import set_distances
from ddim_app.studies.set_distances import BLOCKS, frechet_distance, kernel_distance, shares


def normal(seed, count=160, dimensions=6, scale=1.0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, scale, (count, dimensions))


def test_the_kernel_distance_is_its_definition():
    x, y = normal(0, 40), normal(1, 40, mean=0.5)

    def kernel(a, b):
        return (a @ b / 6 + 1) ** 3

    pairs = [(i, j) for i in range(40) for j in range(40)]
    same = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs if i != j) / (40 * 39)
    across = sum(kernel(x[i], y[j]) for i, j in pairs) / 40**2
    assert kernel_distance(x, y).value == pytest.approx(same - 2 * across, rel=1e-12)


def test_leaving_a_block_out_is_the_distance_of_what_is_left():
    x, y = normal(0, 50), normal(1, 50, scale=1.3)
    blocks = np.arange(50) * BLOCKS // 50
    left = np.array([kernel_distance(x[blocks != i], y[blocks != i]).value for i in range(BLOCKS)])
    error = np.sqrt((BLOCKS - 1) / BLOCKS * ((left - left.mean()) ** 2).sum())
    assert kernel_distance(x, y).error == pytest.approx(error, rel=1e-10)


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_sets_of_one_distribution_are_0_apart_in_the_mean(distance):
    found = [distance(normal(2 * i), normal(2 * i + 1)) for i in range(60)]
    values = np.array([each.value for each in found])
    assert abs(values.mean()) < 3 * values.std(ddof=1) / np.sqrt(len(values))
    assert min(values) < 0


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_the_error_is_what_repeated_draws_spread(distance):
    found = [distance(normal(2 * i), normal(2 * i + 1, scale=1.5, mean=0.4)) for i in range(60)]
    spread, told = np.std([each.value for each in found], ddof=1), np.mean([each.error for each in found])
    assert 0.75 < told / spread < 1.4


def test_the_frechet_distance_of_a_stretched_and_shifted_set_is_exact():
    x = normal(0)
    y = 1.5 * x + 0.25
    expected = ((y.mean(0) - x.mean(0)) ** 2).sum() + 0.25 * np.trace(np.cov(x, rowvar=False))
    assert set_distances._frechet(x, y) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_of_normal_sets_is_the_closed_form_without_the_bias():
    exact = 20 * (0.3**2 + 0.5**2)
    found = [frechet_distance(normal(2 * i, 200, 20), normal(2 * i + 1, 200, 20, 1.5, 0.3)) for i in range(20)]
    plain = np.mean([set_distances._frechet(normal(2 * i, 200, 20), normal(2 * i + 1, 200, 20, 1.5, 0.3)) for i in range(20)])
    mean = np.mean([each.value for each in found])
    assert abs(mean - exact) < 4 * found[0].error / np.sqrt(20)
    assert plain - exact > 2 * abs(mean - exact)


def test_shares_of_equal_sets_of_lost_modes_and_of_strangers():
    modes = np.repeat([[0.0] * 6, [30.0] * 6], 80, 0)
    real = modes + normal(0, 160)
    assert shares(real, real) == pytest.approx((1, 1, 1 + 0.2, 1), abs=0.25)
    half = shares(real, normal(1, 160))
    assert half.precision > 0.9
    assert 0.4 < half.recall < 0.55
    assert 0.4 < half.coverage < 0.55
    assert shares(real, normal(2, 160, mean=-100.0)) == (0, 0, 0, 0)
