"""When a run is looked at and saved, how long it takes, and that it ends on time; by a clock that the test moves."""

import threading
import time
import types

import pytest
import torch

from ddim_app.train import pace, run
from ddim_app.train.background import BackgroundWriter
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.evaluate import LOOK_SIZES
from ddim_app.train.pace import LookPlan, SpeedEstimate, clock
from ddim_app.train.run_bar import NEARLY, RunBar


def looks(plan, steps):
    return [step for step in range(steps + 1) if plan.has(step, steps)]


@pytest.mark.parametrize(
    ("plan", "steps", "wanted"),
    [
        (LookPlan(60), 1000, [60, 180, 420, 670, 1000]),
        (LookPlan(500), 1000, [250, 500, 750, 1000]),
        (LookPlan(60), 950, [60, 180, 417, 654, 950]),
        (LookPlan(60), 3, [1, 2, 3]),
        (LookPlan(60, 10), 25, [10, 20, 25]),
        (LookPlan(60, 5), 10, [5, 10]),
        (LookPlan(60, 0), 20, [20]),
    ],
)
def test_looks_come_soon_and_then_more_seldom(plan, steps, wanted):
    assert looks(plan, steps) == wanted
    for done in range(steps):
        assert plan.count(done, steps) == sum(step > done for step in wanted)


def test_the_first_look_comes_after_about_a_minute():
    assert SpeedEstimate(0.5, 10).first_look == 120
    assert SpeedEstimate(200.0, 10).first_look == 1


@pytest.mark.parametrize("plan", [LookPlan(60), LookPlan(60, 100), LookPlan(60, 0)])
@pytest.mark.parametrize("done", [0, 37])
def test_the_steps_of_a_time_take_that_time(plan, done):
    estimate = SpeedEstimate(0.5, 8.0)
    steps = estimate.steps(600, plan, done)
    assert estimate.seconds(steps, plan, done) <= 600 < estimate.seconds(steps + 1, plan, done)


def test_the_fewest_steps_are_made_whatever_the_time():
    assert SpeedEstimate(1.0, 1.0).steps(-5, LookPlan(60), 7) == 17
    assert SpeedEstimate(1.0, 1.0).steps(-5, LookPlan(60), 7, fewest=0) == 7


def fake_trainer(seconds, threads=None, device="cpu"):
    """A trainer of which a step takes seconds[threads of torch]."""
    accelerator = types.SimpleNamespace(device=torch.device(device), num_processes=1)
    return types.SimpleNamespace(settings=Settings(data="x", threads=threads), accelerator=accelerator, seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "options", "chosen"),
    [
        ({4: 1.0, 2: 1.5}, {}, 4),
        ({4: 1.0, 2: 1.02}, {}, 2),
        ({4: 1.2, 2: 1.0}, {}, 2),
        ({1: 1.0}, {"threads": 3}, 1),
        ({1: 1.0}, {"device": "cuda"}, 1),
    ],
)
def test_half_the_cores_are_taken_where_all_are_no_faster(monkeypatch, seconds, options, chosen):
    now = [1]  # what torch has; 1 stands for untouched
    monkeypatch.setattr(pace, "torch", types.SimpleNamespace(set_num_threads=lambda n: now.__setitem__(0, n)))
    monkeypatch.setattr(pace.backends, "threads", lambda: 4)
    monkeypatch.setattr(pace, "measure", lambda trainer: SpeedEstimate(trainer.seconds[now[0]], 1.0))
    assert pace.measure_threads(fake_trainer(seconds, **options)).step == seconds[chosen]
    assert now == [chosen]


@pytest.fixture
def by_clock(monkeypatch):
    """A run of ten minutes by a clock that the test moves, with the times of its looks and what its bar has shown; `pace` is how
    long a step takes, and a look takes eight of them."""

    def make(pace):
        now, looks, shown = [1000.0], [], []
        monkeypatch.setattr(run, "time", types.SimpleNamespace(monotonic=lambda: now[0], perf_counter=lambda: now[0]))
        state = types.SimpleNamespace(spent=0.0, step=0)
        trainer = types.SimpleNamespace(state=state, begun=0, accelerator=types.SimpleNamespace(device="cpu"))
        settings, estimate = Settings(data="x", minutes=10, by_clock=True), SpeedEstimate(1.0, 8.0)
        running = run.TrainingRun(settings, None, None, None, trainer, {}, None, None, print, now[0], estimate)
        trainer.steps = running.steps_in_time()
        bar = RunBar(trainer.steps, 0, running.seconds, running.spent, hidden=False)
        since = 0
        while state.step < trainer.steps:
            state.step += 1
            seconds = pace(state.step)
            now[0] += seconds
            if state.step % run.LOG_EVERY == 0 or state.step == trainer.steps:
                running._correct({"steps": state.step - since, "seconds": (state.step - since) * seconds})
                running._follow_clock(state.step)
                since = state.step
            bar.step(state.step, trainer.steps, running.spent, "")
            shown.append((bar.n, bar.total, now[0] - 1000))
            if running._has_look(state.step):
                looks.append(now[0] - 1000)
                now[0] += 8 * seconds
                running.estimate = running.estimate._replace(look=8 * seconds)
        bar.end()
        return now[0] + 8 * seconds - 1000, state.step, looks, shown, bar

    return make


def slower(step):
    return 1.0 if step < 300 else 3.0


