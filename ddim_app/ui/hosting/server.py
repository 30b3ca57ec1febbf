"""What a server on the internet needs around the page: health, counters, limits before the queue, and an end in good order."""

import asyncio
import contextlib
import json
import logging
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from ddim_app.engine import Engine
from ddim_app.engine.limits import SERVER
from ddim_app.engine.options import Options
from ddim_app.errors import FieldError
from ddim_app.ui.hosting.gate import OpenStreams, RequestGate
from ddim_app.ui.page_runs import PageRuns

log = logging.getLogger(__name__)

MAX_FILES_BYTES = 90_000_000
"""Bytes of pictures that are kept for download; the oldest go first, and none younger than FRESH_SECONDS."""
FRESH_SECONDS = 300
PROBE_BYTES = 65_536
LAST_WORDS_SECONDS = 10
"""Seconds that readers have, when the server ends, to receive the sentence that ends their run."""
UNREAD_SECONDS = 120
"""Seconds after which the messages of an ended run are dropped if nobody reads them."""


def app_options(engine: Engine, demo: gr.Blocks, options: Options, streams: OpenStreams | None = None) -> dict[str, Any]:
    """Options of `launch` that add the routes /health and, where asked for, /metrics, and guard all others.

    `streams` is told of the answers that are being sent.
    """

    async def health(request: Request) -> JSONResponse:
        return JSONResponse(status(engine, demo))

    async def metrics(request: Request) -> PlainTextResponse:
        return PlainTextResponse(engine.request_log.text() + gauges(engine, demo))

    routes = [Route("/health", health), *([Route("/metrics", metrics)] if options.metrics else [])]
    return {
        "app_kwargs": {
            "routes": routes,
            "middleware": [Middleware(RequestGate, streams or OpenStreams())],
            "lifespan": lambda app: _lifespan(demo),
        },
        "root_path": options.root_path,
        "share": options.share,
        "auth": list(options.auth) or None,
        "server_name": options.host,
        "server_port": options.port,
        "_frontend": False,  # gradio would ask its own address within 3 s, and give up where a busy machine takes longer
    }


def status(engine: Engine, demo: gr.Blocks) -> dict[str, Any]:
    """What /health tells: whether runs are taken, on what, and how many there are."""
    names = engine.catalogue.names()
    return {
        "status": "ending" if engine.closing else "ok" if names else "no model",
        "model": names[0] if names else None,
        "device": engine.device.type,
        "number_format": engine.number_format("fast"),
        "running": engine.running,
        "waiting": len(demo._queue),
        "max_waiting": demo._queue.max_size,
    }


def gauges(engine: Engine, demo: gr.Blocks) -> str:
    figures = {
        "runs": engine.running, "waiting": len(demo._queue), "visitors": len(engine.visitors),
        "unread_sessions": len(demo._queue.pending_messages_per_session),
    }  # fmt: skip
    return "".join(f"# TYPE ddim_{name} gauge\nddim_{name} {value}\n" for name, value in figures.items())


@contextlib.asynccontextmanager
async def _lifespan(demo: gr.Blocks) -> AsyncIterator[None]:
    sweeping = asyncio.create_task(_sweep_for_ever(demo))
    try:
        yield
    finally:
        sweeping.cancel()


async def _sweep_for_ever(demo: gr.Blocks) -> None:
    unread = UnreadMessages(demo)
    while True:
        await asyncio.sleep(UNREAD_SECONDS / 4)
        unread.sweep(time.monotonic())
        await asyncio.to_thread(trim, Path(demo.GRADIO_CACHE), MAX_FILES_BYTES, _kept(demo))


def _kept(demo: gr.Blocks) -> frozenset[str]:
    """The files that belong to the page itself."""
    return frozenset(path for block in demo.blocks.values() for path in getattr(block, "keep_in_cache", ()))


def trim(folder: Path, most: int, kept: frozenset[str] = frozenset()) -> int:
    """Deletes the oldest files until the folder has at most that many bytes; how many went.

    None of the last minutes goes, and none of those `kept`, which do not count.
    """
    files = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # another sweep may be quicker
            if path.is_file() and str(path) not in kept:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    files.sort(key=lambda file: file[0])
    total, gone = sum(size for _, size, _ in files), 0
    for made, size, path in files:
        if total <= most or made > time.time() - FRESH_SECONDS:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()  # gradio makes a folder for each file
        total, gone = total - size, gone + 1
    return gone


