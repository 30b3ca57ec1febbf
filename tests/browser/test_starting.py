"""The page of a server that has not imported torch yet: its first screen stands, and what is pressed waits with a word."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.visitor import fill
from tests.server import Server

WORDS = "Starting: loading PyTorch"
CAPTION = "#stage .arm figcaption"


@pytest.fixture
def page(browser: Browser, starting: Server) -> Iterator[Page]:
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(60_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(starting.url)
        page.wait_for_function("document.querySelector('#stage .arm canvas[aria-label*=\", step \"]')")
        yield page
        assert errors == []


def test_run_waits_for_torch_behind_the_first_screen(page: Page, gate: Path) -> None:
    expect(page.locator(CAPTION).first).to_contain_text("10 steps")
    expect(page.locator("#ladder img").first).to_be_visible()
    page.click("#live button")
    fill(page, "seed", 123)
    page.click("#run")
    expect(page.locator("#status p")).to_have_text(WORDS, timeout=60_000)
    gate.touch()
    expect(page.locator("#status p")).to_contain_text("Done", timeout=60_000)
    expect(page.locator("#served-by span")).to_contain_text("CPU", timeout=60_000)
    expect(page.locator("#cost")).to_contain_text("evaluations", timeout=60_000)


def test_live_waits_for_torch(page: Page, gate: Path) -> None:
    fill(page, "seed", 123)
    expect(page.locator("#status p")).to_have_text(WORDS, timeout=60_000)
    fill(page, "steps", 5)
    gate.touch()
    expect(page.locator(CAPTION).first).to_contain_text("5 steps", timeout=60_000)
    page.wait_for_selector("#stage .arms[aria-busy=false]", timeout=60_000)
