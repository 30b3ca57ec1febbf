"""DPM-Solver++(2M): its order on data whose flow is known, the two steps of first order, and the same chains by diffusers."""

import itertools
import math

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from ddim_app.diffusion import formulas, multistep, reference
from ddim_app.diffusion.sampler import Row
from ddim_app.diffusion.schedule import CLEAN, Level, Schedule, even_in_log_snr
from tests import toys
from tests.oracle import Gaussian
from tests.toys import LINEAR, SCHEDULES

DATA = Gaussian(mu=0.3, s=0.5)
FIRST, LAST = 999, 20


def levels_down(schedule, S, spacing):
    """S steps from t = 999 to t = 20, evenly in t or in log-SNR; the step into the clean level is another matter."""
    if spacing == "t":
        visited = np.linspace(FIRST, LAST, S + 1).round().astype(int).tolist()
    else:
        table = schedule.alphas_cumprod[LAST : FIRST + 1].tolist()
        visited = [LAST + t for t in even_in_log_snr(S + 1, table)[::-1]]
    return [schedule.level(t) for t in visited]


def errors(schedule, spacing, counts, is_2m):
    x = toys.pictures(8)
    exact = DATA.flow(x, schedule.level(FIRST).alpha_bar, schedule.level(LAST).alpha_bar)
    network = DATA.network(schedule.alphas_cumprod)
    rows = [[Row(levels_down(schedule, S, spacing), multistep=is_2m)] * len(x) for S in counts]
    return [(toys.final(x, each, network) - exact).abs().max().item() for each in rows]


@pytest.mark.parametrize(
    ("name", "spacing", "slopes"),
    [("linear", "t", (1.91, 2.01)), ("linear", "log-snr", (1.94, 1.98)), ("cosine", "t", (2.07, 2.06))],
)
def test_it_is_of_second_order_where_ddim_is_of_first(name, spacing, slopes):
    """Slopes of log error over log steps between S = 40, 80 and 160, the first and last levels held."""
    for is_2m, expected in ((True, slopes), (False, (0.98, 0.99))):
        found = errors(SCHEDULES[name], spacing, (40, 80, 160), is_2m)
        assert [math.log2(a / b) for a, b in itertools.pairwise(found)] == pytest.approx(expected, abs=0.035)


@pytest.mark.parametrize(("spacing", "times"), [("t", 2), ("log-snr", 14)])
def test_at_20_steps_its_error_is_a_fraction_of_ddims(spacing, times):
    (second,), (first,) = (errors(LINEAR, spacing, (20,), is_2m) for is_2m in (True, False))
    assert second < first / times


def test_it_is_ddim_at_the_first_step_and_into_the_clean_level_and_nowhere_else():
    x, levels = toys.pictures(1), LINEAR.levels(8)
    ddim, second = (toys.run(x, [Row(levels, multistep=is_2m)]) for is_2m in (False, True))
    assert torch.equal(second[0].x_next, ddim[0].x_next)
    for (before, step), cur, nxt in zip(itertools.pairwise(second), levels[1:-1], levels[2:], strict=True):
        plain = formulas.ddim_step(step.pred_x0, step.eps, nxt.alpha_bar)
        assert torch.allclose(step.x_next, plain, rtol=0, atol=1e-13) == nxt.is_clean
        # What is told of a step is the network's own prediction: it and its eps explain x_t.
        torch.testing.assert_close(formulas.add_noise(step.pred_x0, step.eps, cur.alpha_bar), before.x_next, rtol=0, atol=1e-12)
    assert torch.equal(second[-1].x_next, second[-1].pred_x0)


