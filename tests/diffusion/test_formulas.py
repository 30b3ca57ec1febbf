"""The formulas, held against closed forms: identities first, then whole chains on Gaussian data."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion import formulas
from ddim_app.diffusion.sampler import Row
from ddim_app.diffusion.schedule import CLEAN, PREDICTION_TYPES, SPACINGS, Schedule, betas
from tests import oracle, toys
from tests.oracle import Gaussian
from tests.toys import LINEAR, SCHEDULES

STEP_COUNTS = [1, 2, 7, 30, 61, 150, 1000]  # of these only 1, 2 and 1000 divide T
DATA = Gaussian(mu=0.3, s=0.5)

alpha_bars = st.floats(1e-6, 1 - 1e-6)


def close(actual, expected, atol):
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)


def tolerance(levels):
    """x0 is read off x_T by dividing by sqrt(alpha_bar), which near zero costs digits no formula can keep."""
    return 1e-12 if levels[0].alpha_bar >= 1e-5 else 1e-9


# Identities.


@given(alpha_bar=alpha_bars, seed=st.integers(0, 2**32 - 1))
def test_predict_x0_and_predict_eps_invert_each_other(alpha_bar, seed):
    x_t, eps = toys.pictures(2, (3, 4, 4), seed).chunk(2)
    pred_x0 = formulas.predict_x0(x_t, eps, alpha_bar)
    close(formulas.predict_eps(x_t, pred_x0, alpha_bar), eps, 1e-9)
    close(formulas.predict_x0(x_t, formulas.predict_eps(x_t, eps, alpha_bar), alpha_bar), eps, 1e-9)


@given(alpha_bar=alpha_bars, seed=st.integers(0, 2**32 - 1))
def test_predict_x0_and_predict_eps_take_add_noise_apart(alpha_bar, seed):
    x0, noise = toys.pictures(2, (3, 4, 4), seed).chunk(2)
    x_t = formulas.add_noise(x0, noise, alpha_bar)
    close(formulas.predict_x0(x_t, noise, alpha_bar), x0, 1e-11)
    close(formulas.predict_eps(x_t, x0, alpha_bar), noise, 1e-11)
    assert math.isclose((x_t - alpha_bar**0.5 * x0).square().sum(), (1 - alpha_bar) * noise.square().sum(), rel_tol=1e-9)


@given(alpha_bar=alpha_bars, seed=st.integers(0, 2**32 - 1))
def test_prediction_types_say_the_same_thing(alpha_bar, seed):
    x0, noise = toys.pictures(2, (3, 4, 4), seed).chunk(2)
    x_t = formulas.add_noise(x0, noise, alpha_bar)
    v = alpha_bar**0.5 * noise - (1 - alpha_bar) ** 0.5 * x0
    for prediction_type, output in zip(PREDICTION_TYPES, (noise, x0, v), strict=True):
        pred_x0, eps = formulas.denoise(output, x_t, alpha_bar, prediction_type)
        close(pred_x0, x0, 1e-9)
        close(eps, noise, 1e-9)


def test_a_level_per_picture_means_the_same_as_one_picture_at_a_time():
    x, other = toys.pictures(5).float(), toys.pictures(5, seed=1).float()
    levels = LINEAR.alphas_cumprod[[0, 1, 400, 998, 999]]
    for formula in (formulas.add_noise, formulas.predict_x0, formulas.predict_eps, formulas.ddim_step):
        together = formula(x, other, levels)
        alone = [formula(x[i : i + 1], other[i : i + 1], level) for i, level in enumerate(levels.tolist())]
        assert together.dtype == torch.float32
        torch.testing.assert_close(together, torch.cat(alone), rtol=1e-6, atol=1e-7)


def test_float32_pictures_get_roots_taken_in_float64():
    """1 - alpha_bar_0 in float32 is off by 1.7e-4; eps of the last step would be too."""
    x_t = torch.ones(1, 1, 1, 1)
    for alpha_bar in (LINEAR.alphas_cumprod[0].item(), LINEAR.alphas_cumprod[:1]):
        assert formulas.predict_eps(x_t, torch.zeros_like(x_t), alpha_bar).item() == pytest.approx(100.0, rel=1e-7)


def test_posterior_variances_of_ddpm():
    """diffusers' tests have these numbers, to five places."""
    bar = LINEAR.alphas_cumprod.tolist()
    pairs = {(420, 400): 0.14771, (980, 960): 0.32460, (487, 486): 0.00979, (999, 998): 0.02}
    for (t, t_next), variance in pairs.items():
        assert formulas.ddim_sigma(bar[t], bar[t_next], 1.0) ** 2 == pytest.approx(variance, abs=1e-5)
    assert formulas.ddim_sigma(bar[0], 1.0, 1.0) == 0


@given(alpha_bars, alpha_bars, st.floats(0, 1))
def test_sigma_is_eq_16(first, second, eta):
    a, b = sorted((first, second))
    assert formulas.ddim_sigma(a, b, eta) == pytest.approx(oracle.sigma_of_eta(a, b, eta), rel=1e-12)
    assert not formulas.ddim_sigma_is_capped(a, b, eta)


