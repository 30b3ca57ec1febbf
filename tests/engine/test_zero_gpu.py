"""ZeroGPU's rules, kept against a stand-in that forks, pickles and takes the GPU back. Every wait has an end."""

import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client.exceptions import AppError, ValidationError

from ddim_app import backends
from ddim_app.engine import Engine, zero_gpu
from ddim_app.engine.zero_gpu import TIMED_RUNS, Lease, Speeds, ZeroEngine
from ddim_app.errors import FieldError, RunError
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.compare.tab import CompareTab
from tests.wire import Brake, patient_client, served, wait_for
from tests.zero import Lender

CPU = torch.device("cpu")
RECIPE = Recipe(arms=(Arm(steps=6), Arm(method="ddpm", steps=4)), model="tiny", pictures=2, precision="fp32")


@pytest.fixture
def lender() -> Lender:
    return Lender()


@pytest.fixture
def engine(tiny_root: Path, lender: Lender) -> ZeroEngine:
    engine = ZeroEngine([tiny_root], allow_hub=False, device=CPU, gpu=lender.GPU)
    engine.warm_up()
    torch.set_num_threads(2)  # a child that did not go back to one would wait for ever
    (torch.randn(300, 300) @ torch.randn(300, 300)).sum()
    torch.set_num_threads(1)
    return engine


def test_a_run_in_a_forked_worker_has_the_bits_of_one_in_this_process(engine: ZeroEngine, tiny_root: Path) -> None:
    here = Engine([tiny_root], allow_hub=False, device=CPU, threaded=False).final(RECIPE)
    assert all(torch.equal(a, b) for a, b in zip(engine.final(RECIPE), here, strict=True))
    assert engine.loop.calls == 0  # nothing was computed in the parent
    assert engine.running == 0
    assert engine.request_log.counters["evaluations"] == 20


def test_every_step_is_yielded(engine: ZeroEngine, lender: Lender) -> None:
    assert [frame.k for frame in engine.run(Recipe(arms=(Arm(steps=5),), model="tiny"))] == [0, 1, 2, 3, 4]
    assert lender.stopped_after == [6]  # with the Finished


def test_the_lease_follows_the_recipe(engine: ZeroEngine, lender: Lender) -> None:
    list(engine.run(RECIPE))
    assert lender.asked == [6]
    assert engine.lease_seconds(RECIPE.with_arms(Arm(steps=200)).to_json()) == 15
    # Calls of one row each, where the recipe says so: twice as many for its two pictures.
    assert engine.lease_seconds(replace(RECIPE, bucket=1).with_arms(Arm(steps=200)).to_json()) == 25


class Ticking:
    """A clock, in place of the module `time`, that is a tenth of a second on each time it is asked; a worker has its own."""

    now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.1
        return self.now


def test_a_lease_is_what_runs_of_its_kind_took_twice_over(engine: ZeroEngine, lender: Lender, monkeypatch: Any) -> None:
    """Six calls and an end: the first after 0.1 s, the others 0.6 s behind."""
    monkeypatch.setattr(zero_gpu, "time", Ticking())
    list(engine.run(RECIPE))
    longer = replace(RECIPE, arms=tuple(replace(arm, steps=200) for arm in RECIPE.arms))
    assert engine.gpu_seconds(engine.plan(longer)) == 49  # 2 (0.1 + 200 * 0.12) = 48.2
    list(engine.run(RECIPE))
    assert lender.asked == [6, 2]
    assert engine.gpu_seconds(engine.plan(replace(longer, pictures=16))) == 15, "of other calls nothing is known"


def test_the_slowest_of_the_last_runs_counts_and_one_without_an_end_does_not() -> None:
    speeds = Speeds()
    assert [speeds.lease("a", calls) for calls in (1, 100)] == [6, 10]
    speeds.note("a", 1, [])
    speeds.note("a", 5, [3.0])
    assert speeds.lease("a", 100) == 10
    for start in (9.0, 1.0, *[0.5] * (TIMED_RUNS - 1)):
        speeds.note("a", 5, [start, start + 0.5])
    assert speeds.lease("a", 100) == 27  # 2 (1 + 100 / 8)
    speeds.note("a", 5, [0.25, 0.5])
    assert speeds.lease("a", 100) == 26
    assert speeds.lease("b", 100) == 10


