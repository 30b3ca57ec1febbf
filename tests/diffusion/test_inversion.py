"""Inversion held against closed forms on Gaussian data, where every step of every method is a linear map."""

import math
from itertools import pairwise

import pytest
import torch

from ddim_app.diffusion import exact_inversion, fixed_point_inversion, naive_inversion
from ddim_app.diffusion.naive_inversion import AskedNetwork, InversionMove
from ddim_app.diffusion.noise import initial_noise
from ddim_app.diffusion.schedule import SPACINGS, Schedule
from ddim_app.models.catalogue import ROOT
from ddim_app.models.loading import load
from tests import toys
from tests.diffusion.driven import DATA, run
from tests.oracle import Gaussian
from tests.toys import LINEAR

SHIFTED = Gaussian(0.3, 0.5)
NETWORK = AskedNetwork(LINEAR.level(0))
X0 = 0.5 * toys.pictures(2)


def network_of(data, prediction_type):
    schedule = Schedule(LINEAR.alphas_cumprod, prediction_type)
    return AskedNetwork(schedule.level(0), prediction_type), data.network(LINEAR.alphas_cumprod, prediction_type)


def drawn(level):
    return toys.pictures(2, seed=level.t + 1)


# The naive method.


def climb(data, x, levels, told):
    """The naive method's x_T: one step from a up to b with eps of the level that the network is told."""
    for (_, a), (_, b) in pairwise(reversed(levels)):
        at = b if told == "target" else a if a < 1 else LINEAR.level(0).alpha_bar
        eps = math.sqrt(1 - at) * (x - math.sqrt(at) * data.mu) / data.variance(at)
        x = math.sqrt(b) * (x - math.sqrt(1 - a) * eps) / math.sqrt(a) + math.sqrt(1 - b) * eps
    return x


@pytest.mark.parametrize("told", ["source", "target"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(("steps", "spacing"), [(1, "trailing"), (7, "leading"), (50, "quadratic")])
def test_naive_is_the_closed_form(told, prediction_type, steps, spacing):
    levels = LINEAR.levels(steps, spacing)
    network, predict = network_of(SHIFTED, prediction_type)
    found, moves, asked = run(naive_inversion.naive(X0, levels, network, told), predict)
    torch.testing.assert_close(found, climb(SHIFTED, X0, levels, told), rtol=0, atol=1e-11)
    assert asked == len(moves) == steps
    assert [move.level for move in moves] == levels[-2::-1]
    assert torch.equal(moves[-1].x, found)


@pytest.mark.parametrize(("steps", "source", "target"), [(10, 44, 27), (50, 10.7, 5.4), (100, 5.5, 2.7)])
def test_naive_loses_what_is_known_that_it_loses(steps, source, target):
    """Percent of the picture after up and down, leading."""
    levels = LINEAR.levels(steps, "leading")
    for told, lost in (("source", source), ("target", target)):
        latent, *_ = run(naive_inversion.naive(X0, levels, NETWORK, told))
        back, *_ = run(naive_inversion.down(latent, levels, NETWORK))
        torch.testing.assert_close(back, (1 - lost / 100) * X0, rtol=0.006, atol=0)


def test_down_is_the_sampler():
    levels = LINEAR.levels(7, "trailing")
    back, moves, _ = run(naive_inversion.down(X0, levels, NETWORK))
    for move, expected in zip(moves, DATA.chain(X0, levels), strict=True):
        torch.testing.assert_close(move.x, expected, rtol=0, atol=1e-12)
    assert torch.equal(back, moves[-1].x)


# Where it ends.


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_way_up_ends_below_pure_noise_and_strength_takes_the_lower_part(spacing):
    levels = toys.SCHEDULES["zero-snr"].levels(20, spacing)
    usable = naive_inversion.reachable(levels)
    assert usable == [level for level in levels if level.alpha_bar > 0]
    assert naive_inversion.reachable(levels, 1e-9) == levels[-2:]
    half = naive_inversion.reachable(levels, 0.5)
    assert half == usable[len(usable) - 1 - round((len(usable) - 1) / 2) :]
    assert half[-1].is_clean


def test_at_zero_terminal_snr_the_round_trip_stays_finite():
    schedule = toys.SCHEDULES["zero-snr"]
    levels = naive_inversion.reachable(schedule.levels(20))
    network = AskedNetwork(schedule.level(0), "v_prediction")
    predict = DATA.network(schedule.alphas_cumprod, "v_prediction")
    latent, *_ = run(fixed_point_inversion.fixed_point(X0, levels, network, [4] * 19), predict)
    back, *_ = run(naive_inversion.down(latent, levels, network), predict)
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-9)


# Fixed points.


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("steps", "spacing"), [(1, "trailing"), (10, "leading"), (50, "trailing")])
def test_fixed_point_is_the_inverse_of_the_sampler(steps, spacing, prediction_type):
    levels = LINEAR.levels(steps, spacing)
    network, predict = network_of(SHIFTED, prediction_type)
    found, moves, asked = run(fixed_point_inversion.fixed_point(X0, levels, network, [4] * steps), predict)
    gain = math.prod(SHIFTED.gain(a, b) for (_, a), (_, b) in pairwise(levels))
    expected = math.sqrt(levels[0].alpha_bar) * SHIFTED.mu + (X0 - SHIFTED.mu) / gain
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert 3 * steps <= asked <= 4 * steps
    assert all(float(move.residual.max()) < 1e-9 for move in moves)


