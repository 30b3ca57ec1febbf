"""The analytic variance: for data whose residuals are known, the chain keeps the exact marginals, and no variance costs less."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion import elbo, formulas
from ddim_app.diffusion.sampler import Row
from tests import toys
from tests.oracle import Gaussian
from tests.toys import LINEAR, SCHEDULES

DATA = Gaussian(mu=0.3, s=0.5)


def residuals(schedule, data=DATA):
    """V_t = s^2 (1 - ab) / (ab s^2 + 1 - ab): what of x0 is open once x_t is known."""
    ab = schedule.alphas_cumprod
    return (data.s**2 * (1 - ab) / data.variance(ab)).tolist()


def test_the_closed_form_is_the_variance_of_x0_less_its_prediction():
    """By propagating x0 and the noise through the best prediction, which is linear in x_t."""
    for ab, expected in zip(LINEAR.alphas_cumprod.tolist(), residuals(LINEAR), strict=True):
        gain = math.sqrt(ab) * DATA.s**2 / DATA.variance(ab)
        seen = (1 - gain * math.sqrt(ab)) ** 2 * DATA.s**2 + gain**2 * (1 - ab)
        assert seen == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("S", [5, 10, 50])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_chain_keeps_the_exact_variance_at_every_noisy_level(name, S, eta):
    schedule = SCHEDULES[name]
    levels = schedule.levels(S)
    row = Row(levels, eta, "analytic", residuals=residuals(schedule))
    variance = DATA.variance(levels[0].alpha_bar)
    for cur, nxt in itertools.pairwise(levels[:-1]):
        sigma, std = row.noise(cur, nxt)
        variance = DATA.gain(cur.alpha_bar, nxt.alpha_bar, sigma) ** 2 * variance + std**2
        assert variance == pytest.approx(DATA.variance(nxt.alpha_bar), rel=0, abs=1e-12)
    assert row.noise(*levels[-2:]) == (0.0, 0.0)


def test_at_eta_1_between_neighbours_it_is_the_true_reverse_variance():
    point, spread = Gaussian(0.0, 0.0), Gaussian(0.0, 0.3)
    table = elbo.variances(LINEAR)
    torch.testing.assert_close(elbo.analytic(LINEAR, residuals(LINEAR, point)), table["small"], rtol=0, atol=0)
    analytic = elbo.analytic(LINEAR, residuals(LINEAR, spread))
    row = Row(LINEAR.levels(1000), 1.0, "analytic", residuals=residuals(LINEAR, spread))
    for t in (1, 2, 10, 500, 999):
        cur, nxt = LINEAR.level(t), LINEAR.level(t - 1)
        true = elbo.true_reverse_variance(cur.alpha_bar, nxt.alpha_bar, 0.3)
        assert float(analytic[t]) == pytest.approx(true, rel=1e-12)
        assert row.noise(cur, nxt)[1] ** 2 == pytest.approx(true, rel=1e-12)
        assert table["small"][t] < analytic[t] < table["large"][t]


def test_ddim_with_it_adds_noise_at_eta_0_unless_nothing_is_open():
    x, levels = toys.pictures(1), LINEAR.levels(4)
    known = Row(levels, 0.0, "analytic", residuals=[0.0] * 1000)
    assert torch.equal(toys.final(x, [known]), toys.final(x, [Row(levels)]))
    asked = []

    def draw(cur, nxt):
        asked.append((cur, nxt))
        return torch.ones(1, 2, 2)

    open_row = Row(levels, 0.0, "analytic", draw=draw, residuals=residuals(LINEAR))
    steps, plain = toys.run(x, [open_row]), toys.run(x, [Row(levels)])
    assert asked == [(999, 749), (749, 499), (499, 249)]
    std = formulas.analytic_std(levels[0].alpha_bar, levels[1].alpha_bar, 0.0, residuals(LINEAR)[999])
    torch.testing.assert_close(steps[0].x_next - plain[0].x_next, torch.full_like(x, std), rtol=0, atol=1e-12)
    assert open_row.adds_noise
    assert not Row(levels).adds_noise


@given(st.integers(1, 999), st.lists(st.floats(1e-9, 1), min_size=1, max_size=8), st.floats(0.2, 5))
def test_no_other_variance_costs_less_in_the_mean(t, distances, times):
    """The mean of KL(q(x_{t-1} | x_t, x0) || p) over pictures that a prediction misses by these mean squares."""
    small = elbo.variances(LINEAR)["small"][t]
    mean = sum(distances) / len(distances)
    analytic = elbo.analytic(LINEAR, [mean] * 1000)[t]
    of_x0 = math.sqrt(float(elbo.analytic(LINEAR, [1.0] * 1000)[t] - small))
    apart = of_x0 * torch.tensor(distances, dtype=torch.float64).sqrt().view(-1, 1, 1, 1)

    def cost(variance):
        return float(elbo.gaussian_kl(apart, small.expand(len(distances)), torch.as_tensor(variance).expand(len(distances))).mean())

    assert cost(analytic) <= min(cost(small), cost(elbo.variances(LINEAR)["large"][t]), cost(times * analytic)) + 1e-12
