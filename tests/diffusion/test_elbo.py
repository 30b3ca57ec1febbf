"""The variational bound against KL divergences of another implementation, quadrature, and the closed form of Gaussian data."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ddim_app.diffusion import elbo
from ddim_app.diffusion.formulas import add_noise, predict_x0
from tests.oracle import Gaussian
from tests.toys import LINEAR, SCHEDULES, pictures

BETAS = {name: 1 - torch.cat((s.alphas_cumprod[:1], s.alphas_cumprod[1:] / s.alphas_cumprod[:-1])) for name, s in SCHEDULES.items()}
TIMES = (1, 2, 10, 59)


def posterior(name, t, x_t, x0):
    """DDPM Eq. 7 from the betas."""
    ab, beta = SCHEDULES[name].alphas_cumprod, BETAS[name][t]
    mean = ab[t - 1].sqrt() * beta / (1 - ab[t]) * x0 + (1 - beta).sqrt() * (1 - ab[t - 1]) / (1 - ab[t]) * x_t
    return mean, (1 - ab[t - 1]) / (1 - ab[t]) * beta


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("variance", ["small", "large"])
def test_a_term_is_the_full_divergence_of_two_gaussians(name, variance):
    x0, noise, eps = (pictures(3, (3, 4, 4), seed) for seed in range(3))
    for t in TIMES:
        ab = float(SCHEDULES[name].alphas_cumprod[t])
        x_t = add_noise(x0, noise, ab)
        pred_x0 = predict_x0(x_t, eps, ab).clamp(-1, 1)
        mean_q, small = posterior(name, t, x_t, x0)
        mean_p, _ = posterior(name, t, x_t, pred_x0)
        std_p = (small if variance == "small" else BETAS[name][t]).sqrt()
        expected = kl_divergence(Normal(mean_q, small.sqrt()), Normal(mean_p, std_p)).sum((1, 2, 3))
        got = elbo.transition(x0, pred_x0, SCHEDULES[name], torch.full((3,), t), variance)
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=0)


def test_the_prior_is_the_divergence_from_the_standard_normal():
    x0 = pictures(2, (3, 4, 4)).clamp(-1, 1)
    for schedule in SCHEDULES.values():
        ab = float(schedule.alphas_cumprod[-1])
        if ab > 1e-9:  # below it, the logarithm of 1 - ab that the other implementation takes has lost its digits
            q = Normal(math.sqrt(ab) * x0, torch.full_like(x0, math.sqrt(1 - ab)))
            expected = kl_divergence(q, Normal(torch.zeros_like(x0), torch.ones_like(x0))).sum((1, 2, 3))
            torch.testing.assert_close(elbo.prior(x0, ab), expected, rtol=1e-6, atol=1e-11)
    assert float(elbo.prior(x0, 0.0).abs().max()) == 0


def test_the_prior_of_ddpms_schedule_is_as_small_as_in_the_paper():
    picture = pictures(1, (3, 32, 32)).clamp(-1, 1)
    bits = float(elbo.bits(elbo.prior(picture, float(LINEAR.alphas_cumprod[-1])), picture[0].numel()))
    assert 5e-6 < bits < 5e-5  # "about 1e-5 bits/dim"


def integral(low, high, mean, std):
    """Of the normal density, by Gauss and Legendre's rule on pieces of half a standard deviation."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    edges = np.linspace(low, high, max(2, math.ceil((high - low) / (0.5 * std)) + 1))
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    at = middle[:, None] + half[:, None] * nodes
    density = np.exp(-0.5 * ((at - mean) / std) ** 2) / (std * math.sqrt(math.tau))
    return float((density * weights * half[:, None]).sum())


@pytest.mark.parametrize("std", [0.004, 0.01, 0.3])
def test_the_decoders_loss_is_its_integral_over_the_bins(std):
    values = torch.tensor([0, 1, 100, 128, 254, 255], dtype=torch.float64) / 127.5 - 1
    means = (values + torch.tensor([-0.01, 0.004, 0.0, 0.02, -0.03, 0.01])).clamp(-1.2, 1.2)
    for value, mean in zip(values.tolist(), means.tolist(), strict=True):
        low = mean - 12 * std if value < -0.999 else value - 1 / 255
        high = mean + 12 * std if value > 0.999 else value + 1 / 255
        expected = -math.log(integral(low, high, mean, std))
        got = float(elbo.decoder_loss(*(torch.full((1, 1, 1, 1), v, dtype=torch.float64) for v in (value, mean)), std**2))
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_decoder_loses_no_digits_far_from_its_mean_and_gives_probabilities():
    every = torch.arange(256, dtype=torch.float64).view(256, 1, 1, 1) / 127.5 - 1
    for mean in (-1.0, -0.3, 0.9):
        loss = elbo.decoder_loss(every, torch.full_like(every, mean), 0.005**2)
        assert torch.isfinite(loss).all()
        assert float((-loss).exp().sum()) == pytest.approx(1, abs=1e-12)
    far = elbo.decoder_loss(every[200:201], torch.full((1, 1, 1, 1), -1.0).double(), 0.005**2)
    edge = float((every[200] + 1 - 1 / 255) / 0.005)  # Mills' ratio: the tail beyond `edge`, whose far end adds nothing
    expected = edge**2 / 2 + math.log(edge * math.sqrt(math.tau)) - math.log1p(-1 / edge**2 + 3 / edge**4)
    assert float(far) == pytest.approx(expected, rel=1e-9)


