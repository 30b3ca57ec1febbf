"""Requests that share network calls get what they get alone: random arrivals, cancels, models and methods."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_app.diffusion.batch_sizes import BUCKETS, bucket_of, filled
from ddim_app.engine import Engine, Finished
from ddim_app.engine.limits import Budget
from ddim_app.errors import FieldError
from ddim_app.models import memory
from ddim_app.runs.kinds import from_json
from ddim_app.runs.sampling import Arm, Frame, Recipe
from ddim_app.studies import sharing
from tests import toys
from tests.alive import tensors_and_pictures
from tests.wire import wait_for


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "one")
    toys.save_tiny(root / "two", in_channels=1, out_channels=1)
    return Engine([root], allow_hub=False)


class Request:
    """A request in flight: its finished pictures by arm, and how it ended."""

    def __init__(self, engine: Engine, recipe: Recipe, stop_after: int | None = None) -> None:
        self.finals: dict[int, torch.Tensor] = {}
        self.made: Recipe | None = None
        self.error: str | None = None
        self.ended = threading.Event()
        self._left = stop_after
        self._engine = engine
        self._started = threading.Event()
        self.ticket = engine.start(engine.plan(recipe), self._emit)
        self._started.set()

    def _emit(self, item: list[Frame] | Finished) -> None:
        self._started.wait()  # the loop may be quicker than `start` returns
        if isinstance(item, Finished):
            self.made, self.error = item
            self.ended.set()
            return
        self.finals |= {frame.arm: frame.x_t for frame in item if frame.is_last}
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._engine.stop(self.ticket)
                self.ended.set()


arms = st.builds(
    Arm,
    method=st.sampled_from(["ddim", "ddpm", "2m"]),
    steps=st.integers(1, 9),
    spacing=st.sampled_from(["leading", "trailing", "linspace", "quadratic", "log-snr"]),
    eta=st.sampled_from([0.0, 0.5, 1.0]),
    variance=st.sampled_from(["small", "large"]),
    clip=st.sampled_from(["clip", "off", "dynamic"]),
)
recipes = st.builds(
    Recipe,
    arms=st.lists(arms, min_size=1, max_size=3).map(tuple),
    model=st.sampled_from(["one", "two"]),
    seed=st.integers(0, 2**32 - 1),
    pictures=st.integers(1, 4),
    precision=st.sampled_from(["fp32", "fp64"]),
)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(recipes, st.none() | st.integers(0, 4), st.integers(0, 3)), min_size=2, max_size=6),
    st.sampled_from([3, 5, 64]),
)
def test_every_request_gets_the_pictures_that_it_gets_alone(
    engine: Engine, wanted: list[tuple[Recipe, int | None, int]], room: int
) -> None:
    """They arrive some network calls apart, and some leave before their end."""
    engine.loop.max_rows = room
    requests = []
    for recipe, stop_after, calls in wanted:
        arrival = engine.loop.calls + calls
        wait_for(lambda arrival=arrival: engine.loop.calls >= arrival or engine.loop.runs == 0)  # type: ignore[misc]
        requests.append(Request(engine, recipe, stop_after))
    for request in requests:
        assert request.ended.wait(60)
    engine.loop.max_rows = 64
    for (recipe, stop_after, _), request in zip(wanted, requests, strict=True):
        if stop_after is None:
            assert request.error is None
            alone = engine.final(recipe)
            for arm, pictures in enumerate(alone):
                # Across buckets sums are rounded otherwise; 1/255 is the promise, in [-1, 1] twice that.
                torch.testing.assert_close(request.finals[arm], pictures, rtol=0, atol=2 / 255)


def test_buckets_hold_their_rows() -> None:
    assert [bucket_of(n) for n in (1, 2, 3, 5, 16, 17, 256, 300)] == [1, 2, 4, 8, 16, 24, 256, 300]
    x = torch.arange(6.0).view(3, 2)
    assert filled(x, 5).tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [0, 1]]
    assert filled(x, 2) is x


def test_a_finished_recipe_names_its_bucket_and_gives_the_same_bits_among_others(engine: Engine) -> None:
    recipe = Recipe(arms=(Arm(steps=6), Arm(method="ddpm", steps=6)), model="one", pictures=2, precision="fp32")
    request = Request(engine, recipe)
    assert request.ended.wait(60)
    made = request.made
    assert (made.bucket, made.weights) == (4, engine.model("one").sha256)
    crowd = [Request(engine, replace(recipe, seed=seed)) for seed in range(5)]
    again = Request(engine, from_json(made.to_json()))
    assert again.ended.wait(60)
    assert all(neighbour.ended.wait(60) for neighbour in crowd)
    assert all(np.array_equal(again.finals[arm].numpy(), request.finals[arm].numpy()) for arm in (0, 1))


@pytest.mark.parametrize(("precision", "levels"), [("fp32", 1), ("fast", 4)])
def test_on_the_bundled_model_neighbours_change_no_bit_in_a_checked_bucket_and_little_elsewhere(
    precision: str, levels: int
) -> None:
    """Within 1/255 in fp32 and 4/255 in bf16 across buckets; equal where the check found equal bits."""
    engine = Engine(allow_hub=False)
    groups = engine.check_buckets("avatars-32", precision)
    recipe = Recipe(arms=(Arm(steps=8), Arm(method="ddpm", steps=12)), seed=5, pictures=2, precision=precision)
    alone = engine.final(recipe)
    crowd = [Request(engine, replace(recipe, seed=100 + i, pictures=1 + i % 3), stop_after=None) for i in range(3)]
    among = Request(engine, recipe)
    for request in (among, *crowd):
        assert request.ended.wait(120)
    used = {bucket_of(size) for size in among.ticket.ticket.sizes} | {bucket_of(4), bucket_of(2)}
    for arm, pictures in enumerate(alone):
        apart = float((among.finals[arm] - pictures).abs().max()) / 2 * 255
        assert apart <= levels
        if any(used <= group for group in groups):
            assert apart == 0


def test_a_bucket_smaller_than_the_run_splits_its_calls(engine: Engine) -> None:
    recipe = Recipe(arms=(Arm(steps=3),), model="one", pictures=5, bucket=2, precision="fp32")
    calls = engine.loop.calls
    assert len(engine.final(recipe)[0]) == 5
    assert engine.loop.calls == calls + 3 * 3


def test_a_wrong_bucket_is_said() -> None:
    with pytest.raises(FieldError, match=r"bucket must be one of 1, 2, 4, 8, .*; got 5"):
        Recipe(arms=(Arm(),), bucket=5)


def test_a_whole_bucket_is_an_int_whatever_it_came_as() -> None:
    assert type(Recipe(arms=(Arm(),), bucket=4.0).bucket) is int  # type: ignore[arg-type]


def test_a_bucket_costs_what_it_evaluates_and_must_fit_into_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(arms=(Arm(steps=10),), model="one", bucket=64, precision="fp32")
    monkeypatch.setattr(engine, "budget", Budget(max_evaluations=640))
    assert len(engine.final(recipe)[0]) == 1
    monkeypatch.setattr(engine, "budget", Budget(max_evaluations=639))
    with pytest.raises(FieldError, match="cost must be at most 639 evaluations on this host, and this run needs 640"):
        engine.plan(recipe)
    monkeypatch.setattr(engine, "budget", Budget())
    per_row = memory.bytes_per_row(engine.evaluator(engine.model("one"), "fp32"), (3, 8, 8), engine.device)
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(20 * per_row / memory.SHARE))
    with pytest.raises(FieldError, match="bucket must be at most 16 on this machine: larger calls do not fit into its memory"):
        engine.final(replace(recipe, bucket=96))


def test_the_bundled_model_gives_equal_bits_in_most_buckets() -> None:
    groups = Engine(allow_hub=False).check_buckets("avatars-32", "fp32")
    assert max(map(len, groups)) >= 2
    assert set().union(*groups) <= set(BUCKETS)


def test_without_a_thread_the_reader_makes_the_calls(tiny_root: Path) -> None:
    inline = Engine([tiny_root], threaded=False)
    recipe = Recipe(arms=(Arm(steps=4), Arm(method="ddpm", steps=7)), model="tiny", pictures=3, precision="fp32")
    before = threading.active_count()
    shown = inline.final(recipe)
    assert threading.active_count() == before
    for here, there in zip(shown, Engine([tiny_root]).final(recipe), strict=True):
        assert torch.equal(here, there)


def test_starts_and_stops_cost_one_call_at_most_and_leave_nothing_behind(engine: Engine) -> None:
    sharing.cancels(engine, "one", cycles=10, settle=5)
    before = tensors_and_pictures()
    assert sharing.cancels(engine, "one", cycles=150, settle=50)["most calls after a stop"] <= 1
    wait_for(lambda: engine.loop.runs == 0)
    assert tensors_and_pictures() - before < 150


@pytest.mark.long
def test_ten_minutes_of_random_requests_leave_memory_flat(engine: Engine) -> None:
    import random
    import time

    choose = random.Random(0)
    settled, until = 0, time.monotonic() + 600
    count = 0
    while time.monotonic() < until:
        batch = [
            Request(
                engine,
                Recipe(
                    arms=(Arm(steps=choose.randint(1, 40), eta=choose.choice([0.0, 1.0])),),
                    model=choose.choice(["one", "two"]),
                    seed=choose.randrange(2**32),
                    pictures=choose.randint(1, 4),
                    precision="fp32",
                ),
                choose.choice([None, None, 3]),
            )
            for _ in range(choose.randint(1, 12))
        ]
        assert all(request.ended.wait(120) for request in batch)
        assert all(request.error is None for request in batch)
        count += len(batch)
        if not settled and count > 500:
            settled, before = count, tensors_and_pictures()
    assert settled
    del batch
    assert tensors_and_pictures() - before < count - settled