def check_room(folder: Path) -> None:
    """Raises FieldError when the folder of pictures cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        log.error("the folder for pictures cannot be written to: %s", error)
        raise FieldError(SERVER, "has no room left for pictures: try again later, or tell whoever runs it") from error


class UnreadMessages:
    """Finds what was posted and never read. Gradio keeps the messages of such a run, with its pictures, for 2,000 sessions."""

    def __init__(self, demo: gr.Blocks) -> None:
        self._queue = demo._queue
        self._since: dict[str, tuple[frozenset[str], float]] = {}
        """The ended runs of each session, and since when there are these and no others."""

    def sweep(self, now: float) -> int:
        """Drops messages that have waited for UNREAD_SECONDS since their runs ended; how many sessions lost theirs."""
        kept = self._queue.pending_messages_per_session
        ended = {session: self._runs(session) for session in list(kept) if self._has_ended(session)}
        known = self._since
        self._since = {
            session: known[session] if session in known and known[session][0] == runs else (runs, now)
            for session, runs in ended.items()
        }
        late = [session for session, (_, since) in self._since.items() if now - since >= UNREAD_SECONDS]
        for session in late:
            del self._since[session]
            kept.pop(session, None)
            self._queue.pending_event_ids_session.pop(session, None)
        return len(late)

    def _has_ended(self, session: str) -> bool:
        return not any(event in self._queue.event_ids_to_events for event in self._runs(session))

    def _runs(self, session: str) -> frozenset[str]:
        return frozenset(self._queue.pending_event_ids_session.get(session, ()))


def guard(demo: gr.Blocks, runs: PageRuns) -> None:
    """Counts every refusal of the page's validators, and refuses a visitor who has too much under way before the queue does."""
    for fn in demo.fns.values():
        if fn.validator is not None:
            fn.validator = _judged(fn.validator, demo, runs)
    for block in demo.blocks.values():
        _remember_config(block)
        if isinstance(block, gr.components.Component):
            _keep_to_uploads(block)
        for function in getattr(block, "server_fns", ()):
            setattr(block, function.__name__, _counted(function, runs))


def _remember_config(block: Any) -> None:
    """Lets a block describe itself once: gradio asks every block for every new visitor, and reads signatures each time."""
    describe, known = block.get_config, None

    def get_config(cls: type | None = None) -> dict[str, Any]:
        nonlocal known
        if cls is not None:
            return dict(describe(cls))
        known = known or describe()
        return dict(known)

    block.get_config = get_config


def _keep_to_uploads(component: Any) -> None:
    """Refuses addresses in the place of an uploaded file, which gradio would fetch."""
    move = component.async_move_resource_to_block_cache

    async def move_file(source: Any) -> Any:
        if isinstance(source, str) and "://" in source[:20]:
            raise gr.Error("A file must be uploaded; addresses are not opened.", print_exception=False)
        return await move(source)

    component.async_move_resource_to_block_cache = move_file


def _judged(
    validator: Callable[..., Iterable[dict[str, Any]]], demo: gr.Blocks, runs: PageRuns
) -> Callable[..., list[dict[str, Any]]]:
    def judge(request: gr.Request, *values: Any) -> list[dict[str, Any]]:
        try:
            runs.engine.budget.check_share(_waiting(demo, runs, request) + runs.engine.visitors.runs(runs.visitor(request)))
            check_room(Path(demo.GRADIO_CACHE))
            if runs.engine.closing:
                raise FieldError(SERVER, "is about to be restarted, and takes no new runs: try again in a minute")
        except FieldError as error:
            runs.engine.request_log.refused(error.field)
            return [gr.validate(i > 0, str(error)) for i in range(len(values))]
        verdicts = list(validator(*values))
        if not all(verdict["is_valid"] for verdict in verdicts):
            runs.engine.request_log.refused(
                next(verdict["message"].split(" ")[0] for verdict in verdicts if not verdict["is_valid"])
            )
        return verdicts

    return judge


def _waiting(demo: gr.Blocks, runs: PageRuns, request: gr.Request) -> int:
    """Runs of the visitor's that wait in the queue."""
    queued = demo._queue.event_queue_per_concurrency_id.get("device")
    events = list(queued.queue) if queued else []
    visitor = runs.visitor(request)
    return sum(runs.callers.name(event.session_hash, event.request) == visitor for event in events)


def _counted(function: Callable[..., Any], runs: PageRuns) -> Callable[..., Any]:
    """A function that the page calls past the queue, counted as a run of its visitor's."""

    @wraps(function)
    def counted(request: gr.Request, *values: Any) -> Any:
        with runs.engine.visitors.counted(runs.callers.name(None, request)):
            return function(*values)

    counted.__annotations__ = {"request": gr.Request}
    return counted


def serve(demo: gr.Blocks, engine: Engine, options: Options, launch: dict[str, Any]) -> None:
    """Launches the page and returns after SIGTERM or Ctrl+C, once the runs under way have ended or were told."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    streams = OpenStreams()
    demo.launch(prevent_thread_lock=True, **launch, **app_options(engine, demo, options, streams))
    while not stop.wait(1):  # a signal that another thread got is handled when this one wakes
        pass
    log.info(json.dumps({"event": "stop", "running": engine.running}))
    engine.close(options.grace)
    limit = time.monotonic() + LAST_WORDS_SECONDS
    while (demo._queue.event_ids_to_events or streams.open) and time.monotonic() < limit:
        time.sleep(0.05)
    demo.close(verbose=False)
