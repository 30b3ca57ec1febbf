"""What every request passes: a limit on its body, a sentence where the server has none, and a count of the answers about runs."""

import contextlib
import logging
import re
from collections.abc import Iterator

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

WORDLESS = re.compile(rb'\{"error": ?null[^{}]*\}')
"""What gradio answers where a handler failed for a reason that it keeps to itself."""
MAX_BODY = 16_000_000
"""Bytes of a request that is no upload; uploads have a limit of their own."""
NOT_UNDERSTOOD = "The request could not be understood: its values are not of the kind that it needs."
RUN_STREAM = re.compile(r"/queue/data$|/call/[^/]+/[^/]+$")
"""The paths on which gradio sends what happens in a run."""


class OpenStreams:
    """Counts the answers about runs that are being sent."""

    def __init__(self) -> None:
        self.open = 0

    @contextlib.contextmanager
    def counted(self, path: str) -> Iterator[None]:
        is_about_a_run = RUN_STREAM.search(path) is not None
        self.open += is_about_a_run
        try:
            yield
        finally:
            self.open -= is_about_a_run


class RequestGate:
    """Refuses bodies that are too large, and answers with a sentence where the server would have none."""

    def __init__(self, app: ASGIApp, streams: OpenStreams) -> None:
        self.app, self.streams = app, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with self.streams.counted(scope["path"]):
            await self._answered(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        begun, seen, held = False, 0, None
        bounded = not headers.get(b"content-type", b"").startswith(b"multipart/form-data")

        async def note(message: Message) -> None:
            nonlocal begun, held
            if message["type"] == "http.response.start" and message["status"] == 500:
                held = message
                return
            if held is not None and not begun:
                begun = True
                if WORDLESS.fullmatch(message.get("body", b"")):
                    return await _answer(400, NOT_UNDERSTOOD, scope, receive, send)
                await send(held)
            begun = True
            await send(message)

        async def take() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if bounded and seen > MAX_BODY:
                raise BodyTooLarge
            return message

        try:
            length = headers.get(b"content-length", b"0")
            if bounded and length.isdigit() and int(length) > MAX_BODY:
                raise BodyTooLarge
            await self.app(scope, take, note)
        except BodyTooLarge:
            if not begun:
                await _answer(413, f"The request must have at most {MAX_BODY // 1_000_000} MB.", scope, receive, send)
        except Exception as error:
            if begun:
                raise
            log.warning("%s %s could not be answered: %s", scope["method"], scope["path"][:100], type(error).__name__)
            await _answer(400, NOT_UNDERSTOOD, scope, receive, send)


class BodyTooLarge(Exception):  # noqa: N818
    """A body of more than MAX_BODY bytes."""


async def _answer(code: int, sentence: str, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"detail": sentence, "error": sentence}, code)(scope, receive, send)
