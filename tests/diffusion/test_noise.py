"""Noise is a contract: a seed names the same picture for ever, so its bits are written down here."""

import hashlib
import itertools
import math
import random
from statistics import NormalDist

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion import noise
from ddim_app.diffusion.noise import MAX_SEED, BrownianPath, initial_noise, keyed_noise, noise_key, picture_seed
from ddim_app.diffusion.sampler import Row
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from tests import toys
from tests.toys import LINEAR, SCHEDULES

RGB = (3, 32, 32)
SHORT = {
    "linear": Schedule(cumulative(betas("linear", 60, 1e-3, 0.2))),
    "cosine": Schedule(cumulative(betas("squaredcos_cap_v2", 60))),
    "sigmoid": Schedule(cumulative(betas("sigmoid", 60, 1e-3, 0.2))),
    "zero-snr": Schedule(cumulative(betas("linear", 60, 1e-3, 0.2), zero_terminal_snr=True), "sample"),
}


def digest(x: torch.Tensor) -> str:
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()[:16]


# x_T.


def test_initial_noise_is_torchs_from_one_generator_per_picture():
    seeds = [0, 7, 8, MAX_SEED]
    expected = [torch.randn(RGB, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    drawn = initial_noise(seeds, RGB)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, torch.stack(expected))


def test_initial_noise_is_what_diffusers_draws_from_a_list_of_generators():
    seeds = [3, 4, 123456789]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    assert torch.equal(initial_noise(seeds, RGB), randn_tensor((3, *RGB), generator=generators))


@pytest.mark.parametrize(
    ("seed", "golden"),
    [(0, "0ae630048637377b"), (1, "c530b107168815da"), (7, "1e589b36b7d66bef"), (MAX_SEED, "b6687cef244a5a07")],
)
def test_golden_initial_noise(seed, golden):
    """In eighths: torch's vectorised and plain kernels (ATEN_CPU_CAPABILITY) differ in the last bit of some values."""
    assert digest((initial_noise([seed], RGB)[0] * 8).round().to(torch.int8)) == golden


def test_a_picture_has_the_same_noise_alone_and_in_any_batch():
    batch = initial_noise([picture_seed(7, i) for i in range(5)], RGB)
    for i in range(5):
        assert torch.equal(batch[i], initial_noise([7 + i], RGB)[0])


@given(st.integers(0, MAX_SEED), st.integers(0, 100))
def test_picture_seeds_count_up_and_stay_within_32_bits(seed, i):
    """torch's generator would take a longer seed and keep its low 32 bits, so 7 and 7 + 2^32 would be one picture."""
    assert picture_seed(seed, i) == (seed + i) % 2**32 <= MAX_SEED


def test_noise_drawn_in_float64_would_be_another_draw():
    """Why it is float32 for every precision: the same seed in float64 has nothing to do with it."""
    single = initial_noise([7], RGB)[0].double().flatten()
    double = torch.randn(RGB, generator=torch.Generator().manual_seed(7), dtype=torch.float64).flatten()
    assert abs(torch.corrcoef(torch.stack((single, double)))[0, 1]) < 0.1


# Keyed step noise.


@pytest.mark.parametrize(
    ("noise_seed", "branch", "t", "golden"),
    [
        (0, 0, 0, "41f8ae20e43eec00"),
        (0, 0, 1, "e8de26bf322a2b37"),
        (0, 1, 0, "ca573025d092001e"),
        (1, 0, 0, "c457ff8d8dd482c3"),
        (7, 3, 999, "ed2ceb159fd5fe4c"),
        (MAX_SEED, MAX_SEED, 500, "560c9647c0a34ad4"),
    ],
)
def test_golden_keyed_noise(noise_seed, branch, t, golden):
    drawn = keyed_noise(noise_key(noise_seed, branch), t, RGB)
    assert (drawn.dtype, drawn.shape) == (torch.float32, RGB)
    assert digest(drawn) == golden


def test_golden_keyed_noise_of_an_odd_number_of_values():
    assert digest(keyed_noise(noise_key(5), 12, (1, 5, 7))) == "cf5a10eeeaeba8bc"


def test_keyed_noise_is_box_and_muller_of_philox_words():
    """The contract once more, one value at a time."""
    words = [int(word) for word in np.random.Philox(key=noise_key(5, 2), counter=[0, 0, 0, 40]).random_raw(3)]
    halves = [((word >> 32) + 1, word & 0xFFFFFFFF) for word in words]
    polar = [(math.sqrt(-2 * math.log(first / 2**32)), math.tau * second / 2**32) for first, second in halves]
    expected = [r * math.cos(angle) for r, angle in polar] + [r * math.sin(angle) for r, angle in polar]
    assert keyed_noise(noise_key(5, 2), 40, (1, 1, 5)).flatten().tolist() == pytest.approx(expected[:5], rel=1e-6)


@pytest.mark.parametrize("word", [0, 2**64 - 1])
def test_keyed_noise_is_finite_for_the_most_extreme_words(monkeypatch, word):
    class Extreme:
        def __init__(self, **key):
            pass

        def random_raw(self, count):
            return np.full(count, word, np.uint64)

    monkeypatch.setattr(np.random, "Philox", Extreme)
    drawn = keyed_noise(np.zeros(2, np.uint64), 0, (1, 2, 2))
    assert drawn.abs().max() <= math.sqrt(2 * 32 * math.log(2)) + 1e-6


def test_keyed_noise_is_standard_normal():
    drawn = torch.cat([keyed_noise(noise_key(11), t, (3, 64, 64)).flatten() for t in range(8)]).double()
    n = len(drawn)
    moments = [drawn.mean(), drawn.square().mean() - 1, drawn.pow(3).mean(), drawn.pow(4).mean() - 3]
    for moment, spread in zip(moments, (1, 2, 15, 96), strict=True):  # variances of x, x^2, x^3, x^4 under N(0, 1)
        assert abs(moment) < 4 * math.sqrt(spread / n)
    expected = torch.tensor([NormalDist().cdf(x) for x in drawn.sort().values[::50].tolist()], dtype=torch.float64)
    assert (torch.arange(0, n, 50) / n - expected).abs().max() < 1.63 / math.sqrt(n)  # Kolmogorov and Smirnov, 1 %


def test_noise_of_neighbouring_keys_has_nothing_in_common():
    """`seed + t` would make (7, 1) and (8, 0) one draw; `seed << 32` every seed; and seed and branch must not be exchangeable."""
    keys = list(itertools.product((0, 1, 2, 7, 8, MAX_SEED), (0, 1, 7)))
    drawn = torch.stack([keyed_noise(noise_key(*key), t, (1, 64, 64)).flatten() for key in keys for t in (0, 1, 2, 999)])
    off_diagonal = torch.corrcoef(drawn.double()) - torch.eye(len(drawn))
    assert off_diagonal.abs().max() < 5.2 / 64  # 2556 pairs, each of standard error 1 / 64
    assert len({noise_key(*key).tobytes() for key in itertools.product(range(100), range(100))}) == 10_000


def test_step_noise_is_not_the_initial_noise():
    x = torch.stack([initial_noise([5], RGB)[0].flatten(), keyed_noise(noise_key(5), 999, RGB).flatten()])
    assert abs(torch.corrcoef(x)[0, 1]) < 0.09


# The path.


@pytest.fixture
def coefficients(monkeypatch):
    """Makes every draw a unit vector, so that what a path returns is its coefficients in the independent draws."""
    monkeypatch.setattr(noise, "keyed_noise", lambda key, t, shape: torch.eye(shape[-1])[t].view(shape))


@pytest.mark.parametrize("name", SHORT)
def test_w_t_are_independent_standard_normal(name, coefficients):
    """Exactly: the Gram matrix of their coefficients is the identity."""
    path = BrownianPath(SHORT[name], (1, 1, 60), 0)
    w = torch.stack([path.between(t, t - 1).flatten() for t in range(1, 60)])
    torch.testing.assert_close(w @ w.T, torch.eye(59, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SHORT)
def test_disjoint_transitions_of_any_list_are_independent_standard_normal(name, coefficients):
    path = BrownianPath(SHORT[name], (1, 1, 60), 0)
    z = torch.stack([path.between(cur, nxt).flatten() for cur, nxt in itertools.pairwise([59, 55, 40, 39, 12, 5, 1, 0])])
    torch.testing.assert_close(z @ z.T, torch.eye(7, dtype=torch.float64), rtol=0, atol=1e-12)


def test_path_has_standard_normal_values():
    path = BrownianPath(LINEAR, (3, 64, 64), 3)
    z = torch.stack([path.between(cur, nxt).flatten() for cur, nxt in itertools.pairwise([999, 800, 799, 400, 30, 0])])
    n = z.shape[1]
    assert z.mean(1).abs().max() < 4 / math.sqrt(n)
    assert (z.square().mean(1) - 1).abs().max() < 4 * math.sqrt(2 / n)
    assert (torch.corrcoef(z) - torch.eye(5)).abs().max() < 4 / math.sqrt(n)


@pytest.mark.parametrize("name", SCHEDULES)
def test_coarse_noise_is_the_weighted_sum_of_the_fine(name):
    """z = sum c_t w_t with c_t^2 = (SNR_{t-1} - SNR_t) / (SNR_next - SNR_cur); for neighbours that is w_t itself."""
    schedule = SCHEDULES[name]
    last = schedule.num_train_timesteps - 1
    ab = schedule.alphas_cumprod
    snr = ab / (1 - ab)
    path = BrownianPath(schedule, (1, 2, 2), 9, branch=1)
    w = {t: path.between(t, t - 1) for t in range(last, 0, -1)}
    for cur, nxt in [(last, 0), (last, last - 1), (last, last // 2), (last // 2, 3), (41, 19), (1, 0)]:
        z = sum(((snr[t - 1] - snr[t]) / (snr[nxt] - snr[cur])).sqrt() * w[t] for t in range(nxt + 1, cur + 1))
        torch.testing.assert_close(path.between(cur, nxt), z, rtol=0, atol=1e-12)


def test_path_does_not_depend_on_the_order_of_questions():
    questions = [(999, 959), (959, 0), (500, 499), (499, 20), (999, 0), (39, 19), (1, 0), (700, 1)]
    fresh = [BrownianPath(LINEAR, (1, 2, 2), 5).between(*question) for question in questions]
    for shuffle in range(5):
        order = random.Random(shuffle).sample(range(len(questions)), len(questions))
        path = BrownianPath(LINEAR, (1, 2, 2), 5)
        for i in order:
            assert torch.equal(path.between(*questions[i]), fresh[i])


@pytest.mark.parametrize(
    ("cur", "nxt", "golden"),
    [
        (999, 959, [-0.6551895, -0.8545709, 2.2715260, 1.2423623]),
        (999, 0, [-0.4072693, -1.0779418, 0.2108898, -0.2071879]),
        (500, 499, [-1.1047978, 1.2874118, 1.3974984, 0.4355975]),
        (39, 19, [-0.1141093, -0.4046447, -0.2560847, -0.1868516]),
    ],
)
def test_golden_path(cur, nxt, golden):
    """Written down with the keyed noise: a DDPM picture of a seed depends on how its path is built."""
    assert BrownianPath(LINEAR, (1, 2, 2), 7, 3).between(cur, nxt).flatten().tolist() == pytest.approx(golden, abs=2e-7)


def test_paths_of_other_seeds_and_branches_are_other_paths():
    z = torch.stack(
        [BrownianPath(LINEAR, (1, 64, 64), *key).between(999, 500).flatten() for key in ((7, 0), (8, 0), (7, 1), (8, 1))]
    )
    assert (torch.corrcoef(z) - torch.eye(4)).abs().max() < 4 / 64


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_coarse_ddpm_step_is_the_composition_of_the_fine_ones(name):
    """While pred_x0 stays the same. So a difference between step counts is one between samplers, not luck."""
    schedule = SCHEDULES[name]
    last = schedule.num_train_timesteps - 1
    # Near zero SNR the root of 1 - alpha_bar_next - sigma^2, which is then almost 0, keeps only half of float64's digits.
    atol = 1e-12 if schedule.alphas_cumprod[-1] >= 1e-5 else 1e-8
    pred_x0 = toys.pictures(1, seed=1)
    x = toys.pictures(1)
    for seed, (cur, nxt) in enumerate([(last, last - 10), (last, 0), (50, 17), (20, 0)]):
        ends = []
        for visited in ([cur, nxt], range(cur, nxt - 1, -1), [cur, (cur + 2 * nxt) // 3, nxt]):
            levels = [schedule.level(t) for t in dict.fromkeys(visited)]
            row = Row(levels, eta=1.0, draw=BrownianPath(schedule, (1, 2, 2), seed).between)
            ends.append(toys.final(x, [row], lambda x_t, t: pred_x0, prediction_type="sample"))
        for fine in ends[1:]:
            torch.testing.assert_close(ends[0], fine, rtol=0, atol=atol)


@pytest.mark.parametrize("S", [10, 25, 50, 100, 1000])
def test_a_run_draws_about_as_often_as_it_steps(monkeypatch, S):
    """Not T times: a path is drawn where it is looked at."""
    drawn = []
    monkeypatch.setattr(noise, "keyed_noise", lambda key, t, shape: drawn.append(t) or torch.zeros(shape))
    path = BrownianPath(LINEAR, (1, 1, 1), 0)
    for cur, nxt in itertools.pairwise(LINEAR.levels(S)[:-1]):
        path.between(cur.t, nxt.t)
    assert len(drawn) <= S * (2 + math.log2(1000 / S)) + 10
