"""Who a request comes from, as far as sharing the machine goes: the page it was made on, else the address it came from."""

import contextlib
import ipaddress
from collections import OrderedDict
from typing import Any

from ddim_app.engine.limits import Visitor

PAGES = 10_000
"""Open pages that are remembered."""


class VisitorNames:
    """Names for visitors.

    A session counts as a page once the page has said so by loading; everything else, such as a plain POST, which gets a new
    session each time, goes by the client's address. `X-Forwarded-For` is believed only `behind_proxy`, and of it the last
    entry, which our own proxy wrote.
    """

    def __init__(self, behind_proxy: bool = False) -> None:
        self._behind_proxy = behind_proxy
        self._pages: OrderedDict[str, None] = OrderedDict()

    def arrive(self, session: str | None) -> None:
        """A page has loaded."""
        if session:
            self._pages[session] = None
            self._pages.move_to_end(session)
            while len(self._pages) > PAGES:
                self._pages.popitem(last=False)

    def leave(self, session: str | None) -> None:
        self._pages.pop(session or "", None)

    def is_open(self, session: str | None) -> bool:
        """Whether the session is a page that has loaded and was not closed."""
        return session in self._pages

    def of(self, session: str | None, request: Any) -> Visitor:
        """The visitor behind a request of gradio's or starlette's."""
        address = f"address {self._address(request)}"
        return Visitor(f"page {session}" if self.is_open(session) else address, address)

    def _address(self, request: Any) -> str:
        """Where a request comes from; of IPv6, whose users have many addresses each, the first 64 bits."""
        forwarded = request.headers.get("x-forwarded-for", "") if self._behind_proxy else ""
        last = forwarded.split(",")[-1].strip()[:45]
        client = getattr(request, "client", None)
        address = last or (client.host if client else "unknown")
        with contextlib.suppress(ValueError):
            number = ipaddress.IPv6Address(address)
            return str(number.ipv4_mapped or ipaddress.IPv6Network((number, 64), strict=False))
        return str(address)
