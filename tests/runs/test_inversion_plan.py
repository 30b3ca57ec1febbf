"""Inversions as runs of the engine: recipes, costs, every method's round trip, refusals."""

import copy
import itertools
import json
from dataclasses import replace

import pytest
import torch

from ddim_app.diffusion import gaussianity, metrics
from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.lockstep import in_lockstep
from ddim_app.diffusion.sampler import Query, drive
from ddim_app.engine.limits import Budget
from ddim_app.errors import FieldError, RunError
from ddim_app.runs import inversion_routes, kinds, latent_files, sampling
from ddim_app.runs.inversion import METHODS, InversionArm
from ddim_app.runs.inversion_plan import InversionResult, InversionStep
from ddim_app.runs.sources import Source, of_tensor
from ddim_app.studies import inversion_table
from tests import toys
from tests.inversions import PICTURE, asked


def test_a_recipe_goes_through_json():
    value = asked(
        *(InversionArm(method=method, steps=7) for method in METHODS),
        sources=(PICTURE, Source(seed=3)), decode_model="b", clamped=True,
        noise_seed=9, precision="fp64", bucket=4,
    )  # fmt: skip
    assert kinds.from_json(value.to_json()) == value
    assert json.loads(value.to_json())["kind"] == "invert"


def test_in_float64_calls_have_no_more_rows_than_the_largest_bucket(engine):
    many = asked(*(InversionArm(method=method, steps=3) for method in METHODS), sources=(PICTURE,) * 40, precision="fp64")
    assert engine.plan(many).recipe.bucket == BUCKETS[-1]


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_every_method_runs_beside_the_others_and_costs_what_was_said(engine, precision):
    value = asked(*(InversionArm(method=method, steps=6) for method in METHODS), sources=(PICTURE, PICTURE), precision=precision)
    planned = engine.plan(value)
    engine.final(sampling.Recipe(arms=(sampling.Arm(steps=1),), model="a"))
    before, rows = engine.loop.calls, 0
    found, going = {}, []
    for frame in engine.run(value):
        if isinstance(frame, InversionResult):
            found[METHODS and value.arms[frame.arm].method] = frame
        else:
            going.append(frame)
    assert engine.loop.calls - before == engine.calls(planned)
    assert max(frame.k for frame in going) + 1 == planned.transitions == 30
    for method, result in found.items():
        rows += 2 * sum(result.evaluations)
        error = float(metrics.mse(result.original, result.back).max())
        if method in ("o-belm", "stochastic", "stochastic-chain"):
            assert error < (1e-9 if precision == "fp32" else 1e-24)
        assert result.latent.timesteps == tuple(level.t for level in planned.models[0].schedule.levels(6)[:-1])
        assert latent_files.load(latent_files.save(result.latent)).recipe == result.latent.recipe
    assert rows == planned.evaluations
    assert found["fixed-point"].evaluations == (24, 6)
    assert len(found["fixed-point"].residuals) == 6
    assert found["o-belm"].latent.kind == "pair"
    assert found["o-belm-single"].latent.kind == "single"
    assert torch.equal(found["o-belm-single"].latent.x, found["o-belm"].latent.x)
    assert found["o-belm"].evaluations == (6, 5)
    assert found["sdedit"].evaluations == (0, 6)
    assert len(found["stochastic"].noise_stds) == 5
    bare = metrics.mse(found["stochastic"].original, found["stochastic"].without_residual)
    assert float(bare.min()) > 1e-12
    assert {(frame.arm, frame.phase) for frame in going} >= {(0, "up"), (0, "down"), (7, "down")}
    assert all(frame.x.device.type == "cpu" and frame.is_finite for frame in going)


def test_an_own_sample_gives_its_noise_back_and_a_clamped_one_does_not(engine):
    way = InversionArm(method="fixed-point", steps=20, evaluations=400)
    value = asked(way, sources=(Source(seed=4),), self_interpolation=True)
    found = inversion_table.invert(engine, value)[0]
    assert gaussianity.cosine(found.latent.x, found.true_latent)[0] > 0.999
    assert torch.equal(found.true_latent, Source(seed=4).tensor((3, 8, 8)))
    assert found.between.shape == (3, 1, 3, 8, 8)
    planned = engine.plan(value)
    assert planned.evaluations == 20 + 400 + 20 + 3 * 20
    clamped = inversion_table.invert(engine, replace(value, clamped=True))[0]
    assert float(clamped.original.abs().max()) == 1
    assert gaussianity.cosine(clamped.latent.x, clamped.true_latent)[0] < 0.9


