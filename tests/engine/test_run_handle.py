"""A run's handle: its events in order, its end, and what it comes to."""

import gc
import threading

import pytest
import torch

from ddim_app.diffusion import sampler
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, RunError
from ddim_app.runs.decoding import Decoded
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.lessons import LessonStep, LookResult
from ddim_app.runs.likelihood import Bound
from ddim_app.runs.path_frames import CollectedFrames
from ddim_app.runs.sampling import Arm, Recipe
from tests.golden import measure
from tests.golden.recipes import RECIPES

LONG = Recipe(arms=(Arm(steps=1000),), model="tiny", precision="fp32")


@pytest.fixture(scope="module", params=[True, False], ids=["threaded", "by its reader"])
def engine(request, tiny_root):
    engine = Engine([tiny_root], allow_hub=False, device=torch.device("cpu"), threaded=request.param)
    yield engine
    engine.loop.close()


def test_events_come_in_order_and_then_the_result(engine):
    run = engine.run(LONG.with_arms(Arm(steps=4), Arm(method="ddpm", steps=2)))
    told = [(event.arm, event.k) for event in run]
    assert sorted(told) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    assert [k for arm, k in told if arm == 0] == [0, 1, 2, 3]
    first, second = run.result
    assert first.shape == second.shape == (1, *run.plan.model.shape)
    assert run.recipe.weights == run.plan.model.sha256
    assert list(run) == []


def test_the_result_reads_what_is_left(engine):
    whole = engine.final(LONG.with_arms(Arm(steps=5)))
    run = engine.run(LONG.with_arms(Arm(steps=5)))
    next(run)
    assert torch.equal(run.result[0], whole[0])


def test_one_read_brings_the_events_of_one_call(engine):
    run = engine.run(LONG.with_arms(Arm(steps=2), Arm(steps=2, eta=1.0)))
    assert [(event.arm, event.k) for event in run.read()] == [(0, 0), (1, 0)]
    run.stop()


def test_a_run_that_is_stopped_has_no_result_and_makes_no_more_calls(engine):
    run = engine.run(LONG)
    next(run)
    run.stop()
    run.stop()
    with pytest.raises(RunError, match="stopped before its end"):
        run.result  # noqa: B018
    before = engine.loop.evaluations
    engine.final(LONG.with_arms(Arm(steps=3)))
    assert engine.loop.evaluations - before <= 3 + 1
    assert run.error is None


def test_a_handle_that_nobody_holds_stops_its_run(engine):
    run = engine.run(LONG)
    next(run)
    del run
    gc.collect()
    assert engine.loop.runs == 0


def test_stop_from_another_thread_ends_the_reader(engine):
    run, read = engine.run(LONG), []
    reader = threading.Thread(target=lambda: read.extend(run))
    reader.start()
    run.stop()
    reader.join(60)
    assert not reader.is_alive()
    assert len(read) < 1000


def test_a_run_that_has_to_end_says_why(engine, monkeypatch):
    made = []

    def fourth_breaks(*values):
        if len(made) == 3:
            raise RuntimeError("no luck")
        made.append(sampler.advance(*values))
        return made[-1]

    monkeypatch.setattr("ddim_app.engine.row_batches.advance", fourth_breaks)
    run = engine.run(LONG.with_arms(Arm(steps=30)))
    assert next(run).k == 0
    with pytest.raises(RunError, match="no luck"):
        list(run)
    assert "no luck" in run.error


def test_a_wrong_recipe_is_refused_before_anything_starts(engine):
    with pytest.raises(FieldError, match="steps must be a whole number from 1 to"):
        engine.run(LONG.with_arms(Arm(steps=5000)))
    assert engine.loop.runs == 0


OF_KIND = {
    "sampling": torch.Tensor, "invert": InversionResult, "decode": Decoded, "lesson": (LookResult, LessonStep), "likelihood": Bound,
}  # fmt: skip
"""What the results of these kinds are lists of; that of the others is a CollectedFrames."""


ONE_OF_EACH = {(recipe.kind, getattr(recipe, "mode", "")): name for name, recipe in RECIPES.items()}.values()


@pytest.fixture(scope="module")
def of_goldens(tmp_path_factory):
    return measure.engine(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_kind_has_one_typed_result(name, of_goldens):
    recipe = RECIPES[name]
    result = of_goldens.run(recipe).result
    if recipe.kind in OF_KIND:
        assert result
        assert all(isinstance(part, OF_KIND[recipe.kind]) for part in result)
    else:
        assert isinstance(result, CollectedFrames)
        assert result.is_complete
