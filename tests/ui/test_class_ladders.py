"""A class's ladders: drawn once, kept for the next start, and all that is there without a press."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest

from ddim_app.engine import Engine
from ddim_app.engine.options import read
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.compare.class_ladders import SEEDS, ClassLadders
from ddim_app.ui.compare.ladder import Ladder
from tests.toys import save_tiny


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a model of ten timesteps is, whose ladders have the columns 3, 5 and 10."""
    save_tiny(tmp_path / "models" / "ten", scheduler={"num_train_timesteps": 10})
    return tmp_path / "models"


def page_ladder(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[Ladder, ClassLadders]:
    """The ladder of a class's page over the engine, and what it has begun to draw, held back."""
    ladders, drawn = list[Ladder](), list[ClassLadders]()
    connect = Ladder.connect
    monkeypatch.setattr(ClassLadders, "begin", lambda self: drawn.append(self))
    monkeypatch.setattr(Ladder, "connect", lambda self: ladders.append(self) or connect(self))
    build_ui(engine, classroom=True)
    return ladders[-1], drawn[-1]


def told(ladder: Ladder, seed: int, asked: bool = False) -> list[dict[str, Any]]:
    """All that a page is told when its arms with that seed are drawn."""
    names = [*ladder.tab.settings.fields, "more_arms"]
    changed = {"seed": seed, "pictures": 1}
    values = [changed.get(name, field.value) for name, field in zip(names, ladder.tab.inputs, strict=True)]
    request = gr.Request(session_hash="page", headers={}, client=SimpleNamespace(host="here"))

    async def collected() -> list[dict[str, Any]]:
        return [item async for item in ladder.run(request, gr.EventData(None, {"serial": 1, "asked": asked}), *values)]

    return asyncio.run(collected())


def test_what_the_host_has_drawn_needs_no_press_and_no_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([root])
    ladder, drawn = page_ladder(engine, monkeypatch)
    drawn.make(range(2))
    assert engine.request_log.counters["evaluations"] == 2 * 2 * (3 + 5 + 10)
    (last,) = told(ladder, 1)
    assert (last["complete"], "costly" in last, last["seed"]) == (True, False, 1)
    (waiting,) = told(ladder, 50)
    assert (waiting["complete"], "costly" in waiting) == (False, True)
    assert engine.request_log.counters["evaluations"] == 72
    assert told(ladder, 50, asked=True)[-1]["complete"]


def test_the_next_start_reads_them_and_other_weights_do_not(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Engine([root])
    ladder, drawn = page_ladder(first, monkeypatch)
    drawn.make(range(3))
    recipe = Recipe(arms=(Arm(), Arm(method="ddpm")), model="ten", seed=2, pictures=1)
    pixels = ladder.of(recipe)[0].pixels
    files = sorted(drawn._folder.iterdir())
    files[0].write_bytes(files[0].read_bytes()[:100])  # a disk that was full
    again = Engine([root])
    other, kept = page_ladder(again, monkeypatch)
    kept.make(range(3))
    assert again.request_log.counters["evaluations"] == 36, "the damaged one alone is drawn anew"
    assert np.array_equal(other.of(recipe)[0].pixels, pixels)
    save_tiny(root / "ten", seed=1, scheduler={"num_train_timesteps": 10})
    trained = Engine([root])
    page_ladder(trained, monkeypatch)[1].make(range(3))
    assert trained.request_log.counters["evaluations"] == 3 * 36


def test_a_server_that_is_about_to_end_draws_no_more(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    engine = Engine([root])
    _, drawn = page_ladder(engine, monkeypatch)
    engine.closing = True
    drawn.make()
    assert "the ladders of a class: this server is about to be restarted" in caplog.text
    assert len(SEEDS) == 40


def test_a_class_is_behind_one_address_and_may_wait_longer() -> None:
    options = read(["--classroom", "--host", "0.0.0.0"], {})
    assert (options.hosted, options.classroom, options.max_queue) == (True, True, 160)
    assert (options.budget.max_address_evaluations_per_minute, options.budget.max_evaluations_per_minute) == (None, 3_000)
    given = read(["--classroom", "--max-queue", "9", "--max-address-evaluations-per-minute", "7"], {"DDIM_CLASSROOM": "1"})
    assert (given.max_queue, given.budget.max_address_evaluations_per_minute, given.hosted) == (9, 7, False)
    assert read([], {}).classroom is False
