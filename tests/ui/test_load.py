"""Many visitors at once: nobody's answer is lost, late without a word, or somebody else's; memory and files stay bounded."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from ddim_app.ui import build_ui
from ddim_app.ui.hosting import gradio_patches
from tests import load, open_page, wire
from tests.alive import tensors_and_pictures
from tests.load import Report
from tests.server import named, post
from tests.wire import Brake, served, wait_for


def under_load(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, clients: int, seconds: float, max_queue: int
) -> tuple[Report, str, int]:
    """(what the clients saw, what became of memory, files and runs after the first third, after how many runs).

    A quarter of what they ask is a drag with Live on, whose values overtake each other.

    Fails where runs leave something behind: a tensor or a picture each, or more files than the pictures that were asked for, of
    which there is one for each size of a call.
    """
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    engine, process = Engine([root], allow_hub=False), psutil.Process()
    log = engine.request_log.counters
    with served(engine, Options(host="127.0.0.1", max_queue=max_queue)) as url:
        wanted = load.wanted(url, "tiny")
        requests = [*wanted, *(open_page.drag(url, "tiny", seed) for seed in range(3))]
        load.run(url, requests, clients, seconds / 3, seed=1)
        wait_for(lambda: engine.running == 0, 60)
        settled, alive, before = process.memory_info().rss, tensors_and_pictures(), log["runs_done"]
        overtaken = log["runs_stopped"]
        report = load.run(url, requests, clients, seconds * 2 / 3, seed=2)
        wait_for(lambda: engine.running == 0, 60)
        grown, left = (process.memory_info().rss - settled) / 1e6, tensors_and_pictures() - alive
        made, overtaken = log["runs_done"] - before, log["runs_stopped"] - overtaken
    assert len(engine.visitors) == 0
    files = [path for path in folder.rglob("*") if path.is_file()]
    runs = f"{made} runs and {overtaken} that were dropped or overtaken"
    told = f"memory grew by {grown:.0f} MB, tensors and pictures by {left} after {runs}; {len(files)} files"
    assert left < made, told
    assert len(files) <= len(BUCKETS) * sum(len(request.pixels) for request in wanted), told
    return report, told, log["runs_done"] + log["runs_stopped"]


def test_twelve_clients(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]) -> None:
    report, told, runs = under_load(tiny_root, tmp_path, monkeypatch, clients=12, seconds=20, max_queue=64)
    tell(f"12 clients, 20 s: {report.line()}; {told}; {runs} runs in all")
    assert report.faults == []
    assert report.outcomes["answered"] >= 12
    assert report.outcomes.keys() >= {"dropped", "refused as wrong", "Live: drags answered"}


@pytest.mark.long
def test_forty_clients_for_three_minutes(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    report, told, runs = under_load(tiny_root, tmp_path, monkeypatch, clients=40, seconds=180, max_queue=12)
    tell(f"40 clients, 180 s: {report.line()}; {told}; {runs} runs in all")
    assert report.faults == []
    assert report.outcomes["answered"] >= 500
    assert report.outcomes["refused as the queue was full"] > 0
    assert report.outcomes["Live: drags answered"] >= 50
    assert runs >= 500


def test_a_full_queue_refuses_at_once_with_the_reason(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    monkeypatch.setattr("ddim_app.backends.predictor", Brake(0.2))
    monkeypatch.setattr("ddim_app.ui.page.CONCURRENT_RUNS", 1)
    engine = Engine([tiny_root], allow_hub=False)
    with served(engine, Options(host="127.0.0.1", max_queue=2)) as url:
        body = {"data": named(url, "generate", steps=400, pictures=1)}
        answers, times = [], []
        for _ in range(8):
            began = time.monotonic()
            answers.append(post(url, "/gradio_api/call/generate", body))
            times.append(time.monotonic() - began)
            wait_for(lambda: engine.running == 1)
        refused = [i for i, (status, _) in enumerate(answers) if status == 503]
        assert len(refused) == 8 - 3
        assert all(b"Queue is full" in answers[i][1] for i in refused)
        tell(f"refused as the queue was full: within {max(times[i] for i in refused):.3f} s")
        assert engine.request_log.counters["evaluations"] <= 400


def test_what_nobody_reads_is_dropped(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, built = Engine([tiny_root], allow_hub=False), []
    monkeypatch.setattr(wire, "build_ui", lambda *arguments, **options: built.append(build_ui(*arguments, **options)) or built[0])
    with served(engine) as url:
        for _ in range(3):
            assert post(url, "/gradio_api/call/generate", {"data": named(url, "generate", steps=2)})[0] == 200
        queue = built[0]._queue
        wait_for(lambda: engine.request_log.counters["runs_done"] == 3 and not queue.event_ids_to_events)
        assert len(queue.pending_messages_per_session) == 3
        unread = gradio_patches.EventQueue(built[0])
        assert unread.sweep(0) == 0
        assert unread.sweep(gradio_patches.UNREAD_SECONDS - 1) == 0
        session = next(iter(queue.pending_event_ids_session))
        queue.pending_event_ids_session[session].add("another run, that has ended since")
        assert unread.sweep(gradio_patches.UNREAD_SECONDS) == 2
        assert unread.sweep(2 * gradio_patches.UNREAD_SECONDS - 1) == 0
        assert unread.sweep(2 * gradio_patches.UNREAD_SECONDS) == 1
        assert len(queue.pending_messages_per_session) == 0
