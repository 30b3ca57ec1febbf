"""What Live makes unasked, and what it leaves to Run; what the browser sends is judged like any value from outside."""

import asyncio
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.engine.limits import Budget
from ddim_app.engine.zero_gpu import ZeroEngine
from ddim_app.errors import FieldError
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.compare import live
from ddim_app.ui.compare.live import Live
from tests.wire import Brake
from tests.zero import Lender


def live_of(engine: Engine, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Live:
    """Live of a page over the engine."""
    kept: list[Live] = []
    connect = Live.connect
    monkeypatch.setattr(Live, "connect", lambda self, *given: kept.append(self) or connect(self, *given))
    build_ui(engine, **options)
    return kept[0]


def answers(one: Live, data: Any, session: str = "page", told: list[Any] | None = None, **changed: Any) -> list[list[Any]]:
    """All that the handler yields for the settings as the page begins with, changed by name; it is in `told` too."""
    told = [] if told is None else told

    async def collect() -> list[list[Any]]:
        async for item in asked(one, data, session, **changed):
            told.append(item)
        return told

    return asyncio.run(collect())


def asked(one: Live, data: Any, session: str = "page", **changed: Any) -> Any:
    """The handler's answer, which goes on as it is read."""
    names = [*one.tab.settings.fields, "more_arms"]
    values = [changed.get(name, field.value) for name, field in zip(names, one.tab.inputs, strict=True)]
    request = gr.Request(session_hash=session, headers={}, client=SimpleNamespace(host="here"))
    return one.run(request, gr.EventData(None, data), *values)


def final(shown: list[list[Any]]) -> dict[str, Any]:
    return next(value[2] for value in reversed(shown) if isinstance(value[2], dict) and value[2].get("complete"))


@pytest.fixture
def engine(tiny_root: Path) -> Engine:
    return Engine([tiny_root])


def test_one_picture_of_each_arm_comes_first_then_the_whole_run(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = answers(live_of(engine, monkeypatch), {"serial": 3}, steps=4)
    assert shown[0][0] == {"serial": 3}
    preview = next(value[2] for value in shown if isinstance(value[2], dict) and "preview" in value[2])
    assert len(preview["preview"]) == 2
    whole = final(shown)
    assert (preview["run"], preview["serial"]) == (whole["run"], whole["serial"]) == ("live 3", 3)
    assert len(whole["frames"]) == 2 * 4
    assert (preview["noise"], preview["arms"]) == (whole["noise"], whole["arms"])


@pytest.mark.parametrize("data", [None, "x", {}, {"serial": "1"}, {"serial": -1}, {"serial": 2**60}, {"serial": 1.5}, [1]])
def test_a_wrong_serial_runs_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch, data: Any) -> None:
    shown = answers(live_of(engine, monkeypatch), data)
    assert len(shown) == 1
    assert "serial must be" in shown[0][0]["wrong"]["serial"]
    assert engine.loop.calls == 0


def test_a_wrong_value_is_said_by_its_field(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = answers(live_of(engine, monkeypatch), {"serial": 1}, steps=3.7)
    assert shown[0][0]["wrong"] == {"steps": "Steps must be a whole number from 1 to 1000; got 3.7"}
    assert engine.loop.calls == 0


def test_a_refusal_of_the_first_picture_leaves_no_starting(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise FieldError("model", "tiny: it does not fit into memory")

    one = live_of(engine, monkeypatch)
    monkeypatch.setattr(engine, "run", refuse)
    told: list[Any] = []
    with pytest.raises(gr.Error):
        answers(one, {"serial": 1}, steps=2, pictures=2, told=told)
    assert told[-1][1] == {"words": "Model tiny: it does not fit into memory", "wrong": {"model": told[-1][1]["words"]}}


def test_an_older_serial_than_the_newest_runs_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    one = live_of(engine, monkeypatch)
    assert final(answers(one, {"serial": 5}, steps=2))
    assert answers(one, {"serial": 4}, steps=2) == []
    assert final(answers(one, {"serial": 1}, "another page", steps=2))


def test_what_takes_long_or_leases_a_gpu_waits_for_run(engine: Engine, tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = live_of(engine, monkeypatch)
    assert final(answers(one, {"serial": 1}, steps=3))
    monkeypatch.setattr(live, "LIVE_SECONDS", 0)
    calls = engine.loop.calls
    assert answers(one, {"serial": 2}, steps=4)[0][0]["costly"] > 0
    assert engine.loop.calls == calls
    lender = Lender()
    leased = live_of(ZeroEngine([tiny_root], gpu=lender.GPU), monkeypatch)
    assert answers(leased, {"serial": 1})[0][0] == {"serial": 1, "costly": 0}
    assert lender.asked == []


def test_where_live_is_off_nothing_runs_unasked(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for it past the page included."""
    one = live_of(engine, monkeypatch, live=False)
    assert one.switch.props["allowed"] is False
    assert answers(one, {"serial": 1}, steps=2)[0][0] == {"serial": 1, "costly": 0}
    assert engine.loop.calls == 0


def test_live_pauses_with_a_sentence_while_the_share_is_spent(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([tiny_root], budget=Budget(max_evaluations_per_minute=10))
    one = live_of(engine, monkeypatch)
    assert final(answers(one, {"serial": 1}, steps=5, pictures=4))  # two arms, and one picture of each before
    calls = engine.loop.calls
    (shown,) = answers(one, {"serial": 2}, steps=10, pictures=4)
    assert shown[0] == {"serial": 2, "costly": 0}
    assert re.fullmatch(
        "Live pauses, stored pictures go on: this visitor has its share of 10 evaluations a minute on this host, averaged over "
        r"10 minutes, and this run of 80 does not fit in yet: try again in \d+ (s|minutes)\.",
        shown[1],
    )
    assert engine.loop.calls == calls


def test_the_cost_of_a_ladder_is_no_reason_to_wait_for_run(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of two seconds is about the arms alone: 8 evaluations here, and 1,176 in the background."""
    one = live_of(engine, monkeypatch)
    engine.final(Recipe(arms=(Arm(steps=4),), model="tiny"))
    monkeypatch.setattr(engine, "seconds", lambda planned: planned.evaluations / 8)
    assert final(answers(one, {"serial": 1}, steps=2, pictures=4))
    assert answers(one, {"serial": 2}, steps=3, pictures=4)[0][0]["costly"] == 3


@pytest.mark.parametrize("shown", [1, 2], ids=["starting", "its first picture is shown"])
def test_an_older_value_that_goes_on_late_does_not_end_the_newer_one(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, shown: int
) -> None:
    monkeypatch.setattr(backends, "predictor", Brake(0.02))
    monkeypatch.setattr(live, "LIVE_SECONDS", 1e6)
    one = live_of(engine, monkeypatch)

    async def both() -> tuple[list[Any], list[Any]]:
        older = asked(one, {"serial": 1}, steps=3)
        for _ in range(shown):
            await anext(older)
        newer = asyncio.create_task(collected(asked(one, {"serial": 2}, steps=10)))
        limit = time.monotonic() + 60
        while not one.tab.runs.places:
            assert time.monotonic() < limit, "the newer one never began"
            await asyncio.sleep(0.005)
        return await collected(older), await newer

    late, newer = asyncio.run(both())
    assert not any(isinstance(value[2], dict) and value[2].get("complete") for value in late)
    assert final(newer)["serial"] == 2


def test_an_overtaken_run_makes_at_most_one_more_call(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "predictor", Brake(0.02))
    monkeypatch.setattr(live, "LIVE_SECONDS", 1e6)
    monkeypatch.setattr(live, "HELD_SECONDS", 0)
    one = live_of(engine, monkeypatch)

    async def both() -> tuple[list[Any], int]:
        older = asyncio.create_task(collected(asked(one, {"serial": 1}, steps=900)))
        while engine.loop.calls < 3:
            await asyncio.sleep(0.001)
        before = engine.loop.calls
        newer = await collected(asked(one, {"serial": 2}, steps=2))
        assert not any(isinstance(value[2], dict) and value[2].get("complete") for value in await older)
        return newer, engine.loop.calls - before

    newer, calls = asyncio.run(both())
    assert final(newer)["serial"] == 2
    own = 2 + 2  # of its first pictures, and of all
    assert calls <= 1 + own


async def collected(shown: Any) -> list[Any]:
    return [value async for value in shown]