def test_strength_goes_part_of_the_way(engine):
    half = asked(
        InversionArm(steps=10, strength=0.5),
        InversionArm(steps=10, strength=0.01),
        InversionArm(method="sdedit", steps=10, strength=0.3),
    )
    found = inversion_table.invert(engine, half)
    assert [len(each.latent.timesteps) for each in found] == [5, 1, 3]
    assert [each.evaluations for each in found] == [(5, 5), (1, 1), (0, 3)]
    assert found[0].latent.timesteps == (499, 399, 299, 199, 99)


def test_the_way_down_may_have_other_steps_and_another_model(engine):
    value = asked(InversionArm(steps=5, decode_steps=20), decode_model="b")
    going = [frame for frame in engine.run(value) if isinstance(frame, InversionStep)]
    assert sum(frame.phase == "down" for frame in going) == 20
    assert {frame.steps for frame in going if frame.phase == "up"} == {5}
    same = inversion_table.invert(engine, replace(value, decode_model=None))[0]
    other = inversion_table.invert(engine, value)[0]
    assert torch.equal(same.latent.x, other.latent.x)
    assert not torch.allclose(same.back, other.back)
    assert engine.plan(value).models[1].name == "b"
    partial = inversion_table.invert(engine, asked(InversionArm(steps=10, strength=0.5, decode_steps=20)))[0]
    assert partial.latent.timesteps[:3] == (499, 449, 399)
    assert len(partial.latent.timesteps) == 10


def test_a_latent_comes_back_with_another_eta(engine):
    still, drawn = inversion_table.invert(engine, asked(InversionArm(steps=10), InversionArm(steps=10, eta=1)))
    assert torch.equal(still.latent.x, drawn.latent.x)
    assert not torch.allclose(still.back, drawn.back)
    again = inversion_table.invert(engine, asked(InversionArm(steps=10, eta=1)))[0]
    torch.testing.assert_close(again.back, drawn.back, rtol=0, atol=1e-3)


def test_zero_terminal_snr_is_entered_below_its_end(engine):
    value = asked(*(InversionArm(method=method, steps=10) for method in METHODS), model="zero-snr")
    for found in inversion_table.invert(engine, value):
        assert found.latent.timesteps[0] == 899
        assert bool(found.back.isfinite().all())


def test_one_step_is_right_or_one_sentence(engine):
    for method in METHODS:
        if method.startswith("o-belm"):
            with pytest.raises(FieldError, match="must leave O-BELM two transitions"):
                engine.plan(asked(InversionArm(method=method, steps=1)))
        else:
            assert inversion_table.invert(engine, asked(InversionArm(method=method, steps=1)))[0].back.shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "magic"}, "method must be one of ddim-target, "),
        ({"steps": 0}, "steps must be a whole number 1 or more"),
        ({"strength": 0}, "strength must be above 0: at 0 the picture would stay"),
        ({"strength": 1.1}, "strength must be a number from 0 to 1"),
        ({"strength": float("nan")}, "strength must be a number from 0 to 1"),
        ({"method": "stochastic", "eta": 0}, "eta must be 0.001 or more"),
        ({"method": "o-belm", "eta": 1}, "eta must be 0 for o-belm"),
        ({"method": "o-belm", "decode_steps": 3}, "decode_steps must be as many as steps"),
        ({"decode_steps": 0}, "decode_steps must be a whole number"),
        ({"evaluations": 0}, "evaluations must be a whole number"),
        ({"tolerance": -1}, "tolerance must be a number"),
    ],
)
def test_wrong_ways_get_a_sentence(values, sentence):
    with pytest.raises(FieldError, match=sentence):
        InversionArm(**values)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"arms": (InversionArm(steps=1001),)}, "steps must be a whole number from 1 to 1000"),
        ({"arms": (InversionArm(decode_steps=1001),)}, "decode_steps must be a whole number from 1 to 1000"),
        ({"arms": (InversionArm(method="fixed-point", evaluations=49),)}, "evaluations must be a whole number 50 or more"),
        ({"sources": (of_tensor(torch.zeros(3, 4, 4)),)}, "source must have the model's size: it is 3x4x4"),
        ({"decode_model": "small"}, "decode_model must make pictures of the encoder's size; these make 3x8x8 and 3x4x4"),
        ({"decode_model": "other"}, "decode_model must have the encoder's noise schedule"),
        ({"decode_model": "none"}, "model must be"),
    ],
)
def test_what_the_models_cannot_do_gets_a_sentence(engine, settings, sentence):
    with pytest.raises(FieldError, match=sentence):
        engine.plan(asked(**settings))


