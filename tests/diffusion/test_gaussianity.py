"""What is said of a latent."""

import math

import pytest
import torch

from ddim_app.diffusion import gaussianity
from tests import toys

NOISE = toys.pictures(4, (3, 32, 32))


def test_noise_looks_like_noise():
    error = gaussianity.errors(3 * 32 * 32)
    for seen in gaussianity.look(NOISE):
        for value, expected, width in zip(seen, (0, 1, 0, 0, 0), error, strict=True):
            assert abs(value - expected) < 4 * width
        assert seen.verdict.startswith("Looks like noise")


def test_moments_are_those_of_the_values():
    values = torch.tensor([0.0, 0, 0, 1]).repeat(16).view(1, 1, 8, 8)  # a Bernoulli variable, p = 1/4
    seen = gaussianity.look(values)[0]
    assert seen.mean == pytest.approx(0.25)
    assert seen.std == pytest.approx(math.sqrt(3) / 4)
    assert seen.skew == pytest.approx(0.5 / (math.sqrt(3) / 4))
    assert seen.kurtosis == pytest.approx((1 - 6 * 3 / 16) / (3 / 16))


def test_neighbours_of_a_smooth_picture_and_of_a_chessboard():
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    chessboard = ((torch.arange(8)[:, None] + torch.arange(8)) % 2).double()[None, None]
    assert gaussianity.look(ramp)[0].neighbours > 0.9
    assert gaussianity.look(chessboard)[0].neighbours == pytest.approx(-1)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.linspace(-1.7, 1.7, 32).expand(1, 1, 32, 32), "Still looks like the picture"),
        (1.5 * NOISE, r"standard deviation 1\.5"),
        (NOISE**3 / 15**0.5, "not distributed like it"),
        (NOISE * math.inf, "has run away"),
        (torch.zeros(1, 1, 2, 2), r"standard deviation 0\.00"),
    ],
)
def test_verdicts(x, words):
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(gaussianity.look(x)[0].verdict)


def test_cosine():
    other = toys.pictures(4, (3, 32, 32), seed=1)
    assert gaussianity.cosine(NOISE, 3 * NOISE) == pytest.approx([1] * 4)
    assert gaussianity.cosine(NOISE, other) == pytest.approx([0] * 4, abs=0.08)
