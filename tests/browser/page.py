"""The page in a headless Chromium: opening it, watching it, pressing what is on it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from ddim_app.engine import Engine
from tests.wire import wait_for

expect.set_options(timeout=60_000)  # the page shares its cores with other tests

ARTIFACTS = Path(__file__).parent.parent / "artifacts"
"""Screenshots, taken where SCREENSHOTS is set: they are for looking at, and each costs a fifth of what the page's opening does."""


FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def chromium() -> str | None:
    """Debian's browser, or whichever goes by one of its names; None leaves the choice to Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def forget(page: Page, url: str) -> None:
    """Leaves the page, and clears what it has kept on the device, when nothing of it can write there any more."""
    page.goto(f"{url}/robots.txt")
    page.evaluate("localStorage.clear(); sessionStorage.clear()")
    page.request_gc()  # else the memory of each page before is kept for long, 8 MB of it


@contextmanager
def opened(page: Page, url: str, engine: Engine) -> Iterator[None]:
    """Opens the page, and looks at the end for errors in its console."""
    errors: list[str] = []
    with (
        listening(page, "console", lambda message: errors.append(message.text) if message.type == "error" else None),
        listening(page, "pageerror", lambda error: errors.append(str(error))),
    ):
        open_page(page, url)
        wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
        yield
    assert [error for error in errors if "422" not in error] == []  # a refused value is answered with HTTP 422


@contextmanager
def listening(page: Page, event: Any, listener: Callable[[Any], None]) -> Iterator[None]:
    page.on(event, listener)
    try:
        yield
    finally:
        page.remove_listener(event, listener)


@contextmanager
def asked_of_server(page: Page) -> Iterator[list[str]]:
    """What the page asks for meanwhile: the body of each request, or its address where it has none."""
    asked: list[str] = []
    with listening(page, "request", lambda request: asked.append(request.post_data or request.url)):
        yield asked


def press_both(page: Page, place: str, first: Callable[[], None], second: Callable[[], None]) -> None:
    """Presses what `second` does in a component while nothing is answered yet of what `first` does there."""
    held: list[Route] | None = []
    component = page.evaluate("id => gradio_config.components.find(each => each.props.elem_id === id).id", place)
    page.route("**/run/predict", lambda route: route.continue_() if held is None else held.append(route))
    with page.expect_request(lambda asked: "/run/predict" in asked.url and asked.post_data_json["trigger_id"] == component):
        first()
    second()
    routes, held = held, None
    for route in routes:
        route.continue_()


def open_page(page: Page, url: str, *, live: bool = False) -> None:
    """Opens the page, whose settings answer only when Run is pressed, unless it is to be `live`."""
    page.set_default_timeout(60_000)  # the page shares its cores with other tests
    page.goto(url)
    page.wait_for_selector("#stage .arms[aria-busy=false] canvas[aria-label*=', step ']", state="attached")
    page.wait_for_function("document.querySelector('#cost p').textContent.includes('evaluations')")
    if not live:
        page.locator("#live button").evaluate("button => button.click()")  # on a phone it is in the sheet


def until_quiet(page: Page, milliseconds: int = 1500, most: int = 40) -> None:
    """Waits until the page has asked for nothing for that long; fails when it asks in each of so many such spans."""
    with asked_of_server(page) as asked:
        for _ in range(most):
            asked.clear()
            page.wait_for_timeout(milliseconds)
            if not asked:
                return
        pytest.fail(f"the page never rests; it asked for {asked}")


def screenshot(page: Page, name: str) -> None:
    if "SCREENSHOTS" in os.environ:
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=True)
