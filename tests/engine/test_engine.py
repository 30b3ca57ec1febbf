"""The engine on a tiny random model: frames, seeds, costs, and runs that do not mix. Noise paths on the bundled one."""

import itertools
import math
import threading
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler

from ddim_app import backends
from ddim_app.diffusion.noise import BrownianPath, initial_noise
from ddim_app.diffusion.sampler import Row
from ddim_app.engine import Engine, Finished
from ddim_app.errors import FieldError, RunError
from ddim_app.models.loading import ModelError, load
from ddim_app.runs.sampling import Arm, Recipe
from tests import toys
from tests.toys import LINEAR
from tests.wire import wait_for

CPU = torch.device("cpu")
PIXEL = 2 / 255
"""One level of an 8-bit picture, where x runs from -1 to 1."""


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False, device=CPU)


def recipe(*arms, **changes):
    return Recipe(arms=arms or (Arm(steps=4),), **{"model": "tiny", "precision": "fp32"} | changes)


def test_a_recipe_becomes_frames(engine):
    """Each arm has one frame per step, in order; the last one's x_t is its clean picture."""
    arms = Arm(steps=3), Arm(method="ddpm", steps=5)
    frames = list(engine.run(recipe(*arms, pictures=2)))
    for number, arm in enumerate(arms):
        own = [frame for frame in frames if frame.arm == number]
        assert [frame.k for frame in own] == list(range(arm.steps))
        assert {frame.steps for frame in own} == {arm.steps}
        assert [frame.level for frame in own] == LINEAR.levels(arm.steps)[:-1]
        assert [frame.is_last for frame in own] == [False] * (arm.steps - 1) + [True]
        assert {frame.x_t.shape for frame in own} == {frame.pred_x0.shape for frame in own} == {(2, 3, 8, 8)}
        assert torch.equal(own[-1].x_t, own[-1].pred_x0)
        assert own[-1].sigma == 0
        assert [frame.sigma > 0 for frame in own[:-1]] == [arm.method == "ddpm"] * (arm.steps - 1)
        assert torch.equal(engine.final(recipe(*arms, pictures=2))[number], own[-1].x_t)
    assert not torch.allclose(*engine.final(recipe(*arms)), atol=0.05)


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_frames_are_the_sampler_on_the_models_network(engine, precision):
    """Noise of the seeds, network of the folder, formulas of the sampler, in the recipe's number format."""
    model = engine.model("tiny")
    dtype = torch.float64 if precision == "fp64" else torch.float32
    x = initial_noise([7, 8], model.shape).to(dtype)
    paths = [BrownianPath(model.schedule, model.shape, seed, branch=3) for seed in (7, 8)]
    rows = [Row(model.schedule.levels(6, "leading"), 0.7, clip="dynamic", draw=path.between) for path in paths]
    with torch.no_grad():
        expected = toys.final(x, rows, lambda x_t, t: model.unet(x_t.float(), t).sample)
    arm = Arm(steps=6, spacing="leading", eta=0.7, clip="dynamic")
    (ours,) = engine.final(recipe(arm, pictures=2, seed=7, branch=3, precision=precision))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_ddim_is_diffusers_pipeline_with_the_same_seeds(engine, tiny_root):
    """Picture i from generator seed + i; the pipeline gets its seeds as a list of generators."""
    pipeline = DDIMPipeline(load(tiny_root / "tiny").unet, DDIMScheduler(clip_sample=False))
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in (40, 41, 42)]
    theirs = pipeline(batch_size=3, generator=generators, num_inference_steps=10, output_type="np").images
    (ours,) = engine.final(recipe(Arm(steps=10, spacing="leading", clip="off"), seed=40, pictures=3))
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1), torch.from_numpy(theirs), rtol=0, atol=1e-4)


def test_ddpm_is_ddim_with_eta_1(engine):
    ddpm, ddim = engine.final(recipe(Arm(method="ddpm", steps=6), Arm(eta=1, steps=6)))
    torch.testing.assert_close(ddpm, ddim, rtol=0, atol=1e-4)