def test_the_decoders_variances_are_those_of_the_paper_and_its_code():
    assert elbo.decoder_variance(LINEAR, "beta") == pytest.approx(1e-4)
    assert elbo.decoder_variance(LINEAR, "posterior") == pytest.approx(float(posterior("linear", 1, 0, 0)[1]))


def expected_terms(name, s, variance):
    """E[L_t] per dimension for data N(0, s^2), the best network and no clipping, t = 1 .. T - 1."""
    ab, beta = SCHEDULES[name].alphas_cumprod, BETAS[name][1:]
    a, b = ab[1:], ab[:-1]
    small = (1 - b) / (1 - a) * beta
    ratio = small / (small if variance == "small" else beta)
    uncertain = (1 - a) * s**2 / Gaussian(0, s).variance(a)  # Var(x0 | x_t)
    mean = b * beta**2 / (1 - a) ** 2 * uncertain
    return 0.5 * (ratio - 1 - ratio.log() + mean / (small if variance == "small" else beta))


@pytest.mark.parametrize(("s", "variance"), [(1.0, "large"), (1.0, "small"), (0.5, "small"), (0.2, "large")])
def test_terms_average_to_their_closed_expectation(s, variance):
    name, shape, data = "short", (3, 4, 4), Gaussian(0, s)
    x0, noise = s * pictures(4000, shape, 1), pictures(4000, shape, 2)
    for t, expected in list(enumerate(expected_terms(name, s, variance).tolist(), 1))[::12]:
        ab = SCHEDULES[name].alphas_cumprod[t]
        x_t = add_noise(x0, noise, float(ab))
        terms = elbo.transition(x0, data.x0(x_t, ab), SCHEDULES[name], torch.full((len(x0),), t), variance) / 48
        assert abs(float(terms.mean()) - expected) < 4 * float(terms.std()) / math.sqrt(len(terms))


@pytest.mark.parametrize("name", ["linear", "cosine", "short"])
def test_for_normal_data_and_the_large_variance_the_bound_is_the_entropy(name):
    ab = SCHEDULES[name].alphas_cumprod
    beta_1 = elbo.decoder_variance(SCHEDULES[name], "beta")
    prior = -0.5 * math.log1p(-float(ab[-1]))  # E over x0 of the prior term
    decoder = 0.5 * math.log(math.tau * math.e * beta_1)  # of the density, without bins
    total = prior + float(expected_terms(name, 1.0, "large").sum()) + decoder
    assert total == pytest.approx(0.5 * math.log(math.tau * math.e), abs=1e-9)
    looser = prior + float(expected_terms(name, 1.0, "small").sum()) + decoder
    assert looser > total + 1e-4


def test_rates_fall_to_the_prior_and_leave_out_the_decoder():
    assert elbo.rates(0.5, [7.0, 3.0, 2.0, 1.0]) == [6.5, 3.5, 1.5, 0.5]


def test_distances_are_on_the_scale_of_8_bits():
    x0 = torch.zeros(2, 3, 4, 4)
    assert elbo.rmse(x0, x0 + 2 / 255).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("variance", ["small", "large"])
def test_the_weight_of_l_simple_turns_its_error_into_the_term(variance):
    x0, noise, eps = (pictures(2, (3, 4, 4), seed) for seed in range(3))
    for t in TIMES:
        ab = float(LINEAR.alphas_cumprod[t])
        x_t = add_noise(x0, noise, ab)
        exact, wrong = (
            elbo.transition(x0, predict_x0(x_t, guess, ab), LINEAR, torch.full((2,), t), variance) for guess in (noise, eps)
        )
        weighted = elbo.loss_weights(LINEAR, variance)[t] * (noise - eps).square().sum((1, 2, 3))
        torch.testing.assert_close(wrong - exact, weighted, rtol=1e-6, atol=1e-9)


def test_the_true_variance_lies_between_the_two_fixed_ones():
    for t in TIMES:
        a, b = LINEAR.level(t).alpha_bar, LINEAR.level(t - 1).alpha_bar
        ends = {name: float(table[t]) for name, table in elbo.variances(LINEAR).items()}
        curve = [elbo.true_reverse_variance(a, b, s / 10) for s in range(11)]
        assert curve[0] == pytest.approx(ends["small"], rel=1e-9)
        assert curve[-1] == pytest.approx(ends["large"], rel=1e-9)
        assert curve == sorted(curve)
        # The variance of x_b given x_a from their joint normal distribution.
        s2, ratio = 0.25, a / b
        of_b, of_a = b * s2 + 1 - b, a * s2 + 1 - a
        assert elbo.true_reverse_variance(a, b, 0.5) == pytest.approx(of_b - ratio * of_b**2 / of_a, rel=1e-6)