def test_the_cost_line_says_the_seconds_of_gpu_before_the_run(engine: ZeroEngine, tiny_root: Path) -> None:
    for each, words in ((engine, "80 evaluations, asks for 6 s of GPU"), (Engine([tiny_root], device=CPU), "80 evaluations")):
        demo = build_ui(each)
        tab = next(fn.fn.__self__ for fn in demo.fns.values() if isinstance(getattr(fn.fn, "__self__", None), CompareTab))
        line = tab.cost_line(*[field.value for field in tab.inputs]).split("\n")[0]
        assert line.split(" (+")[0] == words


def test_a_run_too_long_for_a_lease_is_refused_before_the_call(engine: ZeroEngine, lender: Lender, monkeypatch: Any) -> None:
    monkeypatch.setattr(zero_gpu, "MAX_SECONDS", 14)
    with pytest.raises(FieldError, match="cost must be at most 14 s of GPU time on this host, and this run asks for 15 s: take"):
        engine.plan(RECIPE.with_arms(Arm(steps=200)))
    with pytest.raises(FieldError, match="steps must be a whole number"):
        engine.plan(RECIPE.with_arms(Arm(steps=1001)))
    assert lender.asked == []


def test_a_visitor_without_quota_is_told_so(engine: ZeroEngine, lender: Lender) -> None:
    lender.quota = 3
    with pytest.raises(RunError, match=r"You have exceeded your GPU quota \(6 s requested, 3 s left\)"):
        engine.final(RECIPE)
    assert len(engine.visitors) == 0


def test_a_worker_that_is_killed_is_said_and_the_next_run_works(engine: ZeroEngine, lender: Lender, monkeypatch: Any) -> None:
    monkeypatch.setattr(backends, "predictor", Brake(0.5))
    monkeypatch.setattr(ZeroEngine, "lease_seconds", lambda self, recipe: 1)
    lender.__init__(patience=1)  # type: ignore[misc]
    engine._lease = lender.GPU(duration=lambda recipe: 1)(engine.in_worker)
    with pytest.raises(RunError, match="GPU task aborted"):
        engine.final(RECIPE)
    monkeypatch.undo()
    engine._lease = lender.GPU(duration=lambda recipe: 20)(engine.in_worker)
    assert len(engine.final(RECIPE)) == 2


def test_an_error_in_the_worker_ends_the_run_with_a_sentence(engine: ZeroEngine, monkeypatch: Any) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("no luck")

    monkeypatch.setattr(backends, "predictor", broken)
    with pytest.raises(RunError, match="ZeroGPU worker error: RuntimeError"):
        engine.final(RECIPE)


def test_a_reader_who_stops_frees_the_gpu_at_the_next_step(engine: ZeroEngine, lender: Lender, monkeypatch: Any) -> None:
    monkeypatch.setattr(backends, "predictor", Brake(0.1))
    frames = engine.run(RECIPE.with_arms(Arm(steps=300)))
    next(frames)
    frames.stop()
    assert lender.stopped_after[0] <= 3
    assert engine.running == 0


def test_the_page_over_zero_gpu(engine: ZeroEngine, lender: Lender, monkeypatch: Any) -> None:
    with served(engine) as address:
        client = patient_client(address)
        assert client.predict(steps=3, api_name="/compare")[2]["nfe"] == [3, 3]
        with pytest.raises(ValidationError, match="steps must be a whole number"):
            client.predict(steps=0, api_name="/compare")
        assert len(lender.asked) == 1
        lender.quota = 0
        with pytest.raises(AppError, match="exceeded your GPU quota"):
            client.predict(steps=3, api_name="/compare")
        lender.quota = 300
        monkeypatch.setattr(backends, "predictor", Brake(0.1))
        job = client.submit(steps=400, api_name="/compare")
        wait_for(lambda: engine.running == 1 and job.outputs() != [])
        job.cancel()
        wait_for(lambda: engine.running == 0 and len(lender.stopped_after) == 2)
        assert lender.stopped_after[1] < 100


def test_a_worker_that_two_threads_give_back_at_once_goes_back_once_and_quietly(engine: ZeroEngine) -> None:
    """Stop comes while the reader, told of it, gives the worker back as well."""
    inside, on = threading.Event(), threading.Event()
    given_back: list[int] = []

    def work() -> Generator[tuple[int, float, Any]]:
        try:
            yield 0, 0.0, []
        finally:
            inside.set()
            on.wait(60)
            given_back.append(1)

    lease = Lease(work(), RECIPE, lambda item: None, lambda lease: None)
    lease.advance()
    stopping = threading.Thread(target=engine.stop, args=(lease,))
    stopping.start()
    assert inside.wait(60)
    lease.leave()
    on.set()
    stopping.join(60)
    assert given_back == [1]
