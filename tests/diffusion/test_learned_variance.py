"""A variance that the network has learned: that of diffusers, of Eq. 15, and of what a network says outright."""

import itertools

import pytest
import torch
from diffusers import DDPMScheduler

from ddim_app.diffusion.formulas import ddim_sigma, sigma_hat
from ddim_app.diffusion.sampler import Row
from ddim_app.diffusion.schedule import from_config
from tests import toys
from tests.diffusion.parity import close, ddpm_loop, drawn_by_ddpm, in_float64

CHAINS = {
    "linear": {"variance_type": "learned_range"},
    "cosine-4000": {"variance_type": "learned_range", "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 4000},
}


@pytest.mark.parametrize("S", [1, 10, 50])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_learned_range_is_that_of_diffusers(chain, S):
    schedule = from_config(CHAINS[chain])
    scheduler = in_float64(DDPMScheduler(**CHAINS[chain], clip_sample=True), schedule)
    scheduler.set_timesteps(S)
    x, levels = toys.pictures(2), schedule.levels(S, "leading")
    draws = drawn_by_ddpm([level.t for level in levels[:-1]], x.shape, seed=8)
    ours = toys.final(x, [Row(levels, 1.0, schedule.learned, "clip", draw) for draw in draws], toys.wide_network)
    close(ours, ddpm_loop(scheduler, x, torch.Generator().manual_seed(8), toys.wide_network))


@pytest.mark.parametrize("S", [1, 10, 50])
def test_a_learned_variance_is_that_of_diffusers_up_to_the_logarithm(S):
    """diffusers takes what the network says for the variance itself; here it is its logarithm."""

    def says(x, t, kind=torch.log):
        return torch.cat((toys.network(x, t), kind(0.02 * (3 * x).sin().add(1.1))), 1)

    config = {"variance_type": "learned"}
    schedule = from_config(config)
    scheduler = in_float64(DDPMScheduler(**config, clip_sample=True), schedule)
    scheduler.set_timesteps(S)
    x, levels = toys.pictures(2), schedule.levels(S, "leading")
    draws = drawn_by_ddpm([level.t for level in levels[:-1]], x.shape, seed=8)
    rows = [Row(levels, 1.0, schedule.learned, "clip", draw) for draw in draws]
    ours = toys.final(x, rows, says)
    close(ours, ddpm_loop(scheduler, x, torch.Generator().manual_seed(8), lambda x, t: says(x, t, torch.abs)))


def test_a_whole_chain_of_4000_cosine_steps():
    schedule = from_config(CHAINS["cosine-4000"])
    row = Row(schedule.levels(4000), 1.0, "learned_range", "clip", toys.keyed_draw(1))
    last = toys.final(toys.pictures(2).float(), [row] * 2, toys.wide_network)
    assert last.isfinite().all()
    assert last.abs().max() <= 1


def says(v):
    """The toy network with a second half that is v everywhere."""
    return lambda x, t: torch.cat((toys.network(x, t), torch.full_like(x, v)), 1)


@pytest.mark.parametrize(("v", "fixed"), [(-1.0, "small"), (1.0, "large")])
@pytest.mark.parametrize("chain", CHAINS)
def test_the_ends_of_the_range_are_the_fixed_variances(chain, v, fixed):
    levels = from_config(CHAINS[chain]).levels(20)
    learned, plain = (Row(levels, 1.0, variance, "clip", toys.keyed_draw(2)) for variance in ("learned_range", fixed))
    close(toys.final(toys.pictures(), [learned] * 2, says(v)), toys.final(toys.pictures(), [plain] * 2, says(v)))


@pytest.mark.parametrize("v", [-0.4, 0.0, 0.7])
def test_in_between_the_logarithm_of_the_variance_is_interpolated(v):
    levels = toys.LINEAR.levels_at([700, 400])
    beta, posterior = sigma_hat(levels[0].alpha_bar, levels[1].alpha_bar), ddim_sigma(levels[0].alpha_bar, levels[1].alpha_bar, 1)
    assert added(levels, "learned_range", v) == pytest.approx(beta ** ((v + 1) / 2) * posterior ** ((1 - v) / 2), rel=1e-12)


@pytest.mark.parametrize("v", [-9.0, -2.5])
def test_a_variance_that_is_said_outright_is_its_logarithm(v):
    for levels in itertools.starmap(lambda a, b: toys.LINEAR.levels_at([a, b]), [(700, 400), (2, 1)]):
        assert added(levels, "learned", v) == pytest.approx(torch.tensor(v / 2, dtype=torch.float64).exp().item(), rel=1e-12)


def added(levels, variance, v):
    """Standard deviation of the noise of the first transition, one value of it."""
    x, draw = toys.pictures(1), toys.keyed_draw(3)
    noisy, plain = (
        toys.run(x, [Row(levels, 1.0, variance, "clip", source)], says(v))[0].x_next
        for source in (draw, lambda cur, nxt: draw(cur, nxt) * 0)
    )
    ratio = (noisy - plain) / draw(levels[0].t, levels[1].t)
    assert ratio.std() < 1e-12
    return float(ratio.mean())


def test_a_row_of_a_fixed_variance_keeps_its_bits_beside_a_learned_one():
    x, levels = toys.pictures(2).float(), toys.LINEAR.levels(10)
    fixed, learned = (Row(levels, 1.0, variance, "clip", toys.keyed_draw(4)) for variance in ("small", "learned_range"))
    beside = toys.final(x, [fixed, learned], toys.wide_network)
    assert torch.equal(beside[0], toys.final(x, [fixed, fixed], toys.wide_network)[0])
    assert torch.equal(beside[1], toys.final(x, [learned, learned], toys.wide_network)[1])
