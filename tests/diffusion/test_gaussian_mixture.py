"""The exact network of a mixture of Gaussians: what samplers make of it, held against SciPy and the mixture's own moments."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ddim_app.diffusion.gaussian_mixture import Mixture
from ddim_app.diffusion.noise import BrownianPath, initial_noise
from ddim_app.diffusion.sampler import Row, drive, sample
from ddim_app.diffusion.schedule import Level
from tests.toys import LINEAR

ROUND = Mixture.round(torch.tensor([[-1.5, 0.85], [1.5, 0.65], [0.0, -1.45]]), 0.14)
OBLIQUE = Mixture(
    torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
    torch.tensor([[-1.0, 0.5], [1.2, 0.4], [0.1, -1.3]], dtype=torch.float64),
    torch.tensor([[[0.09, 0.03], [0.03, 0.04]], [[0.02, 0.0], [0.0, 0.08]], [[0.05, -0.02], [-0.02, 0.03]]], dtype=torch.float64),
)


def ends(mixture, x, row, network=None):
    *_, last = drive(sample(x, [row]), network or mixture.network(LINEAR))
    return last.x_next


@pytest.mark.parametrize("mixture", [ROUND, OBLIQUE])
def test_eps_is_the_gradient_of_the_density(mixture):
    x = (2 * torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).requires_grad_()
    level = torch.tensor([0.02, 0.5, 0.99], dtype=torch.float64)
    log_density = mixture.at(level).log_density(x)
    (score,) = torch.autograd.grad(log_density.sum(), x)
    torch.testing.assert_close(mixture.eps(x, level), -(1 - level).sqrt().view(-1, 1, 1, 1) * score, rtol=1e-9, atol=1e-9)


def test_the_density_is_the_mixtures_own_and_its_draws_have_its_moments():
    grid = torch.linspace(-4, 4, 401, dtype=torch.float64)
    x = torch.stack(torch.meshgrid(grid, grid, indexing="xy"))[None]
    assert float(OBLIQUE.at(torch.tensor([1.0])).log_density(x).exp().sum()) * 0.02**2 == pytest.approx(1, abs=1e-6)
    drawn = OBLIQUE.draw(40_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(1), OBLIQUE.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(drawn), OBLIQUE.covariance, rtol=0, atol=0.04)


def exact_ends(mixture, x, first):
    """The probability flow, d(x / sqrt(ab)) = eps d(sqrt(1 - ab) / sqrt(ab)) (DDIM Eq. 14), from alpha_bar `first` to 1."""

    def slope(sigma, state):
        ab = 1 / (1 + sigma**2)
        point = torch.from_numpy(state.reshape(x.shape)) * math.sqrt(ab)
        return mixture.eps(point, torch.tensor([ab], dtype=torch.float64)).numpy().ravel()

    begin = math.sqrt((1 - first) / first)
    solved = solve_ivp(slope, (begin, 0.0), (x / math.sqrt(first)).numpy().ravel(), method="DOP853", rtol=1e-8, atol=1e-8)
    assert solved.success
    return torch.from_numpy(solved.y[:, -1]).view(x.shape)


def test_ddim_converges_to_the_flow_at_order_one():
    x = initial_noise([3], (2, 2, 4)).double()
    first = 0.01
    exact = exact_ends(ROUND, x, first)
    errors, counts = [], [150, 300, 600]
    for count in counts:  # equal steps in sqrt(1 - ab) / sqrt(ab), where Eq. 14 is Euler's method
        sigmas = np.linspace(math.sqrt((1 - first) / first), 0, count + 1)
        levels = [Level(k, 1 / (1 + sigma**2)) for k, sigma in enumerate(sigmas)]
        table = torch.tensor([level.alpha_bar for level in levels], dtype=torch.float64)
        errors.append(float((ends(ROUND, x, Row(levels), lambda x, t, table=table: ROUND.eps(x, table[t])) - exact).norm()))
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(1, abs=0.1)
    assert errors[-1] < 0.05


def test_on_the_models_own_schedule_all_steps_end_where_the_flow_does():
    x = initial_noise([3], (2, 2, 4)).double()
    exact = exact_ends(ROUND, x, LINEAR.level(999).alpha_bar)
    errors = [float((ends(ROUND, x, Row(LINEAR.levels(steps))) - exact).norm(dim=1).median()) for steps in (250, 1000)]
    assert errors[1] < 0.01
    assert errors[1] < errors[0] / 2


def test_ddpm_with_all_its_steps_has_the_mean_and_the_covariance_of_the_data():
    shape, count = (2, 32, 32), 32 * 32
    path = BrownianPath(LINEAR, shape, 5)
    drawn = ends(OBLIQUE, initial_noise([5], shape), Row(LINEAR.levels(1000), eta=1.0, draw=path.between)).view(2, -1).double()
    mean, covariance = OBLIQUE.mean, OBLIQUE.covariance
    assert ((drawn.mean(1) - mean).abs() < 4 * (covariance.diagonal() / count).sqrt()).all()
    products = (drawn - mean[:, None])[:, None] * (drawn - mean[:, None])[None]
    error = products.view(4, -1).std(1).view(2, 2) / math.sqrt(count)
    assert ((products.mean(2) - covariance).abs() < 4 * error).all()
