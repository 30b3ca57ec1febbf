"""The page itself, written once for each address that it is reached under, shortened and packed.

Gradio copies all that it knows of its components for every visitor, and writes the two megabytes anew, in the loop that also
sends all pictures: 40 ms of a processor core for each, which 40 pupils who open the page at once wait for. A quarter of them are
texts that it writes once for each of several equal components, and what no script reads.
"""

import asyncio
import gzip
import json
import re
from collections import OrderedDict
from typing import NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST = 8
"""Addresses under which the page is kept; of more of them those asked for last."""
ADDRESS = {b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port", b"x-forwarded-prefix", b"x-gradio-server"}
"""Headers that the addresses in the page depend on."""
BEGINNING = b"<script>window.gradio_config"
"""What the page's own description begins with, in the head; what is to be asked for at once goes before it."""
DESCRIPTION = re.compile(rb"<script>window\.gradio_config = (\{.*?\});</script>")
UNREAD = {"api_info", "api_info_as_input", "api_info_as_output", "example_inputs"}
"""What is told of each component that no script of the page reads; the view of the API asks for its own."""
TEXTS = ("js_on_load", "css_template", "html_template")
"""What equal components bring along once for each of them."""
FILL = b"""texts => {
  for (const {props} of gradio_config.components)
    for (const name of %s) if (typeof props[name] === 'number') props[name] = texts[props[name]];
}""" % json.dumps(TEXTS).encode()
Headers = list[tuple[bytes, bytes]]


class _Page(NamedTuple):
    headers: Headers
    plain: bytes
    packed: bytes


class FrontPage:
    """Answers whoever asks for the page, with `head` in its head; not for a server with passwords, where it depends on who asks."""

    def __init__(self, app: ASGIApp, head: str = "") -> None:
        self.app = app
        self._head = head
        self._pages: OrderedDict[tuple[object, ...], _Page] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in ("/", f"{scope.get('root_path', '')}/")
        if not is_page or b"deep_link" in scope["query_string"]:
            return await self.app(scope, receive, send)
        told = sorted((name, value) for name, value in scope["headers"] if name in ADDRESS)
        address = (scope["path"], scope.get("scheme"), *told)
        page = self._pages.get(address) or await self._written(address, scope, receive, send)
        if page is not None:
            self._pages.move_to_end(address)
            is_packed = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
            await _send(page, is_packed, send)

    async def _written(self, address: tuple[object, ...], scope: Scope, receive: Receive, send: Send) -> _Page | None:
        """The page as Gradio writes it, kept from now on; None where the answer is no page, which is then passed on."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.app(scope, receive, keep)
        start = next(message for message in messages if message["type"] == "http.response.start")
        body = b"".join(message.get("body", b"") for message in messages)
        if start["status"] != 200:
            for message in messages:
                await send(message)
            return None
        body = body.replace(BEGINNING, self._head.encode() + BEGINNING, 1)
        body = DESCRIPTION.sub(lambda found: _shortened(found[1]), body, 1)
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        self._pages[address] = page = _Page(headers, body, await asyncio.to_thread(gzip.compress, body, 6))
        while len(self._pages) > MOST:
            self._pages.popitem(last=False)
        return page


async def _send(page: _Page, is_packed: bool, send: Send) -> None:
    body = page.packed if is_packed else page.plain
    headers = [*page.headers, (b"content-length", str(len(body)).encode()), (b"vary", b"accept-encoding")]
    headers += [(b"content-encoding", b"gzip")] if is_packed else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _shortened(description: bytes) -> bytes:
    """The script that describes the page, without what no other one reads, and with each text once."""
    config = json.loads(description)
    numbers: dict[str, int] = {}
    for component in config["components"]:
        props = component["props"]
        for name in component.keys() & UNREAD:
            del component[name]
        for name in [name for name in TEXTS if isinstance(props.get(name), str)]:
            props[name] = numbers.setdefault(props[name], len(numbers))
    return b"<script>window.gradio_config = %s;(%s)(%s);</script>" % (_script(config), FILL, _script(list(numbers)))


def _script(value: object) -> bytes:
    """The value as a script in a page may have it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").encode()