@given(alpha_bars, alpha_bars, st.floats(1, 50))
def test_sigma_of_large_eta_is_capped_at_all_the_noise_of_the_next_level(first, second, eta):
    a, b = sorted((first, second))
    sigma = formulas.ddim_sigma(a, b, eta)
    assert sigma <= math.sqrt(1 - b)
    assert formulas.ddim_sigma_is_capped(a, b, eta) == (sigma == math.sqrt(1 - b) and eta * formulas.ddim_sigma(a, b, 1.0) > sigma)


@pytest.mark.parametrize("t", [0, 1, 99, 999])
@pytest.mark.parametrize("eta", [0.0, 1.0, 2.0])
def test_no_noise_goes_into_the_clean_level(t, eta):
    """Decided by the level that comes next, not by t > 0: a grid need not end at t = 0."""
    levels = [LINEAR.level(t), CLEAN]
    for variance in ("small", "large"):
        assert Row(levels, eta, variance).noise(*levels) == (0.0, 0.0)


def test_sigma_hat_is_beta_between_neighbours():
    bar, beta = LINEAR.alphas_cumprod.tolist(), betas().tolist()
    for t in (1, 500, 999):
        assert formulas.sigma_hat(bar[t], bar[t - 1]) ** 2 == pytest.approx(beta[t], rel=1e-12)


def test_sigma_hat_changes_the_noise_alone():
    """In the direction term it would ask for the root of a negative number: 1 - alpha_bar_next < sigma-hat^2 below."""
    cur, nxt = LINEAR.level(20), LINEAR.level(0)
    small, large = (Row([cur, nxt], 1.0, variance).noise(cur, nxt) for variance in ("small", "large"))
    assert large[0] == small[0] == small[1]
    assert large[1] ** 2 == pytest.approx(1 - cur.alpha_bar / nxt.alpha_bar, rel=1e-12)
    assert 1 - nxt.alpha_bar - large[1] ** 2 < 0 < 1 - nxt.alpha_bar - large[0] ** 2


def test_deterministic_steps_run_in_both_directions():
    """Up and down the same pair of levels is the identity while eps stays the same, the clean level included."""
    x_t, eps = toys.pictures(2)[:, None]
    for a, b in itertools.pairwise([*LINEAR.alphas_cumprod[[999, 500, 0]].tolist(), 1.0]):
        assert formulas.ddim_sigma(b, a, 0.0) == 0
        down = formulas.ddim_step(formulas.predict_x0(x_t, eps, a), eps, b)
        close(formulas.ddim_step(formulas.predict_x0(down, eps, b), eps, a), x_t, 1e-12)


def test_dynamic_threshold_scales_by_the_quantile_of_each_picture():
    """Two pictures: one wholly inside stays as it is, one outside is cut at its quantile and scaled into the range."""
    calm = torch.linspace(-0.5, 0.5, 201, dtype=torch.float64)
    wild = torch.linspace(-4, 4, 201, dtype=torch.float64)
    x = torch.stack((calm, wild)).view(2, 1, 3, 67)
    for limit in (1.0, 2.0):
        kept, scaled = formulas.dynamic_threshold(x, limit, ratio=0.9).flatten(1)
        assert torch.equal(kept, calm)
        quantile = 3.6  # |x| of 201 points from -4 to 4: the 0.9 quantile lies at 0.9 * 4
        close(scaled, wild.clamp(-quantile, quantile) * limit / quantile, 0.03)
        assert scaled.abs().max() == limit


# Whole chains on Gaussian data.


@pytest.mark.parametrize("S", STEP_COUNTS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_ddim_is_the_closed_form(S, spacing):
    levels = LINEAR.levels(S, spacing)
    x = toys.pictures()
    steps = toys.run(x, [Row(levels)] * 2, DATA.network(LINEAR.alphas_cumprod))
    for step, expected in zip(steps, DATA.chain(x, levels), strict=True):
        close(step.x_next, expected, tolerance(levels))


@pytest.mark.parametrize("S", STEP_COUNTS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_stochastic_samplers_are_the_closed_form_for_given_noise(S, spacing):
    levels = LINEAR.levels(S, spacing)
    x, draw = toys.pictures(1), toys.keyed_draw(0)
    settings = [(0.3, "small"), (1.0, "small"), (1.0, "large"), (2.0, "small")]
    rows = [Row(levels, eta, variance, draw=draw) for eta, variance in settings]
    ends = toys.final(x.repeat(len(rows), 1, 1, 1), rows, DATA.network(LINEAR.alphas_cumprod))
    for end, (eta, variance) in zip(ends, settings, strict=True):
        close(end, DATA.chain(x, levels, eta, draw, variance == "large")[-1][0], tolerance(levels))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_closed_form_on_every_schedule_and_prediction_type(name, prediction_type):
    schedule = Schedule(SCHEDULES[name].alphas_cumprod, prediction_type)
    # epsilon is refused at zero SNR (test_schedule), where a trailing grid starts.
    levels = schedule.levels(13, "leading" if (name, prediction_type) == ("zero-snr", "epsilon") else "trailing")
    x, draw = toys.pictures(1), toys.keyed_draw(1)
    predict = DATA.network(schedule.alphas_cumprod, prediction_type)
    for eta in (0.0, 1.0):
        end = toys.final(x, [Row(levels, eta, draw=draw)], predict, prediction_type=prediction_type)
        close(end, DATA.chain(x, levels, eta, draw)[-1], tolerance(levels))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "quadratic"])
