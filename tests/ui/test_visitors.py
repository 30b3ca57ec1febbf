"""What the server keeps for its visitors: the last run of the last hundred, through the real wire.

That the largest runs stay in bounds too is tested in test_stage.py, on frames alone.
"""

import json
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from ddim_app.engine import Engine
from ddim_app.ui import build_ui, launch_options
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.theme import VISITORS

MOST = 24_000_000
"""Bytes of one visitor."""


@pytest.fixture(scope="module")
def demo(tiny_root: Path) -> Iterator[gr.Blocks]:
    demo = build_ui(Engine([tiny_root]))
    demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_options())
    yield demo
    demo.close(verbose=False)


def run(demo: gr.Blocks, session: str, **settings: Any) -> dict[str, Any]:
    """What Run of the Compare tab sends to the page of that session in the end, asked for as the page does it."""
    fn = next(fn for fn in demo.fns.values() if isinstance(getattr(fn.fn, "__self__", None), CompareTab) and fn.validator)
    values = [settings.get(component.elem_id, component.value) for component in fn.inputs]
    asked = {"data": values, "fn_index": fn._id, "session_hash": session, "trigger_id": None}
    address = f"{demo.local_url}gradio_api/queue"
    urllib.request.urlopen(
        urllib.request.Request(f"{address}/join", json.dumps(asked).encode(), {"Content-Type": "application/json"})
    )
    with urllib.request.urlopen(f"{address}/data?session_hash={session}") as stream:
        for line in stream:
            if line.startswith(b"data:") and b'"process_completed"' in line:
                news: dict[str, Any] = json.loads(line[5:])
                assert news["success"], news["output"]
                return news["output"]
    raise AssertionError("the stream ended without an end")


def reached(*values: Any) -> dict[int, Any]:
    """Everything that can be reached from plain containers, each object once, by its id."""
    seen: dict[int, Any] = {}
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    return seen


def test_120_visitors_leave_100_runs_and_each_is_small(demo: gr.Blocks) -> None:
    names = [f"visitor-{i}" for i in range(120)]
    with ThreadPoolExecutor(8) as crowd:
        outputs = list(crowd.map(lambda name: run(demo, name, steps=1, pictures=1), names))
    run(demo, names[-1], steps=200, pictures=16)
    assert all(len(output["data"][1]["frames"]) == 2 for output in outputs)
    kept = demo.app.state_holder.session_data
    assert len(kept) == VISITORS == 100
    held = {name: reached(state.config_values, state.state_data) for name, state in kept.items()}
    shared = held[names[-2]].keys() & held[names[-3]].keys()  # what the page begins with lies there once for all
    sizes = {name: sum(sys.getsizeof(item) for key, item in own.items() if key not in shared) for name, own in held.items()}
    assert 2_000_000 < sizes.pop(names[-1]) < MOST  # its pictures are seen by the measure
    assert max(sizes.values()) < MOST / 10
