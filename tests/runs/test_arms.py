"""Arms with a model, a seed or a beginning of their own, in one run."""

from dataclasses import replace

import pytest
import torch

from ddim_app.diffusion.sampler import Row, drive, sample
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs.kinds import plan
from ddim_app.runs.sampling import Arm, Recipe
from tests import toys
from tests.toys import LINEAR


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "first")
    toys.save_tiny(root / "second", seed=1, scheduler={"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"})
    toys.save_tiny(root / "wide", sample_size=16)
    toys.save_tiny(root / "first-copy")
    return Engine([root], allow_hub=False, threaded=False)


def recipe(*arms, **values):
    return Recipe(**{"arms": arms, "model": "first", "precision": "fp32", "pictures": 2, "seed": 5} | values)


def test_an_arm_of_another_model_draws_what_that_model_draws_alone(engine):
    both = engine.final(recipe(Arm(steps=4), Arm(steps=3, eta=1, model="second"), Arm(steps=5, model="second")))
    alone = engine.final(recipe(Arm(steps=3, eta=1), Arm(steps=5), model="second"))
    torch.testing.assert_close(both[0], engine.final(recipe(Arm(steps=4)))[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.stack(both[1:]), torch.stack(alone), rtol=0, atol=1e-4)
    assert not torch.allclose(both[2], both[0], atol=0.1)


def test_models_take_turns_in_calls_of_their_own(engine):
    mixed = engine.plan(recipe(Arm(steps=4), Arm(steps=3, model="second")))
    assert (mixed.evaluations, mixed.calls(64), mixed.transitions) == (14, 7, 4)
    calls = engine.loop.calls
    frames = list(engine.run(mixed.recipe))
    assert engine.loop.calls - calls == 7
    assert sorted((frame.arm, frame.k) for frame in frames) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]


def test_the_made_recipe_names_the_weights_of_every_model(engine):
    made = []
    planned = engine.plan(recipe(Arm(steps=1), Arm(steps=1, model="second")))
    engine.start(planned, made.append)
    while not isinstance(made[-1] if made else None, tuple):
        engine.loop.round()
    finished = made[-1].recipe
    assert finished.weights == engine.model("first").sha256
    assert finished.arms[1].weights == engine.model("second").sha256 != finished.weights
    assert finished.arms[0].weights is None


def test_models_of_different_sizes_are_refused(engine):
    with pytest.raises(FieldError, match="model must make pictures of one size in all arms; these make 3x8x8 and 3x16x16"):
        engine.plan(recipe(Arm(), Arm(model="wide")))


def test_seed_and_noise_seed_of_an_arm_stand_for_the_recipes(engine):
    own = engine.final(recipe(Arm(steps=3, eta=1, seed=9, noise_seed=4, branch=2), Arm(steps=3, eta=1)))
    as_recipe = engine.final(recipe(Arm(steps=3, eta=1), seed=9, noise_seed=4, branch=2))[0]
    torch.testing.assert_close(own[0], as_recipe, rtol=0, atol=1e-4)
    torch.testing.assert_close(own[1], engine.final(recipe(Arm(steps=3, eta=1)))[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("arm", [Arm(steps=5), Arm(steps=5, eta=1.0), Arm(method="2m", steps=5)], ids=lambda arm: arm.label)
@pytest.mark.parametrize("step", [0, 1, 4])
def test_going_on_with_the_same_settings_changes_nothing(engine, arm, step):
    """The branch follows the path of the trunk's own noise, so a freeze alone is no cut."""
    trunk, again = engine.final(recipe(arm, replace(arm, start_arm=0, start_step=step)))
    torch.testing.assert_close(again, trunk, rtol=0, atol=1e-4)


def test_branches_of_ddpm_spread_and_those_of_ddim_coincide(engine):
    """DDPM (arXiv:2006.11239) Fig. 7; a later freeze leaves less to chance."""

    def spread(eta, step):
        arms = [Arm(steps=8, eta=eta, start_arm=0, start_step=step, branch=branch) for branch in range(4)]
        return float(torch.stack(engine.final(recipe(Arm(steps=8, eta=1), *arms))[1:]).std(0).mean())

    assert spread(0, 3) == 0
    assert spread(1, 1) > 2 * spread(1, 6) > 0


def test_a_frozen_run_counts_only_what_it_evaluates(engine):
    planned = engine.plan(recipe(Arm(steps=5), Arm(steps=5, start_arm=0, start_step=3), Arm(steps=10, start_arm=1, start_step=1)))
    # The last goes on from step 4 of the trunk (t = 199): of its own ten timesteps 99 is still to come.
    assert [row.transitions for row in planned.rows] == [5, 2, 2]
    assert [level.t for level in planned.rows[2].levels[:-1]] == [199, 99]
    assert (planned.evaluations, planned.transitions, planned.calls(64)) == (18, 6, 6)
    frames = list(engine.run(planned.recipe))
    assert [(frame.arm, frame.k, frame.round) for frame in frames if frame.arm] == [(1, 0, 3), (1, 1, 4), (2, 0, 4), (2, 1, 5)]
    assert planned.evaluated(4) == 2 * (4 + 1)
    assert planned.evaluated(6) == planned.evaluations


def test_a_row_may_start_from_a_row_that_started_from_another():
    x = toys.pictures(1)
    levels = LINEAR.levels(4)
    rows = [Row(levels), Row(levels[1:], start=(0, 1)), Row(levels[3:], start=(1, 2)), Row(levels[1:], start=(1, 0))]
    reports = list(drive(sample(torch.cat((x, *[torch.zeros_like(x)] * 3)), rows), toys.network))
    last = {row: step.x_next[i] for step in reports for i, row in enumerate(step.rows)}
    torch.testing.assert_close(last[1], last[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(last[2], last[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(last[3], last[0], rtol=0, atol=1e-12)  # it joins in the same round as the one it starts from


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        ((Arm(), Arm(start_arm=0, start_step=25)), "start_step must be a whole number from 0 to 24; got 25"),
        ((Arm(), Arm(model="second", start_arm=0, start_step=3)), "start_arm must be an arm of the same model"),
        ((Arm(), Arm(start_arm=1, start_step=3)), "start_arm must be an earlier arm than arm 1; got 1"),
    ],
)
def test_a_wrong_start_is_said(engine, arms, sentence):
    with pytest.raises(FieldError, match=sentence):
        plan(recipe(*arms), engine.model)


def test_start_needs_both_its_numbers():
    with pytest.raises(FieldError, match="start_step and start_arm must be given together"):
        Arm(start_arm=0)
