"""The Learn tab's small runs: what a look sees, where a chain begins, and Euler's two rules against the closed form."""

import math
from itertools import pairwise

import pytest
import torch

from ddim_app.diffusion.formulas import add_noise, ddim_step, predict_x0
from ddim_app.diffusion.noise import initial_noise
from ddim_app.diffusion.sampler import drive
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.errors import FieldError
from ddim_app.models.classes import UNCONDITIONAL
from ddim_app.runs import lessons
from ddim_app.runs.kinds import from_json
from ddim_app.runs.lessons import LessonRecipe
from ddim_app.runs.sources import Source, of_pixels
from tests.oracle import Gaussian
from tests.toys import LINEAR, pictures

SHAPE = (3, 4, 4)
PICTURE = of_pixels(pictures(1, SHAPE)[0].clamp(-1, 1))
DATA = Gaussian(0.2, 0.5)


class Toy:
    """A model without classes whose network is the best there is for N(0.2, 0.25 I)."""

    classes = UNCONDITIONAL

    def __init__(self, schedule=LINEAR):
        self.schedule, self.shape, self.sha256 = schedule, SHAPE, "0" * 64


def planned(schedule=LINEAR, **values):
    return lessons.plan(LessonRecipe(**{"picture": PICTURE, "clip": "off", **values}), lambda name: Toy(schedule))


def reports(run):
    network = DATA.network(LINEAR.alphas_cumprod)
    return [frame for item in drive(run.process(torch.device("cpu")), network) for frame in run.frames(item)]


def test_a_look_asks_once_for_each_timestep():
    run = planned(timesteps=(999, 400, 0), seed=3)
    (sight,) = reports(run)
    assert (run.evaluations, run.transitions, run.calls(2)) == (3, 1, 2)
    ab = LINEAR.alphas_cumprod[[999, 400, 0]]
    x_t = add_noise(run.x0.expand(3, -1, -1, -1), initial_noise([3], SHAPE).expand(3, -1, -1, -1), ab)
    torch.testing.assert_close(sight.x_t, x_t)
    torch.testing.assert_close(sight.pred_x0, predict_x0(sight.x_t, sight.output, ab))
    assert torch.equal(sight.eps, sight.output)
    clipped = reports(planned(timesteps=(999,), clip="clip"))[0]
    assert float(clipped.pred_x0.abs().max()) <= 1


def test_a_chain_starts_where_it_is_told_and_goes_down_the_grid():
    run = planned(lesson="denoise", timesteps=(450,), steps=10)
    assert [level.t for level in run.grids[0]] == [450, 399, 299, 199, 99, 0]
    assert run.grids[0][-1].is_clean
    moves = reports(run)
    assert [move.k for move in moves] == list(range(5))
    x_t = add_noise(run.x0, initial_noise([0], SHAPE), run.grids[0][0].alpha_bar)
    torch.testing.assert_close(moves[-1].x_next, DATA.chain(x_t.double(), run.grids[0])[-1].float(), rtol=0, atol=1e-5)


def test_eulers_first_rule_is_ddim_and_the_second_the_probability_flow():
    x, eps = pictures(2, SHAPE, 1), pictures(2, SHAPE, 2)
    a, b = LINEAR.level(500).alpha_bar, LINEAR.level(300).alpha_bar
    torch.testing.assert_close(lessons.euler_step(x, eps, a, b, "ddim"), ddim_step(predict_x0(x, eps, a), eps, b))
    # Eq. 15 as the paper writes it.
    change = 0.5 * ((1 - b) / b - (1 - a) / a) * math.sqrt(a / (1 - a)) * eps
    torch.testing.assert_close(lessons.euler_step(x, eps, a, b, "flow") / math.sqrt(b), x / math.sqrt(a) + change)


def test_both_rules_tend_to_the_flow_and_ddim_is_nearer():
    ddim, flow = (euler_errors(rule) for rule in lessons.RULES)
    for coarse, fine in (ddim, flow):
        assert 0.4 < fine / coarse < 0.6  # both of first order
    assert ddim[1] < flow[1] / 5


def euler_errors(rule):
    """Largest distance to the exact flow with 20 and with 40 steps."""
    x = pictures(1, SHAPE, 4)
    # Between two noisy levels, since Eq. 15 does not reach the clean one.
    first, last = LINEAR.level(900), LINEAR.level(100)
    exact = DATA.flow(x, first.alpha_bar, last.alpha_bar)
    errors = []
    for count in (20, 40):
        levels = [LINEAR.level(round(900 - 800 * i / count)) for i in range(count + 1)]
        here = x
        for cur, nxt in pairwise(levels):
            eps = DATA.eps(here, torch.tensor(cur.alpha_bar, dtype=torch.float64))
            here = lessons.euler_step(here, eps, cur.alpha_bar, nxt.alpha_bar, rule)
        errors.append(float((here - exact).abs().max()))
    return errors


def test_the_race_has_a_row_for_each_rule_and_count_and_a_long_one():
    run = planned(lesson="euler", timesteps=(5, 10), steps=20, picture=None)
    assert [len(levels) - 1 for levels in run.grids] == [5, 5, 10, 10, 20]
    assert run.rules == ("ddim", "flow", "ddim", "flow", "ddim")
    assert run.evaluations == 50
    moves = reports(run)
    assert [len(move.rows) for move in moves] == [5] * 5 + [3] * 5 + [1] * 10
    x = initial_noise([0], SHAPE).double()
    torch.testing.assert_close(moves[-1].x_next, DATA.chain(x, run.grids[-1])[-1].float(), rtol=0, atol=1e-5)


def test_a_turn_is_an_angle():
    x = pictures(1, SHAPE)
    assert lessons.turn(x, 3 * x) == pytest.approx(0, abs=1e-5)
    assert lessons.turn(x, -x) == pytest.approx(180)


def test_wrong_lessons_are_said():
    cases = [
        ("lesson", {"lesson": "sing"}),
        ("timesteps", {"timesteps": ()}),
        ("picture", {"picture": None}),
        ("t", {"timesteps": (1000,)}),
        ("t", {"lesson": "denoise", "timesteps": (5000,)}),
        ("steps", {"lesson": "euler", "timesteps": (5,), "steps": 1001}),
        ("source", {"picture": Source(png="AAAA")}),
    ]
    for field, values in cases:
        with pytest.raises(FieldError) as error:
            planned(**values)
        assert error.value.field == field
    zero = Schedule(cumulative(betas(), zero_terminal_snr=True), prediction_type="v_prediction")
    with pytest.raises(FieldError, match="not defined"):
        planned(zero, lesson="euler", timesteps=(5,))


def test_the_recipe_comes_back_from_its_json():
    made = planned(timesteps=(1, 2)).recipe
    assert from_json(made.to_json()) == made
