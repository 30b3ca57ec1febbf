"""The gate that every request passes."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from ddim_app.ui.hosting.gate import OpenStreams, RequestGate


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        ("/gradio_api/queue/data", 1),
        ("/ddim/gradio_api/call/generate/0af3", 1),
        ("/gradio_api/call/generate", 0),
        ("/gradio_api/heartbeat/0af3", 0),
        ("/health", 0),
    ],
)
def test_an_answer_about_a_run_counts_until_its_last_byte_is_sent(path: str, counted: int) -> None:
    streams, seen = OpenStreams(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        seen.append(streams.open)
        await send({"type": "http.response.body", "body": b"last words"})

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        seen.append(streams.open)

    asyncio.run(RequestGate(app, streams)({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send))
    assert seen == [counted] * 3
    assert streams.open == 0


def test_an_answer_that_fails_is_counted_out() -> None:
    streams = OpenStreams()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionError("the reader is gone")

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        assert streams.open == 1

    scope = {"type": "http", "path": "/gradio_api/queue/data", "method": "GET", "headers": []}
    with pytest.raises(ConnectionError):
        asyncio.run(RequestGate(app, streams)(scope, receive, send))
    assert streams.open == 0
