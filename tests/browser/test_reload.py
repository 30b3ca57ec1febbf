"""What a reload brings back: settings, pictures and recent runs, with a sentence that says what happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.ui.compare import ladder, live
from tests.browser.page import open_page, screenshot
from tests.browser.visitor import fill, pixels
from tests.wire import served, wait_for


@pytest.fixture
def engine(tiny_root: Path) -> Engine:
    return Engine([tiny_root])


@pytest.fixture
def ran(browser: Browser, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A page with Live on, on a machine that is never too slow for it, that shows a run of its own."""
    monkeypatch.setattr(live, "LIVE_SECONDS", 1e6)
    monkeypatch.setattr(ladder, "LADDER_SECONDS", 1e6)
    with served(engine) as url, browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, url, live=True)
        fill(page, "seed", 5)
        fill(page, "steps", 3)
        expect(page.locator("#stage .arm figcaption").first).to_contain_text("3 steps")
        expect(page.locator("#stage .far").first).to_contain_text("of 255")  # the ladder's references, which come last
        wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
        expect(page.locator("#history .strip li")).not_to_have_count(1)  # a slow page has made a run of the seed alone too
        yield page


def there_again(page: Page, shown: list[str]) -> None:
    """Waits until the page has everything of the run that it showed."""
    expect(page.locator("#stage .arm figcaption").first).to_contain_text("3 steps")
    expect(page.locator("#history .strip li")).not_to_have_count(1)
    for name, value in (("steps", "3"), ("seed", "5")):
        expect(page.locator(f"#{name} input")).to_have_value(value)
    expect(page.locator("#ladder .about")).to_contain_text("Seed 5")
    assert [pixels(page, 0), pixels(page, 1)] == shown
    assert page.locator("#stage .stale").count() == 0


def test_a_reload_brings_all_back_and_asks_for_no_evaluation(ran: Page, engine: Engine) -> None:
    shown, far, calls = [pixels(ran, 0), pixels(ran, 1)], ran.locator("#stage .far").first.inner_text(), engine.loop.calls
    for lost, words in (
        (False, "The page was loaded anew: settings"),
        (True, "The connection to the server was lost, and the page"),
    ):
        ran.evaluate("lost => { window.serverLost = lost; }", lost)
        ran.reload()
        expect(ran.locator("#restore-note")).to_contain_text(words)
        there_again(ran, shown)
        expect(ran.locator("#stage .far").first).to_have_text(far)
        expect(ran.locator("#cost")).to_contain_text("24 evaluations")
        ran.wait_for_timeout(300)
        assert engine.loop.calls == calls
    screenshot(ran, "reloaded")
    before = ran.locator("#history .strip li").count()
    fill(ran, "steps", 2)
    expect(ran.locator("#history .strip li")).to_have_count(before + 1)
    ran.locator("#history .picture").nth(1).click()
    expect(ran.locator("#restore-note")).to_contain_text("Settings of a run of before.")
    expect(ran.locator("#steps input")).to_have_value("3")


def test_the_gif_of_a_reloaded_page_is_of_what_is_shown_or_none(ran: Page, engine: Engine) -> None:
    shown = [pixels(ran, 0), pixels(ran, 1)]
    ran.reload()
    there_again(ran, shown)
    ran.click("#share-gif")
    expect(ran.locator("#share-file")).to_contain_text("not kept on the server: press Run")
    ran.keyboard.press("Control+Enter")
    expect(ran.locator("#status p")).to_contain_text("Done")
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    with ran.expect_download() as download:
        ran.click("#share-gif")
    assert '"seed":5' in Path(download.value.path()).read_bytes().decode("latin-1")


def test_what_is_too_large_for_the_store_leaves_the_rest_there(ran: Page) -> None:
    ran.evaluate("window.keepers.huge = () => 'x'.repeat(6e6)")
    ran.evaluate("window.keepers.halved = small => 'x'.repeat(small ? 10 : 6e6)")
    shown = [pixels(ran, 0), pixels(ran, 1)]
    ran.reload()
    there_again(ran, shown)
    assert ran.evaluate("[window.kept('huge') ?? null, window.kept('halved')]") == [None, "x" * 10]
