"""What a run is thought to take: calls of its sizes, at the speeds that were measured."""

from pathlib import Path

import pytest

from ddim_app.engine import Engine
from ddim_app.engine.evaluators import Pace
from ddim_app.runs.sampling import Arm, Recipe


def measured(**calls: float) -> Pace:
    pace = Pace()
    pace.observe(100.0, 1)  # the first call prepares the weights
    for rows, seconds in calls.items():
        pace.observe(seconds, int(rows[1:]))
    return pace


def test_a_row_of_a_large_call_costs_less_and_is_estimated_so() -> None:
    pace = measured(r1=0.018, r16=0.080)
    assert pace.seconds(1) == pytest.approx(0.018)
    assert pace.seconds(13) == pytest.approx(0.080)  # of the same bucket
    assert pace.seconds(8) == pytest.approx(0.018 + 7 / 15 * 0.062)  # on the line between
    assert pace.seconds(32) == pytest.approx(0.160)  # beyond it


def test_nothing_is_estimated_before_a_second_call_and_speeds_follow_the_load() -> None:
    pace = Pace()
    assert pace.seconds(4) is None
    pace.observe(100.0, 4)
    assert pace.seconds(4) is None
    for seconds in (1.0, 2.0):
        pace.observe(seconds, 4)
    assert pace.seconds(4) == pytest.approx(1.3)


def test_a_plan_is_the_sum_of_its_calls(tiny_root: Path) -> None:
    engine = Engine([tiny_root])
    plan = engine.plan(Recipe(arms=(Arm(steps=6), Arm(method="ddpm", steps=2)), model="tiny", pictures=3))
    assert plan.call_sizes(256) == {(0, 6): 2, (0, 3): 4}
    assert plan.call_sizes(4) == {(0, 4): 2, (0, 2): 2, (0, 3): 4}
    assert plan.call_sizes(4).total() == plan.calls(4) == 8
    assert engine.seconds(plan) is None
    engine.final(plan.recipe)
    assert engine.seconds(plan) > 0