def test_fixed_point_on_a_network_that_is_not_linear():
    levels = LINEAR.levels(20)
    found, moves, _ = run(fixed_point_inversion.fixed_point(X0, levels, NETWORK, [60] * 20), toys.network)
    back, *_ = run(naive_inversion.down(found, levels, NETWORK), toys.network)
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-6)
    assert all(move.residual.shape == (2,) for move in moves)


def test_fixed_point_is_better_than_naive_at_equal_cost():
    """The extrapolated first guess alone: one evaluation a step."""
    levels = LINEAR.levels(50)
    errors = []
    for process in (naive_inversion.naive(X0, levels, NETWORK), fixed_point_inversion.fixed_point(X0, levels, NETWORK, [1] * 50)):
        latent, _, asked = run(process)
        back, *_ = run(naive_inversion.down(latent, levels, NETWORK))
        errors.append(float((back - X0).pow(2).mean()))
        assert asked == 50
    assert errors[1] < errors[0] / 10


def test_fixed_point_stops_at_its_tolerance():
    levels = LINEAR.levels(10)
    _, moves, asked = run(fixed_point_inversion.fixed_point(X0, levels, NETWORK, [50] * 10, tolerance=1e-6))
    assert 20 <= asked <= 60
    assert all(float(move.residual.max()) <= 1e-6 for move in moves)


def test_a_picture_is_inverted_alike_alone_and_in_company():
    levels = LINEAR.levels(10)
    both, *_ = run(fixed_point_inversion.fixed_point(X0, levels, NETWORK, [9] * 10), toys.network)
    one, *_ = run(fixed_point_inversion.fixed_point(X0[1:], levels, NETWORK, [9] * 10), toys.network)
    torch.testing.assert_close(both[1:], one, rtol=0, atol=1e-12)


def test_a_map_that_runs_away_is_damped():
    """Slopes up to -3: plain iteration would go to and fro for ever."""
    levels = LINEAR.levels(50)[-2:]

    def steep(y, t):
        return -40 * y.sin()

    found, moves, _ = run(fixed_point_inversion.fixed_point(X0, levels, NETWORK, [80]), steep)
    assert float(moves[0].residual.max()) < 1e-6
    back, *_ = run(naive_inversion.down(found, levels, NETWORK), steep)
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-4)


def test_no_sample_of_the_bundled_model_is_stuck_beside_the_clean_picture():
    """Seeds 4 and 5 were, at 4e-3: Anderson's strides from a picture without noise led where nothing goes on."""
    model = load(ROOT / "weights" / "avatars-32")
    levels, network = model.schedule.levels(50), AskedNetwork(model.schedule.level(0))

    def predict(x, t):
        with torch.inference_mode():
            return model.unet(x, t, return_dict=False)[0]

    samples, *_ = run(naive_inversion.down(initial_noise([4, 5], model.shape), levels, network), predict)
    _, moves, _ = run(fixed_point_inversion.fixed_point(samples, levels[-2:], network, [50]), predict)
    assert float(moves[0].residual.max()) < 1e-3


@pytest.mark.parametrize(
    ("transitions", "budget", "expected"),
    [
        (1, 1, (1,)),
        (1, 80, (80,)),
        (2, 70, (50, 20)),
        (4, 4, (1, 1, 1, 1)),
        (5, 8, (4, 1, 1, 1, 1)),
        (50, 110, (50, 10, 2, 2, *[1] * 46)),
        (50, 200, (50, 10, *[3] * 44, *[2] * 4)),
    ],
)
def test_allotment(transitions, budget, expected):
    assert fixed_point_inversion.allotment(transitions, budget) == expected
    assert sum(expected) == budget


# The exact pair.


@pytest.mark.parametrize("spacing", ["leading", "trailing", "quadratic"])
@pytest.mark.parametrize("steps", [2, 10, 50, 200])
def test_a_pair_comes_back_and_takes_no_evaluation_twice(steps, spacing):
    levels = LINEAR.levels(steps, spacing)
    pair, moves, asked = run(exact_inversion.belm_up(X0, levels, NETWORK), toys.network)
    back, _, asked_down = run(exact_inversion.belm_down(pair, levels, NETWORK), toys.network)
    assert (asked, asked_down) == (steps, steps - 1)
    assert len(moves) == steps
    assert torch.equal(moves[-2].x if steps > 1 else X0, pair.second)
    if float(pair.x.abs().max()) < 1e6:
        torch.testing.assert_close(back, X0, rtol=0, atol=1e-9)


