"""What a server on the internet needs around the page: health, counters, limits before the queue, and an end in good order."""

import asyncio
import contextlib
import json
import logging
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from ddim_app.studies.set_cache import SetCache
from ddim_app.ui.assets import FOLDER
from ddim_app.ui.components.stage import STORED_RUN, stored_name
from ddim_app.ui.hosting import front_end
from ddim_app.ui.hosting.front_page import FrontPage
from ddim_app.ui.hosting.gate import OpenStreams, RequestGate
from ddim_app.ui.hosting.gradio_patches import LAUNCH, UNREAD_SECONDS, EventQueue, files_of_page, forget_gone_files
from ddim_app.ui.hosting.health import gauges, status
from ddim_app.ui.served_files import trim

log = logging.getLogger(__name__)

MAX_FILES_BYTES = 90_000_000
"""Bytes of pictures that are kept for download; the oldest go first."""
FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}
LAST_WORDS_SECONDS = 10
"""Seconds that readers have, when the server ends, to receive the sentence that ends their run."""


def app_options(engine: Engine, demo: gr.Blocks, options: Options, streams: OpenStreams | None = None) -> dict[str, Any]:
    """Options of `launch` that add the routes /health and, where asked for, /metrics, and guard all others.

    `streams` is told of the answers that are being sent.
    """

    queue = EventQueue(demo)

    async def health(request: Request) -> JSONResponse:
        return JSONResponse(status(engine, queue))

    async def metrics(request: Request) -> PlainTextResponse:
        return PlainTextResponse(engine.request_log.text() + gauges(engine, queue))

    async def robots(request: Request) -> PlainTextResponse:
        """Opening a link may run it, so whoever follows all links follows none of ours."""
        return PlainTextResponse(f"User-agent: *\nDisallow: {'/' if options.share else '/*?'}\n")

    routes = [Route("/health", health), Route("/robots.txt", robots), *_files()]
    routes += [Route("/metrics", metrics)] if options.metrics else []
    front_page = Middleware(FrontPage, front_end.preloads({block.get_block_name() for block in demo.blocks.values()}))
    return {
        "app_kwargs": {
            "routes": routes,
            "middleware": [Middleware(RequestGate, streams or OpenStreams()), *([] if options.auth else [front_page])],
            "lifespan": lambda app: _lifespan(demo),
        },
        "root_path": options.root_path,
        "share": options.share,
        "auth": list(options.auth) or None,
        "server_name": options.host,
        "server_port": options.port,
        **LAUNCH,
    }


def _files() -> list[Route]:
    """The routes of the page's own files."""
    named = {"inter.woff2": FOLDER / "fonts" / "inter.woff2", f"stored/{stored_name()}": FOLDER / STORED_RUN}
    named |= {f"stored/{path.name}": path for path in (FOLDER / "stored").glob("*.png")}
    return [*(_for_ever(name, path) for name, path in named.items()), Route("/stored/{name}", _sheet), front_end.route()]


async def _sheet(request: Request) -> Response:
    """The sheet of a stored set of this machine."""
    path = SetCache().sheet(request.path_params["name"])
    return PlainTextResponse("There is no such picture", 404) if path is None else FileResponse(path, headers=FOR_EVER)


def _for_ever(name: str, path: Path) -> Route:
    """The route of a file that a browser may keep for ever, since another one has another name."""

    async def file(request: Request) -> Response:
        return FileResponse(path, headers=FOR_EVER)

    return Route(f"/{name}", file)


@contextlib.asynccontextmanager
async def _lifespan(demo: gr.Blocks) -> AsyncIterator[None]:
    sweeping = asyncio.create_task(_sweep_for_ever(demo))
    try:
        yield
    finally:
        sweeping.cancel()


async def _sweep_for_ever(demo: gr.Blocks) -> None:
    queue = EventQueue(demo)
    while True:
        await asyncio.sleep(UNREAD_SECONDS / 4)
        queue.sweep(time.monotonic())
        await asyncio.to_thread(trim, Path(demo.GRADIO_CACHE), MAX_FILES_BYTES, files_of_page(demo))
        await asyncio.to_thread(forget_gone_files, demo)


def serve(
    demo: gr.Blocks, engine: Engine, options: Options, launch: dict[str, Any], then: Callable[[], None] | None = None
) -> None:
    """Launches the page and returns after SIGTERM or Ctrl+C, once the runs under way have ended or were told.

    As soon as the page answers, `then` is called on a thread of its own.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    streams = OpenStreams()
    demo.launch(prevent_thread_lock=True, **launch, **app_options(engine, demo, options, streams))
    if then is not None:
        threading.Thread(target=then, name="warm-up", daemon=True).start()
    while not stop.wait(1):  # a signal that another thread got is handled when this one wakes
        pass
    log.info(json.dumps({"event": "stop", "running": engine.running}))
    engine.close(options.grace)
    limit = time.monotonic() + LAST_WORDS_SECONDS
    queue = EventQueue(demo)
    while (queue.is_busy or streams.open) and time.monotonic() < limit:
        time.sleep(0.05)
    demo.close(verbose=False)
