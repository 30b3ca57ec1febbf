"""The page behind a real nginx that is restarted in the middle of a run, buffers, or cuts what is silent for too long."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from tests.browser.page import open_page
from tests.browser.visitor import fill, pixels
from tests.nginx import Nginx, nginx
from tests.wire import Brake, served, wait_for


@pytest.fixture
def engine(tiny_root: Path, brake: Brake) -> Engine:
    return Engine([tiny_root])


@contextmanager
def behind(browser: Browser, engine: Engine, folder: Path, **settings: str) -> Iterator[tuple[Nginx, Page]]:
    """An nginx with these settings, and a page that was opened through it and shows a run of its own."""
    options = Options(host="127.0.0.1", root_path="/ddim")
    with served(engine, options) as url, nginx(folder, url, **settings) as proxy, browser.new_context() as context:
        page = context.new_page()
        open_page(page, f"{proxy.url}/")
        fill(page, "seed", 5)
        fill(page, "steps", 3)
        page.click("#run")
        expect(page.locator("#status p")).to_contain_text("Done")
        wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
        yield proxy, page


def test_after_a_restart_in_the_middle_of_a_run_all_stands_there_again(
    browser: Browser, engine: Engine, brake: Brake, tmp_path: Path
) -> None:
    with behind(browser, engine, tmp_path) as (proxy, page):
        page.evaluate("window.isBefore = true")
        brake.seconds = 0.1
        try:
            fill(page, "steps", 1000)
            page.click("#run")
            expect(page.locator("#status p")).to_contain_text("Step ")
            expect(page.locator("#stage .arm figcaption").first).to_contain_text("1000 steps")
            proxy.stop()
            expect(page.locator("#status p")).to_have_text("The connection was cut before the run was through.")
        finally:
            brake.seconds = 0
        shown = [pixels(page, 0), pixels(page, 1)]
        wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy, 120)  # a run that nobody can be told of ends
        calls = engine.loop.calls
        proxy.start()
        page.wait_for_function("!window.isBefore")
        note = page.locator("#restore-note")
        expect(note).to_contain_text("The connection to the server was lost, and the page was loaded anew: settings, pictures")
        expect(page.locator("#steps input")).to_have_value("1000")
        expect(page.locator("#seed input")).to_have_value("5")
        expect(page.locator("#stage .arm figcaption").first).to_contain_text("1000 steps")
        assert [pixels(page, 0), pixels(page, 1)] == shown
        expect(page.locator("#history .strip li")).not_to_have_count(1)
        assert engine.loop.calls == calls
        fill(page, "steps", 4)
        page.click("#run")
        expect(page.locator("#status p")).to_contain_text("Done")


def test_with_buffering_on_the_steps_come_one_by_one_all_the_same(
    browser: Browser, engine: Engine, brake: Brake, tmp_path: Path
) -> None:
    with behind(browser, engine, tmp_path, proxy_buffering="on") as (_, page):
        brake.seconds = 0.3
        try:
            fill(page, "steps", 300)
            page.click("#run")
            expect(page.locator("#status p")).to_contain_text("Step ")  # long before the end, of which it hears nothing
            page.click("#stop")
            expect(page.locator("#status p")).to_contain_text("Stopped at step")
        finally:
            brake.seconds = 0


def test_what_is_silent_for_longer_than_the_proxy_waits_is_not_cut(
    browser: Browser, engine: Engine, brake: Brake, tmp_path: Path
) -> None:
    """Gradio says every 15 s that it is there, so that an idle timeout of 60 s, nginx's own, never comes; here it is 20 s."""
    with behind(browser, engine, tmp_path, proxy_read_timeout="20s") as (_, page):
        page.evaluate("window.isBefore = true")
        brake.seconds = 25
        try:
            fill(page, "steps", 1)
            page.click("#run")
            expect(page.locator("#stage .arm figcaption").first).to_contain_text("1 step", timeout=180_000)
            expect(page.locator("#status p")).to_contain_text("Done", timeout=180_000)
        finally:
            brake.seconds = 0
        assert page.evaluate("window.isBefore")