def unsteady(step):
    return 2.0 ** (step // 15 * 7 % 5 - 2)


@pytest.mark.parametrize("pace", [slower, unsteady])
def test_a_run_by_the_clock_ends_on_time_when_the_machine_slows_down(by_clock, pace):
    end, _, _, _, _ = by_clock(pace)
    assert 0.93 * 600 <= end <= 1.07 * 600


@pytest.mark.parametrize("pace", [slower, unsteady])
def test_the_looks_of_a_run_by_the_clock_follow_it(by_clock, pace):
    """By a number of steps that changes all the time they came twice within a minute, or not at all."""
    _, _, looks, _, _ = by_clock(pace)
    assert looks == pytest.approx([60, 180, 330, 480, looks[-1]], abs=45)
    assert len(looks) == 5


@pytest.mark.parametrize("pace", [slower, unsteady])
def test_the_bar_of_a_run_by_the_clock_is_its_time_and_is_full_at_the_end_alone(by_clock, pace):
    _, steps, _, shown, bar = by_clock(pace)
    assert len(shown) == steps
    for done, total, spent in shown:
        assert total == 600
        assert done == min(spent, NEARLY * 600)
    assert bar.n == bar.total
    assert f"step {steps} of about {steps}" in str(bar)


def test_the_bar_says_what_is_left_by_the_clock(capsys):
    with RunBar(500, 0, 600.0, 30.0, hidden=False) as bar:
        bar.step(7, 480, 150.0, "loss 0.5000, 3.0 pictures/s")
        text = str(bar)
        bar.step(480, 480, 700.0, "")
        assert " 99%" in str(bar)
        bar.end()
        assert "100%" in str(bar)
    assert " 25%" in text
    assert "step 7 of about 480, loss 0.5000, 3.0 pictures/s" in text
    with RunBar(4, 1, None, 30.0, hidden=False) as bar:
        bar.step(2, 4, 31.0, "loss 0.5000")
        assert "50%" in str(bar)
        assert "2/4" in str(bar)


@pytest.mark.parametrize(
    ("step", "options", "size"),
    [
        (0.6, {"minutes": 6}, 0),
        (0.6, {"minutes": 2}, 1),
        (2.4, {"minutes": 6}, 1),
        (2.4, {"minutes": 2}, 2),
        (0.6, {"minutes": 2, "by_clock": True}, 1),
        (0.6, {"minutes": 2, "preview_every": 50}, 0),
        (0.6, {"steps": 1000}, 0),
        (0.6, {"steps": 100}, 2),
    ],
)
def test_looks_are_as_close_as_leaves_the_time_to_training(step, options, size):
    """Step times are those of a fine-tune of avatars-32 on one thread, of a quiet machine and of a busy one."""
    accelerator = types.SimpleNamespace(device="cpu", num_processes=1)
    settings = Settings(data="x", **options)
    trainer = types.SimpleNamespace(
        state=types.SimpleNamespace(spent=0.0), steps=settings.steps, begun=0, accelerator=accelerator,
        batches=types.SimpleNamespace(global_batch=32),
    )  # fmt: skip
    estimate = SpeedEstimate(step, 0.0)
    facts, looked = {"first_look": estimate.first_look}, types.SimpleNamespace()
    running = run.TrainingRun(settings, None, None, None, trainer, facts, None, looked, print, time.monotonic(), estimate)
    running.plan()
    assert facts["look_size"] == list(looked.size)
    assert looked.size == LOOK_SIZES[size]
    looks = (running.look_plan.count(0, trainer.steps) + 2) * running.estimate.look
    assert looks < (1 / 6 if size < 2 else 1 / 4) * (looks + trainer.steps * step) or "preview_every" in options


def test_several_processes_make_as_many_steps_as_the_first_has_time_for(monkeypatch):
    """Their clocks differ; one that made another step would wait for the others without end."""
    state = types.SimpleNamespace(spent=0.0)
    trainer = types.SimpleNamespace(state=state, accelerator=types.SimpleNamespace(device="cpu"))
    settings, estimate = Settings(data="x", minutes=2, preview_every=0), SpeedEstimate(1.0, 0.0)
    running = run.TrainingRun(settings, None, None, None, trainer, {}, None, None, print, 0.0, estimate)
    monkeypatch.setattr(run, "broadcast", lambda steps: torch.tensor(123))
    assert running.steps_in_time() == 123


def test_checkpoints_come_by_time_after_a_step_whose_loss_was_read(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    running = run.TrainingRun(Settings(data="x"), None, None, None, None, {}, None, None, print, 0.0)
    running._saved_at = 0.0
    assert not running._saves(20)
    now[0] = run.SAVE_EVERY + 1
    assert [step for step in range(15, 31) if running._saves(step)] == [20, 30]


def test_what_is_written_behind_comes_in_order_and_its_error_with_the_next_call():
    writer, done, gate = BackgroundWriter(), [], threading.Event()
    writer.start(lambda: gate.wait() and done.append(1))
    writer.look()
    assert done == []
    gate.set()
    writer.start(lambda: done.append(2))
    writer.wait()
    assert done == [1, 2]

    def full():
        raise OSError(28, "No space left on device")

    for call in (writer.wait, lambda: writer.start(lambda: None)):
        writer.start(full)
        with pytest.raises(OSError, match="No space left"):
            call()
        writer.wait()


def test_by_clock_needs_a_time():
    with pytest.raises(TrainError, match="--by-clock needs --minutes"):
        Settings(data="x", by_clock=True)


def test_seconds_in_words():
    assert [clock(seconds) for seconds in (40, 89.6, 720, 11100)] == ["40 s", "90 s", "12 min", "3 h 05 min"]