def test_the_same_seed_has_the_same_pixels_twice(engine):
    value = recipe(Arm(steps=4), Arm(method="ddpm", steps=7), pictures=2, seed=5, precision="fast")
    for first, second in zip(engine.final(value), engine.final(value), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("seed", [5, 2**32 - 2])
def test_picture_i_of_a_run_is_the_picture_of_seed_plus_i(engine, seed):
    """In every arm, its step noise included, and over the end of the 32 bits."""
    arms = Arm(steps=4), Arm(method="ddpm", steps=4)
    together = engine.final(recipe(*arms, seed=seed, pictures=4))
    for i in range(4):
        for batch, alone in zip(together, engine.final(recipe(*arms, seed=(seed + i) % 2**32)), strict=True):
            assert (batch[i] - alone[0]).abs().max() < PIXEL
    assert (together[0][0] - together[0][1]).abs().max() > 0.1


def test_noise_seed_and_branch_name_the_step_noise_alone(engine):
    """DDIM does not see them; DDPM with the picture's own seed as noise seed is DDPM without one."""
    arms = Arm(steps=4), Arm(method="ddpm", steps=4)
    plain = engine.final(recipe(*arms, seed=5))
    for changes, same in (({"noise_seed": 5}, True), ({"noise_seed": 6}, False), ({"branch": 1}, False)):
        ddim, ddpm = engine.final(recipe(*arms, seed=5, **changes))
        assert torch.equal(ddim, plain[0])
        assert torch.equal(ddpm, plain[1]) == same


def test_pictures_are_not_clamped_behind_the_formulas(engine):
    """Without clipping they may leave [-1, 1]; only showing them cuts them off."""
    (picture,) = engine.final(recipe(Arm(steps=2, clip="off")))
    assert picture.abs().max() > 1


def test_cost_is_known_before_and_kept(engine):
    value = recipe(Arm(steps=3), Arm(steps=5), pictures=4)
    plan = engine.plan(value)
    before = engine.loop.evaluations
    assert (plan.evaluations, plan.transitions, plan.calls(8), plan.calls(4)) == (32, 5, 5, 8)
    assert engine.calls(plan) == 5
    engine.final(value)
    assert engine.loop.evaluations - before == 32
    merged = recipe(Arm(steps=30, spacing="quadratic-paper"))
    assert engine.plan(merged).evaluations == len(list(engine.run(merged))) == 29


def test_a_run_above_the_hosts_cap_is_refused_and_the_next_one_works(tiny_root):
    capped = Engine([tiny_root], allow_hub=False, device=CPU, max_evaluations=20)
    with pytest.raises(FieldError, match="must be at most 20 evaluations on this host, and this run needs 21") as caught:
        capped.final(recipe(Arm(steps=7), pictures=3))
    assert caught.value.field == "cost"
    assert capped.loop.evaluations == 0
    assert len(capped.final(recipe(Arm(steps=5), pictures=4))) == 1


@pytest.mark.parametrize(
    ("value", "field", "sentence"),
    [
        (recipe(Arm(steps=1001)), "steps", "steps must be a whole number from 1 to 1000; got 1001"),
        (recipe(Arm(timesteps=(1000, 3))), "timesteps", "timesteps must be one or more distinct whole numbers in 0..999"),
        (recipe(model="nope"), "model", "must be one of the models here (tiny)"),
        (recipe(model="../tiny"), "model", "must be one of the models here (tiny)"),
    ],
    ids=["steps", "timesteps", "model", "path"],
)
def test_what_only_the_model_can_judge(engine, value, field, sentence):
    before = engine.loop.calls
    with pytest.raises(FieldError) as caught:
        next(engine.run(value))
    assert sentence in str(caught.value)
    assert caught.value.field == field
    assert engine.loop.calls == before
    engine.final(recipe())


def test_epsilon_at_zero_snr_is_refused_with_a_sentence(tmp_path):
    toys.save_tiny(tmp_path / "tiny", scheduler={"rescale_betas_zero_snr": True})
    engine = Engine([tmp_path], allow_hub=False, device=CPU)
    with pytest.raises(FieldError, match=r"spacing cannot be used: this model predicts epsilon.*alpha_bar is 0"):
        engine.final(recipe())
    (picture,) = engine.final(recipe(Arm(steps=4, spacing="leading")))
    assert picture.isfinite().all()


def test_a_non_finite_model_ends_its_run_with_a_sentence(tmp_path):
    toys.save_tiny(tmp_path / "tiny")
    engine = Engine([tmp_path], allow_hub=False, device=CPU)
    engine.model("tiny").unet.conv_out.bias.fill_(math.nan)
    with pytest.raises(RunError, match="The model's output was not a number at step 1, so the run was ended"):
        list(engine.run(recipe()))


def test_two_runs_at_once_do_not_mix(engine):
    """Interleaved frame by frame, with other seeds, steps and samplers: each has the pictures that it has alone."""
    values = [
        recipe(Arm(steps=9, eta=0.5), seed=3, pictures=2),
        recipe(Arm(method="ddpm", steps=5), Arm(steps=7), seed=90, pictures=3),
        recipe(Arm(steps=9, spacing="leading"), seed=17, precision="fp64"),
    ]
    alone = [engine.final(value) for value in values]
    done = [{} for _ in values]
    for round_ in itertools.zip_longest(*map(engine.run, values)):
        for run, frame in enumerate(round_):
            if frame is not None and frame.is_last:
                done[run][frame.arm] = frame.x_t
    for run, arms in enumerate(alone):
        for arm, expected in enumerate(arms):
            assert (done[run][arm] - expected).abs().max() < PIXEL


def test_closing_the_frames_stops_the_calls(engine):
    """At most one evaluation per row is made after it; a run that comes later would share its calls with any more."""
    frames = engine.run(recipe(Arm(steps=1000), pictures=2))
    for _ in range(3):
        next(frames)
    frames.stop()
    before = engine.loop.evaluations
    engine.final(recipe(Arm(steps=50), seed=1))
    assert engine.loop.evaluations - before <= 50 + 2
    assert engine.loop.runs <= 1  # the finished run leaves just after its last frame


@pytest.mark.parametrize(("number_format", "apart"), [("fp32", 1e-5), ("bf16", 0.05)])
def test_networks_compute_in_their_format_over_float32_weights(tiny_root, number_format, apart):
    """bf16 is autocast, so neither weights nor outputs become bf16; it rounds, but does not predict something else."""
    model = load(tiny_root / "tiny")
    x, t = toys.pictures(3, (3, 8, 8)), torch.tensor([0, 500, 999])
    with torch.no_grad():
        expected = model.unet(x.float(), t).sample
    output = backends.predictor(model, CPU, number_format)(x, t)
    assert output.dtype == torch.float32
    assert {p.dtype for p in model.unet.parameters()} == {torch.float32}
    assert (output - expected).abs().max() < apart * expected.abs().max()
    assert (number_format == "bf16") == ((output - expected).abs().max() > 1e-4)


def test_exact_precision_is_never_bf16():
    assert backends.number_format("fp32", CPU) == backends.number_format("fp64", CPU) == "fp32"
    assert backends.number_format("fast", CPU) == ("bf16" if backends.computes_bf16(CPU) else "fp32")


def test_ddpm_of_two_step_counts_follows_one_noise_path():
    """On the bundled model: with the shared path the pictures of 25 and 50 steps are near each other, without it unrelated."""
    engine = Engine(allow_hub=False, device=CPU)
    arms = Arm(method="ddpm", steps=25), Arm(method="ddpm", steps=50)
    value = Recipe(arms=arms, seed=11, pictures=3, precision="fp32")
    coarse, fine = engine.final(value)
    (other,) = engine.final(replace(value, arms=arms[:1], branch=1))
    shared, independent = (coarse - fine).square().mean(), (other - fine).square().mean()
    assert shared * 10 <= independent


def test_loading_one_model_keeps_nobody_waiting_for_another(tiny_root, monkeypatch):
    engine = Engine([tiny_root], device=CPU)
    entered, release = threading.Event(), threading.Event()
    real = engine.catalogue.load

    def slow(name, notify):
        if name == "somebody/slow":
            entered.set()
            assert release.wait(60)
            raise ModelError("model somebody/slow: gone")
        return real(name, notify)

    monkeypatch.setattr(engine.catalogue, "load", slow)

    def wait_for_it():
        with pytest.raises(FieldError, match="gone"):
            engine.model("somebody/slow")

    other = threading.Thread(target=wait_for_it)
    other.start()
    assert entered.wait(60)
    assert len(engine.final(recipe())) == 1
    release.set()
    other.join()


def test_a_model_that_was_trained_again_is_loaded_again(tmp_path):
    toys.save_tiny(tmp_path / "mine")
    engine = Engine([tmp_path], allow_hub=False, device=CPU)
    value = recipe(model="mine")
    before = engine.final(value)[0]
    assert engine.model("mine") is engine.model("mine")
    toys.save_tiny(tmp_path / "mine", seed=1)
    assert not torch.equal(engine.final(value)[0], before)


def test_nothing_is_kept_of_a_run_that_ended_and_was_not_stopped(engine):
    ended = threading.Event()
    engine.start(engine.plan(recipe()), lambda item: ended.set() if isinstance(item, Finished) else None)
    assert ended.wait(60)
    wait_for(lambda: len(engine._open) == 0)


def test_a_loop_that_is_closed_takes_no_run(tmp_path):
    toys.save_tiny(tmp_path / "tiny")
    other = Engine([tmp_path], allow_hub=False)
    other.final(Recipe(arms=(Arm(steps=2),), model="tiny"))
    other.loop.close()
    with pytest.raises(RuntimeError, match="the server is shutting down"):
        other.start(other.plan(Recipe(arms=(Arm(steps=2),), model="tiny")), lambda item: None)
    assert len(other.visitors) == 0


def test_the_time_of_a_step_is_measured_again_once_nobody_shares_the_machine(engine, monkeypatch):
    asked, short = [], recipe(Arm(steps=5, eta=0.5))
    final = engine.final
    monkeypatch.setattr(engine, "final", lambda recipe: asked.append(recipe) or final(recipe))
    others = engine.start(engine.plan(recipe(Arm(steps=1000), pictures=16)), lambda item: None)
    try:
        shared = engine.step_seconds(short)
        assert engine.step_seconds(short) == shared > 0
        assert len(asked) == 3
    finally:
        engine.stop(others)
    wait_for(lambda: engine.loop.runs == 0)
    alone = engine.step_seconds(short)
    assert engine.step_seconds(short) == alone > 0
    assert len(asked) == 6