def test_the_weight_is_half_of_how_long_the_step_is_beside_the_one_before():
    a, b, c = (Level(t, 1 / (1 + math.exp(-2 * log))) for t, log in ((900, -3.0), (500, -1.0), (100, 0.0)))
    assert multistep.weight(a, b, c) == pytest.approx(1 / 4, abs=1e-15)
    assert multistep.weight(a, b, CLEAN) == 0
    assert multistep.weight(Level(999, 0.0), b, c) == 0  # pure noise is infinitely far off


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", ["trailing", "log-snr", "quadratic"])
def test_it_follows_the_papers_own_loop(name, spacing):
    """Written in the paper's symbols for one picture; a level without signal has none of its logarithms."""
    schedule = Schedule(SCHEDULES[name].alphas_cumprod[:-1])
    network = DATA.network(schedule.alphas_cumprod)
    x = toys.pictures(1)
    for S in (1, 2, 3, 10, 25):
        levels = schedule.levels(S, spacing)
        expected = reference.sample_2m(lambda x, t: network(x[None], torch.tensor([t]))[0], x[0], levels)
        torch.testing.assert_close(toys.final(x, [Row(levels, multistep=True)], network)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spacing", ["trailing", "log-snr"])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_steps_to_the_clean_level_stay_near_the_flow(name, spacing):
    """Where the cosine schedule ends, others' second-order steps have left noise or spots; here 2M is never the worse."""
    schedule = SCHEDULES[name]
    x, network = toys.pictures(8), DATA.network(schedule.alphas_cumprod)
    exact = DATA.flow(x, schedule.level(999).alpha_bar, 1.0)
    for S in (5, 10, 20, 50):
        levels = schedule.levels(S, spacing)
        ddim, second = (toys.final(x, [Row(levels, multistep=m)] * 8, network) - exact for m in (False, True))
        assert second.abs().max() < ddim.abs().max()


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", ["linear", "cosine", "zero-snr"])
def test_it_is_exact_on_one_picture(name, prediction_type):
    """With s = 0 every prediction is the picture itself, and any step is exact."""
    point = Gaussian(mu=0.4, s=0.0)
    schedule = Schedule(SCHEDULES[name].alphas_cumprod, prediction_type)
    levels = schedule.levels(7, "leading" if name == "zero-snr" and prediction_type == "epsilon" else "trailing")
    network = point.network(schedule.alphas_cumprod, prediction_type)
    end = toys.final(toys.pictures(1), [Row(levels, multistep=True, prediction_type=prediction_type)], network)
    torch.testing.assert_close(end, torch.full_like(end, 0.4), rtol=0, atol=1e-10)


def test_a_row_that_starts_where_another_is_goes_on_as_it_would():
    """It keeps what the other knew: the picture is the one of a run that never parted. After DDIM it has nothing to keep."""
    x, levels = toys.pictures(1), LINEAR.levels(6)
    parted = [
        Row(levels, multistep=True), Row(levels[3:], multistep=True, start=(0, 3)), Row(levels[4:], multistep=True, start=(1, 1)),
        Row(levels), Row(levels[3:], multistep=True, start=(3, 3)), Row(levels[3:], start=(0, 3)),
    ]  # fmt: skip
    whole, branch, twig, _, after_ddim, ddim_after = toys.final(x[[0] * 6], parted)
    assert torch.equal(whole, branch)
    assert torch.equal(whole, twig)
    for is_2m, found in ((True, after_ddim), (False, ddim_after)):
        middle = toys.run(x, [Row(levels, multistep=not is_2m)])[2].x_next
        torch.testing.assert_close(found[None], toys.final(middle, [Row(levels[3:], multistep=is_2m)]), rtol=0, atol=1e-13)


def test_guided_rows_carry_their_guided_prediction_on():
    """A guided row is asked twice a step; with w = 1 of two equal classes it is the row without guidance."""
    x, levels = toys.pictures(1), LINEAR.levels(5)
    predict = lambda x, t, y=None: toys.network(x, t)  # noqa: E731
    alone = toys.final(x, [Row(levels, multistep=True)], predict)
    guided = toys.final(x, [Row(levels, multistep=True, classes=(0, 1), guidance=3.0)], predict)
    torch.testing.assert_close(guided, alone, rtol=0, atol=1e-12)


# diffusers.


def their_loop(schedule, x, visited, **config):
    """diffusers' scheduler on our float64 table and list of timesteps; it has sigmas in float32."""
    scheduler = DPMSolverMultistepScheduler(num_train_timesteps=schedule.num_train_timesteps, **config)
    scheduler.alphas_cumprod = schedule.alphas_cumprod
    scheduler.set_timesteps(timesteps=visited)
    for t in scheduler.timesteps.tolist():
        x = scheduler.step(toys.network(x, torch.full((len(x),), t)), t, x).prev_sample
    return x


CLIPPING = {
    "off": {}, "clip": {"thresholding": True, "sample_max_value": 1.0}, "dynamic": {"thresholding": True, "sample_max_value": 1e9},
}  # fmt: skip
"""How diffusers' scheduler is told to treat predictions as our rules do."""


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("clip", CLIPPING)
@pytest.mark.parametrize("name", ["linear", "cosine"])
@pytest.mark.parametrize(("S", "spacing"), [(1, "trailing"), (2, "leading"), (7, "quadratic"), (14, "log-snr"), (30, "linspace")])
def test_diffusers_makes_the_same_chain_on_any_list(name, S, spacing, clip):
    schedule = SCHEDULES[name]
    x = toys.pictures(2)
    ours = toys.final(x, [Row(schedule.levels(S, spacing), clip=clip, multistep=True)] * 2)
    theirs = their_loop(schedule, x.float(), schedule.timesteps(S, spacing), **CLIPPING[clip])
    torch.testing.assert_close(ours, theirs.double(), rtol=2e-4, atol=2e-4 * max(1.0, ours.abs().max().item()))


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_diffusers_leading_list_is_that_of_one_more_step():
    """So a comparison with it has to hand over the list."""
    scheduler = DPMSolverMultistepScheduler(timestep_spacing="leading")
    scheduler.set_timesteps(10)
    assert scheduler.timesteps.tolist() == [900 - 90 * i for i in range(10)]
    assert LINEAR.timesteps(10, "leading") == [900 - 100 * i for i in range(10)]
