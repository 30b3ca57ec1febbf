"""The forward processes: equal marginals at every level, whatever their paths, by algebra and by moments of many draws."""

import math
from itertools import pairwise

import pytest
import torch

from ddim_app.diffusion import forward
from tests.oracle import sigma_of_eta
from tests.toys import LINEAR, SCHEDULES

COUNT = 20_000
TIMES = (0, 50, 300, 600, 999)
ETAS = (0.0, 0.5, 1.0)
X0 = 0.7


def normal(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(COUNT, generator=generator, dtype=torch.float64)


def assert_marginal(x, ab):
    """Mean and variance of many draws of one pixel within 4 standard errors of q(x_t | x_0)."""
    seen = forward.moments(x)
    assert abs(seen.mean - math.sqrt(ab) * X0) <= 4 * seen.mean_error
    assert abs(seen.variance - (1 - ab)) <= 4 * seen.variance_error


def test_the_markov_chain_has_the_marginals_of_the_closed_form():
    draw, x0 = normal(1), torch.full((COUNT,), X0, dtype=torch.float64)
    x, b = x0, 1.0
    for t, a in enumerate(LINEAR.alphas_cumprod.tolist()):
        x = forward.markov(b, a).sample(x, x0, draw())
        b = a
        if t in TIMES:
            assert_marginal(x, a)
            assert_marginal(forward.closed_form(a).sample(x, x0, draw()), a)


@pytest.mark.parametrize("eta", ETAS)
def test_ddims_process_has_the_same_marginals_at_every_eta(eta):
    draw, x0 = normal(2), torch.full((COUNT,), X0, dtype=torch.float64)
    levels = [LINEAR.level(t).alpha_bar for t in TIMES[::-1]]
    x = forward.closed_form(levels[0]).sample(x0, x0, draw())
    assert_marginal(x, levels[0])
    for a, b in pairwise(levels):
        x = forward.downwards(a, b, eta).sample(x, x0, draw())
        assert_marginal(x, b)


@pytest.mark.parametrize("eta", [*ETAS, 1.7])
@pytest.mark.parametrize("name", ["linear", "cosine", "short"])
def test_one_step_keeps_the_marginal_exactly(name, eta):
    """The induction of DDIM's Lemma 1, for all neighbours of a schedule."""
    for a, b in pairwise(reversed(SCHEDULES[name].alphas_cumprod.tolist())):
        step = forward.downwards(a, b, eta)
        assert step.of_x * math.sqrt(a) + step.of_x0 == pytest.approx(math.sqrt(b), rel=1e-12)
        assert step.of_x**2 * (1 - a) + step.variance == pytest.approx(1 - b, rel=1e-9)
        assert step.variance == pytest.approx(sigma_of_eta(a, b, eta) ** 2, rel=1e-12)


@pytest.mark.parametrize("eta", ETAS)
def test_the_forward_transition_is_that_of_the_joint_distribution(eta):
    """Bayes' rule by brute force: both factorings of q(x_t, x_{t-1} | x_0) have one density."""
    points = torch.linspace(-2, 2, 7, dtype=torch.float64)
    x_t, x_next = points.view(-1, 1), points.view(1, -1)
    for t, t_next in ((999, 998), (400, 300), (1, 0)):
        a, b = LINEAR.level(t).alpha_bar, LINEAR.level(t_next).alpha_bar
        down, up = forward.downwards(a, b, eta), forward.upwards(b, a, eta)
        if eta == 0:  # no density: each is the other's inverse
            back = up.mean(down.mean(x_t, X0), X0)
            torch.testing.assert_close(back, x_t, rtol=1e-9, atol=1e-9)
            continue
        one = log_density(x_t, math.sqrt(a) * X0, 1 - a) + log_density(x_next, down.mean(x_t, X0), down.variance)
        other = log_density(x_next, math.sqrt(b) * X0, 1 - b) + log_density(x_t, up.mean(x_next, X0), up.variance)
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-7)


def log_density(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(math.tau * variance))


def test_only_at_eta_1_is_the_forward_process_markovian():
    a, b = LINEAR.level(500).alpha_bar, LINEAR.level(499).alpha_bar
    assert [abs(forward.upwards(b, a, eta).of_x0) > 1e-4 for eta in ETAS] == [True, True, False]
    up, chain = forward.upwards(b, a, 1.0), forward.markov(b, a)
    assert up.of_x0 == pytest.approx(0, abs=1e-12)
    assert (up.of_x, up.variance) == pytest.approx((chain.of_x, chain.variance), rel=1e-9)


def test_moments_tell_their_errors():
    seen = forward.moments(torch.tensor([1.0, 3.0, 5.0]))
    assert seen == pytest.approx((3.0, math.sqrt(4 / 3), 4.0, 4.0))
