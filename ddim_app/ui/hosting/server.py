"""What a server on the internet needs around the page: health, counters, limits before the queue, and an end in good order."""

import asyncio
import contextlib
import json
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from ddim_app.ui.hosting.gate import OpenStreams, RequestGate
from ddim_app.ui.hosting.gradio_patches import UNREAD_SECONDS, UnreadMessages
from ddim_app.ui.hosting.health import gauges, status

log = logging.getLogger(__name__)

MAX_FILES_BYTES = 90_000_000
"""Bytes of pictures that are kept for download; the oldest go first, and none younger than FRESH_SECONDS."""
FRESH_SECONDS = 300
LAST_WORDS_SECONDS = 10
"""Seconds that readers have, when the server ends, to receive the sentence that ends their run."""


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
