"""The card of every way up while more than one call fills it."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.ui import build_ui
from ddim_app.ui.invert import ways
from ddim_app.ui.invert.ways import WAYS, Ways
from tests.wire import Brake


@pytest.fixture
def card(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> Ways:
    """The card of a page whose network calls take long enough to be overtaken."""
    brake, kept, connect = Brake(0.02), [], Ways.connect
    monkeypatch.setattr(backends, "predictor", brake)
    monkeypatch.setattr(ways, "WAYS_SECONDS", 1e6)
    monkeypatch.setattr(Ways, "connect", lambda self, *events: kept.append(self) or connect(self, *events))
    build_ui(Engine([tiny_root]))
    (card,) = kept
    return card


def test_a_call_that_a_newer_one_overtakes_ends_and_the_newer_fills_every_row(card: Ways) -> None:
    """The older one once went on with its next way, which ended the newer one's, and so every other row stayed empty."""
    values = [3 if field.elem_id == "steps-invert" else field.value for field in card.tab.inputs]
    request = gr.Request(session_hash="page", headers={}, client=SimpleNamespace(host="here"))

    async def fill() -> list[dict[str, Any]]:
        return [value async for value in card.run(request, gr.EventData(None, {"asked": False}), *values)]

    async def twice() -> list[list[dict[str, Any]]]:
        older = asyncio.create_task(fill())
        limit = time.monotonic() + 20
        while not card.tab.runs.places:
            assert time.monotonic() < limit, "the older call never began"
            await asyncio.sleep(0.005)
        return await asyncio.gather(older, fill())

    older, newer = asyncio.run(twice())
    assert [row["method"] for row in older[-1]["rows"] if "rmse" in row] == []
    assert {row["method"] for row in newer[-1]["rows"] if "rmse" in row} == set(WAYS)