def test_the_same_loop_on_reversed_levels_is_the_closed_form_upwards(spacing):
    """Deterministic steps need no second formula for the way from picture to noise."""
    levels = LINEAR.levels(30, spacing)[-2::-1]
    x = toys.pictures()
    close(toys.final(x, [Row(levels)] * 2, DATA.network(LINEAR.alphas_cumprod)), DATA.chain(x, levels)[-1], 1e-12)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace", "quadratic"])
@pytest.mark.parametrize(("eta", "variance"), [(0.0, "small"), (0.5, "small"), (1.0, "small"), (1.7, "small"), (1.0, "large")])
def test_variances_obey_their_recursion(spacing, eta, variance):
    """The final picture is linear in x_T and the noises, so one row per unit source gives its variance exactly."""
    S = 13
    levels = LINEAR.levels(S, spacing)
    data = Gaussian(mu=0.0, s=0.5)

    def source(k):
        return lambda cur, nxt: torch.full((1, 1, 1), float(k < S and cur == levels[k].t), dtype=torch.float64)

    x = torch.zeros(S + 1, 1, 1, 1, dtype=torch.float64)
    x[S] = 1  # the last row's source is x_T itself
    rows = [Row(levels, eta, variance, draw=source(k)) for k in range(S + 1)]
    for step, expected in zip(
        toys.run(x, rows, data.network(LINEAR.alphas_cumprod)),
        data.variances(1.0, levels, eta, variance == "large"),
        strict=True,
    ):
        assert step.x_next.square().sum().item() == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 1.5, 2.0, 7.0, 100.0])
def test_marginals_of_eq_7_hold_at_every_eta(eta):
    """With one picture as data the network is never wrong, and each level must have variance exactly 1 - alpha_bar."""
    point = Gaussian(mu=0.4, s=0.0)
    capped = 0
    for S, spacing in itertools.product((5, 30), ("leading", "trailing", "quadratic")):
        levels = LINEAR.levels(S, spacing)
        first = 1 - levels[0].alpha_bar
        for level, expected in zip(levels[1:], point.variances(first, levels, eta), strict=True):
            assert expected == pytest.approx(1 - level.alpha_bar, abs=1e-14)  # the oracle agrees with the paper
        for cur, nxt in itertools.pairwise(levels):
            sigma, std = Row(levels, eta).noise(cur, nxt)
            unit = torch.ones(1, 1, 1, 1, dtype=torch.float64)
            direction = formulas.ddim_step(torch.zeros_like(unit), unit, nxt.alpha_bar, sigma).item()
            assert direction**2 + std**2 == pytest.approx(1 - nxt.alpha_bar, abs=1e-14)
            capped += formulas.ddim_sigma_is_capped(cur.alpha_bar, nxt.alpha_bar, eta)
    assert (capped > 0) == (eta > 1)


def test_ddim_converges_to_the_ode_at_first_order():
    x = toys.pictures()
    first = LINEAR.level(999)
    exact = DATA.flow(x, first.alpha_bar, 1.0)
    errors = [
        (toys.final(x, [Row(LINEAR.levels(N))] * 2, DATA.network(LINEAR.alphas_cumprod)) - exact).abs().max().item()
        for N in (20, 40, 80, 160)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert 0.45 <= fine / coarse <= 0.56, errors


# DDPM is a member of the family.


@given(st.integers(1, 999), st.integers(0, 2**32 - 1), st.data())
def test_step_with_eta_1_has_mean_and_variance_of_the_ddpm_posterior(t, seed, data):
    """For neighbours and for any longer step alike."""
    a, b = LINEAR.alphas_cumprod[[t, data.draw(st.integers(0, t - 1))]].tolist()
    x_t, x0 = toys.pictures(2, (3, 4, 4), seed).chunk(2)
    mean, variance = formulas.ddpm_posterior(x_t, x0, a, b)
    sigma = formulas.ddim_sigma(a, b, 1.0)
    assert sigma**2 == pytest.approx(variance, rel=0, abs=1e-12)
    close(formulas.ddim_step(x0, formulas.predict_eps(x_t, x0, a), b, sigma), mean, 1e-12)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("clip", ["off", "clip"])
def test_eta_1_over_all_timesteps_is_ddpm(variance, clip):
    """Against DDPM's own algorithm, clipping included: the direction must use eps derived again from the clipped pred_x0."""
    x, draw = toys.pictures(2), toys.keyed_draw(2)
    row = Row(LINEAR.levels(1000), 1.0, variance, clip, draw)
    predict = toys.network if clip == "clip" else DATA.network(LINEAR.alphas_cumprod)
    expected = oracle.ddpm_chain(x, betas(), predict, draw, large=variance == "large", clip=clip == "clip")
    close(toys.final(x, [row] * 2, predict), expected, 1e-12)