def belm(levels, s):
    """(x_T, level below it) per unit of x_0, by the rule as the paper writes it, on N(0, s^2 I)."""
    rising = list(reversed(levels))
    alpha = [math.sqrt(level.alpha_bar) for level in rising]
    sigma = [math.sqrt(1 - level.alpha_bar) for level in rising]
    data = Gaussian(0.0, s)
    eps = [math.sqrt(1 - level.alpha_bar) / data.variance(level.alpha_bar) for level in rising]
    h = [0.0] + [sigma[i] / alpha[i] - sigma[i - 1] / alpha[i - 1] for i in range(1, len(rising))]
    x = [1.0, alpha[1] + sigma[1] * eps[1]]
    for i in range(1, len(rising) - 1):
        known = (h[i + 1] ** 2 - h[i] ** 2) / h[i + 1] ** 2 * alpha[i - 1] / alpha[i] * x[i]
        known -= h[i] * (h[i] + h[i + 1]) / h[i + 1] * alpha[i - 1] * eps[i] * x[i]
        x.append((x[i - 1] - known) * h[i + 1] ** 2 / h[i] ** 2 * alpha[i + 1] / alpha[i - 1])
    return x[-1], x[-2]


@pytest.mark.parametrize("steps", [2, 10, 50])
def test_the_pair_is_the_closed_form(steps):
    levels = LINEAR.levels(steps, "leading")
    pair, *_ = run(exact_inversion.belm_up(X0, levels, NETWORK))
    for found, factor in zip(pair, belm(levels, 0.5), strict=True):
        torch.testing.assert_close(found, factor * X0, rtol=1e-8, atol=1e-10)


def test_one_latent_of_a_pair_does_not_decode():
    levels = LINEAR.levels(10, "leading")
    pair, *_ = run(exact_inversion.belm_up(X0, levels, NETWORK))
    back, *_ = run(naive_inversion.down(pair.x, levels, NETWORK))
    assert float((back - X0).pow(2).mean()) > 0.01 * float(X0.pow(2).mean())


# The noise of a stochastic sampler.


@pytest.mark.parametrize("eta", [0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("way", ["independent", "chained"])
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_a_noise_map_is_the_closed_form_and_comes_back(eta, way, steps):
    levels = LINEAR.levels(steps)
    xs = exact_inversion.independent(X0, levels, drawn) if way == "independent" else exact_inversion.chained(X0, levels, drawn, eta)
    assert len(xs) == steps
    latent, moves, asked = run(exact_inversion.noise_up(X0, xs, levels, NETWORK, eta))
    assert asked == len(moves) == steps
    for k, (cur, nxt) in enumerate(pairwise(levels[:-1])):
        a, b = cur.alpha_bar, nxt.alpha_bar
        sigma = min(eta * math.sqrt((1 - b) / (1 - a) * (1 - a / b)), math.sqrt(1 - b))
        expected = (xs[k + 1] - DATA.gain(a, b, sigma) * xs[k]) / sigma
        torch.testing.assert_close(latent.noises[k], expected, rtol=1e-8, atol=1e-8)
    expected = X0 - DATA.gain(levels[-2].alpha_bar, 1.0) * xs[-1]
    torch.testing.assert_close(latent.residual, expected, rtol=0, atol=1e-10)
    back, _, asked = run(exact_inversion.noise_down(latent, levels, NETWORK, eta))
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-14)
    assert asked == steps


def test_without_its_residual_a_noise_map_misses_the_picture():
    levels = LINEAR.levels(30)
    latent, *_ = run(exact_inversion.noise_up(X0, exact_inversion.independent(X0, levels, drawn), levels, NETWORK, 1.0))
    back, *_ = run(exact_inversion.noise_down(latent._replace(residual=torch.zeros_like(X0)), levels, NETWORK, 1.0))
    torch.testing.assert_close(back, X0 - latent.residual, rtol=0, atol=1e-12)
    assert float(latent.residual.abs().max()) > 1e-3


def test_noise_drawn_down_the_chain_has_the_marginals_of_the_forward_process():
    x0 = torch.full((1, 1, 100, 100), 0.7, dtype=torch.float64)
    levels = LINEAR.levels(10)

    def noise(level):
        return toys.pictures(1, (1, 100, 100), seed=level.t)

    for eta in (0.3, 1.0):
        for x, level in zip(exact_inversion.chained(x0, levels, noise, eta), levels, strict=False):
            assert float(x.mean()) == pytest.approx(0.7 * math.sqrt(level.alpha_bar), abs=0.04)
            assert float(x.var()) == pytest.approx(1 - level.alpha_bar, rel=0.06)


def test_moves_say_whether_they_are_finite():
    x = torch.zeros(1, 1, 2, 2)
    assert InversionMove(0, LINEAR.level(0), x, x).is_finite
    assert not InversionMove(0, LINEAR.level(0), x + math.inf, x).is_finite
