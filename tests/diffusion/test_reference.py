"""The samplers for one picture, as the papers write them, make what the row sampler makes."""

import pytest
import torch

from ddim_app.diffusion.naive_inversion import AskedNetwork, naive
from ddim_app.diffusion.reference import invert, sample
from ddim_app.diffusion.sampler import Row, drive
from tests import toys
from tests.toys import LINEAR

LEVELS = LINEAR.levels(12)


def one_by_one(x, t):
    return toys.network(x[None], torch.tensor([t]))[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_ddim_is_the_row_samplers(dtype, tolerance):
    x = toys.pictures(3).to(dtype)
    ours = torch.stack([sample(one_by_one, picture, LEVELS) for picture in x])
    torch.testing.assert_close(ours, toys.final(x, [Row(LEVELS)] * 3), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddpm_and_what_lies_between_are_the_row_samplers(eta):
    x, draw = toys.pictures(1), toys.keyed_draw(5)
    ours = sample(one_by_one, x[0], LEVELS, eta, draw)
    torch.testing.assert_close(ours, toys.final(x, [Row(LEVELS, eta, draw=draw)])[0], rtol=0, atol=1e-13)


def test_inversion_is_the_naive_one():
    x = toys.pictures(1)
    *_, last = drive(naive(x, LEVELS, AskedNetwork(LINEAR.level(0))), toys.network)
    assert torch.equal(invert(one_by_one, x[0], LEVELS), last.x[0])