@pytest.mark.parametrize(
    "settings", [{"sources": ()}, {"arms": ()}, {"precision": "fast"}, {"clamped": 1}, {"noise_seed": -1}, {"decode_model": ""}]
)
def test_wrong_recipes_get_a_sentence(settings):
    with pytest.raises(FieldError):
        replace(asked(), **settings)


def test_abreast_asks_together_and_returns_what_each_has_found():
    def counter(rounds, network):
        total = 0.0
        for _ in range(rounds):
            output = yield Query(torch.full((rounds, 1), 1.0 + network), torch.zeros(rounds, dtype=torch.int64), network)
            assert len(output) == rounds
            total += float(output.sum())
        yield InversionStep(network, -1, "up", 0, 1, None, torch.zeros(1), torch.zeros(1), None)
        return total

    process, queries, reports, results = in_lockstep([counter(1, 0), counter(3, 0), counter(2, 1)], first=10), [], [], None

    def driven():
        nonlocal results
        results = yield from process

    for item in drive(driven(), lambda x, t: (queries.append(len(t)), x)[1], lambda x, t: (queries.append(-len(t)), x)[1]):
        reports.append((item.arm, item.k))
    assert results == [1.0, 9.0, 8.0]
    assert queries == [4, -2, 3, -2, 3]
    assert reports == [(0, 10), (1, 11), (0, 12)]


def test_the_engine_refuses_what_is_too_dear(engine):
    host = copy.copy(engine)
    host.budget = Budget(max_evaluations=50)
    with pytest.raises(FieldError, match="at most 50 evaluations on this host, and this run needs 100"):
        host.plan(asked(InversionArm(steps=50)))


def test_routes_have_their_costs():
    for method, nfe in (("ddim-target", (9, 9)), ("fixed-point", (36, 9)), ("o-belm", (9, 8)), ("sdedit", (0, 9))):
        assert inversion_routes.route_of(InversionArm(method=method, steps=9), toys.LINEAR, toys.LINEAR).nfe == nfe


def test_an_error_counts_the_steps_of_a_fixed_point_as_the_page_does(engine):
    """Not the evaluations, of which a step has several."""
    planned = engine.plan(asked(InversionArm(method="fixed-point", steps=5), sources=(Source(seed=3),)))
    steps = [f"step {i + 1} of 5 of making the picture" for i in range(5)]
    steps += [f"step {i + 1} of 5 on the way up" for i, count in enumerate(planned.routes[0].allotted) for _ in range(count)]
    steps += [f"step {i + 1} of 5 on the way down" for i in range(5)]
    assert len(steps) > 15 + 5
    for bad, words in enumerate(steps):
        calls = itertools.count()

        def predict(x, t, calls=calls, bad=bad):
            return toys.network(x, t) * (float("nan") if next(calls) == bad else 1)

        with pytest.raises(RunError, match=f"not a number at {words}, so"):
            list(drive(planned.process(torch.device("cpu")), predict))


def test_an_error_of_arms_at_different_steps_counts_rounds(engine):
    planned = engine.plan(asked(InversionArm(method="fixed-point", steps=5), InversionArm(method="ddim-target", steps=5)))
    calls = itertools.count(1)

    def predict(x, t):
        return toys.network(x, t) * (float("nan") if next(calls) == 4 else 1)

    with pytest.raises(RunError, match="not a number at round 4 of network calls, so"):
        list(drive(planned.process(torch.device("cpu")), predict))
