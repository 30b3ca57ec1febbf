"""Live: settings answer while they are moved, in a headless browser over the real engine."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from ddim_app.ui.compare import live
from ddim_app.ui.page_runs import PageRuns
from tests.browser.page import open_page, screenshot
from tests.browser.visitor import fill, pixels, run, slider
from tests.wire import Brake, calls_after, served, wait_for

CAPTIONS = "#stage .arm figcaption"
STALE = "document.querySelectorAll('#stage .arm .stale').length"
NOTE_ARRIVALS = """() => { window.seen = []; const tell = window.arrived;
  window.arrived = serial => { seen.push(serial); tell(serial); }; }"""


@pytest.fixture
def moved(blank: Page, url: str, engine: Engine) -> Page:
    """A page with Live on."""
    open_page(blank, url, live=True)
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    return blank


def settled(page: Page, steps: int) -> None:
    """Waits until all pictures are of that many steps."""
    expect(page.locator(CAPTIONS).first).to_contain_text(f"{steps} steps", timeout=60_000)
    page.wait_for_selector("#stage .arms[aria-busy=false]", timeout=60_000)
    assert page.evaluate(STALE) == 0


def test_a_setting_answers_without_run_with_the_pictures_that_run_makes(moved: Page, engine: Engine) -> None:
    expect(moved.locator("#run")).to_be_hidden()
    slider(moved, "steps").press("ArrowLeft")
    settled(moved, 7)
    shown = [pixels(moved, 0), pixels(moved, 1)]
    moved.click("#live button")
    expect(moved.locator("#run")).to_be_visible()
    run(moved)
    assert [pixels(moved, 0), pixels(moved, 1)] == shown


def test_a_drag_shows_settings_on_the_way_and_ends_at_the_last(moved: Page) -> None:
    moved.evaluate(NOTE_ARRIVALS)
    place = moved.locator("#eta [role=slider]").bounding_box()
    assert place is not None
    fill(moved, "seed", 123)  # of the stored seeds no run would be asked for
    fill(moved, "steps", 3)
    settled(moved, 3)
    y = place["y"] + place["height"] / 2
    moved.mouse.move(place["x"], y)
    moved.mouse.down()
    for part in (0.25, 0.5, 0.75, 1):
        before = moved.evaluate("seen.length")
        moved.mouse.move(place["x"] + part * place["width"], y)
        moved.wait_for_function("before => seen.length > before", arg=before)  # while the button is down
    moved.mouse.up()
    expect(moved.locator(CAPTIONS).first).to_contain_text("η 1, 3 steps")
    settled(moved, 3)
    assert pixels(moved, 0) == pixels(moved, 1)  # eta 1 is DDPM
    serials = moved.evaluate("seen")
    assert serials == sorted(serials)
    expect(moved.locator("#history .strip li")).to_have_count(2)  # those on the way are no runs of their own


def test_a_drag_comes_back_to_the_setting_that_the_page_opened_with(moved: Page, engine: Engine) -> None:
    opened = pixels(moved, 0)
    place = moved.locator("#steps [role=slider]").bounding_box()
    assert place is not None
    y, calls = place["y"] + place["height"] / 2, engine.loop.calls
    moved.mouse.move(place["x"] + 0.24 * place["width"], y)
    moved.mouse.down()
    expect(moved.locator(CAPTIONS).first).to_contain_text("5 steps")
    moved.mouse.move(place["x"] + place["width"] / 3, y)
    expect(moved.locator(CAPTIONS).first).to_contain_text("10 steps")
    assert pixels(moved, 0) == opened
    assert engine.loop.calls == calls
    moved.mouse.up()  # the run follows, with its steps to replay
    wait_for(lambda: engine.loop.calls > calls)
    expect(moved.locator("#stage .arm .stale")).to_have_count(0)


def test_a_stored_setting_is_not_drawn_over_by_the_run_before(moved: Page, brake: Brake, engine: Engine) -> None:
    place = moved.locator("#steps [role=slider]").bounding_box()
    assert place is not None
    y = place["y"] + place["height"] / 2
    brake.seconds = 0.3
    try:
        moved.mouse.move(place["x"] + 0.24 * place["width"], y)
        moved.mouse.down()
        moved.keyboard.down("Shift")
        moved.mouse.move(place["x"] + 0.47 * place["width"], y)  # some 25 steps, which are not stored
        wait_for(lambda: engine.loop.runs == 1)
        moved.keyboard.up("Shift")
        moved.mouse.move(place["x"] + 0.24 * place["width"], y)
        expect(moved.locator(CAPTIONS).first).to_contain_text("5 steps")
        shown = pixels(moved, 0)
        wait_for(lambda: engine.loop.runs == 0)
        moved.wait_for_timeout(500)
        expect(moved.locator(CAPTIONS).first).to_contain_text("5 steps")
        assert pixels(moved, 0) == shown
    finally:
        brake.seconds = 0
        moved.mouse.up()


def test_a_result_is_read_out_on_release_only(moved: Page) -> None:
    place = moved.locator("#steps [role=slider]").bounding_box()
    assert place is not None
    y = place["y"] + place["height"] / 2
    moved.mouse.move(place["x"] + place["width"] / 3, y)
    moved.mouse.down()
    moved.mouse.move(place["x"] + 0.24 * place["width"], y)
    expect(moved.locator(CAPTIONS).first).to_contain_text("5 steps")  # stored: it is there at once
    moved.wait_for_timeout(1000)
    expect(moved.locator("#stage .said")).to_be_empty()
    moved.mouse.up()
    expect(moved.locator("#stage .said")).to_contain_text("DDIM, 5 steps")


def test_an_overtaken_run_stops_and_is_never_shown(moved: Page, engine: Engine, brake: Brake) -> None:
    brake.seconds = 0.3
    try:
        fill(moved, "steps", 200)
        wait_for(lambda: engine.loop.runs == 1)
        wait_for(lambda: engine.loop.busy)
        fill(moved, "steps", 2)
        moved.wait_for_function(
            "!document.querySelector('#stage .arm figcaption').textContent.includes('10 steps')", timeout=60_000
        )
        settled(moved, 2)
        assert calls_after(engine, 0.5) == 0
    finally:
        brake.seconds = 0
    expect(moved.locator("#stop")).to_be_hidden()


def test_what_is_not_yet_of_the_setting_is_dimmed_and_a_wrong_value_brings_it_back(moved: Page, brake: Brake) -> None:
    brake.seconds = 1
    try:
        fill(moved, "steps", 20)
        moved.wait_for_function(f"{STALE} === 8")
        expect(moved.locator(CAPTIONS).first).to_contain_text("10 steps")
        expect(moved.locator("#stop")).to_be_visible()
        moved.fill("#steps input", "3.7")
        expect(moved.locator("#steps .wrong")).to_contain_text("got 3.7")
        moved.wait_for_function(f"{STALE} === 0")
        expect(moved.locator("#cost")).to_contain_text("waiting for a value")
        expect(moved.locator("#stop")).to_be_hidden()
    finally:
        brake.seconds = 0


def test_a_costly_setting_waits_for_run(moved: Page, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    slider(moved, "steps").press("ArrowLeft")
    settled(moved, 7)
    monkeypatch.setattr(live, "LIVE_SECONDS", 1e-6)
    calls = engine.loop.calls
    slider(moved, "steps").press("Shift+ArrowLeft")
    expect(moved.locator("#run")).to_be_visible()
    expect(moved.locator("#run")).to_contain_text("Run, about")
    assert moved.evaluate(STALE) == 8
    assert engine.loop.calls == calls
    screenshot(moved, "live-costly")
    slider(moved, "steps").press("Shift+ArrowLeft")  # to what is stored, which costs nothing
    settled(moved, 5)
    assert engine.loop.calls == calls
    slider(moved, "steps").press("Shift+ArrowRight")
    expect(moved.locator("#run")).to_contain_text("Run, about")
    run(moved)
    settled(moved, 6)


def test_run_takes_the_place_of_a_live_run_and_is_not_ended_by_it(moved: Page, engine: Engine, brake: Brake) -> None:
    brake.seconds = 0.2
    try:
        slider(moved, "steps").press("ArrowLeft")
        wait_for(lambda: engine.loop.runs == 1)  # it makes its first pictures
        moved.keyboard.press("Control+Enter")
        expect(moved.locator("#status")).to_contain_text("Done", timeout=60_000)
    finally:
        brake.seconds = 0
    moved.wait_for_selector("#stage .arms[aria-busy=false]")
    assert not str(moved.get_attribute("#stage .arms", "data-drawn")).startswith(("live", "stored"))
    settled(moved, 7)


def test_where_the_host_has_turned_it_off_settings_wait_for_run(browser: Browser, tiny_root: Path) -> None:
    engine = Engine([tiny_root])
    with served(engine, Options(host="127.0.0.1", live=False)) as url, browser.new_context() as context:
        page = context.new_page()
        open_page(page, url, live=True)
        expect(page.locator("#live button")).to_have_count(0)
        expect(page.locator("#run")).to_be_visible()
        fill(page, "steps", 3)
        page.wait_for_timeout(300)
        assert engine.loop.calls == 0
        run(page)
        assert engine.loop.evaluations == 3 * 2 * 4


def test_there_and_while_live_pauses_what_is_stored_still_answers(
    browser: Browser, engine: Engine, moved: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PageRuns, "spent", lambda *_: "the share of this visitor is spent")
    with served(engine, Options(host="127.0.0.1", live=False)) as url, browser.new_context() as context:
        page = context.new_page()
        open_page(page, url, live=True)
        for each in (page, moved):
            wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
            calls, before = engine.loop.calls, pixels(each, 0)
            fill(each, "steps", 20)
            settled(each, 20)
            assert pixels(each, 0) != before
            expect(each.locator("#ladder .top.now")).to_have_text("20")
            slider(each, "eta").press("End")
            expect(each.locator(CAPTIONS).first).to_contain_text("η 1, 20 steps")
            each.wait_for_function(f"{STALE} === 0")
            assert engine.loop.calls == calls
            each.get_by_role("button", name="Recipe: copy, restore, files").click()
            link = each.locator("#copied textarea")
            expect(link).to_have_value(
                re.compile(r"\?v=1&model=avatars-32&precision=fp32&seed=7&pictures=4&steps=20&eta=1&arm=method:ddpm,eta:0&")
            )
    expect(moved.locator("#status p")).to_contain_text("Live pauses, stored pictures go on")


def test_an_example_runs_once_and_a_run_of_another_tab_goes_on(moved: Page, engine: Engine, brake: Brake) -> None:
    moved.get_by_role("tab", name="Steps × η").click()
    brake.seconds = 0.2
    try:
        moved.fill("#row-values textarea, #row-values input", "0")
        moved.fill("#column-values textarea, #column-values input", "60")
        moved.click("#run-matrix")
        expect(moved.locator("#status-matrix")).to_contain_text("Step")
        moved.get_by_role("tab", name="Compare").click()
        moved.click("text=What does η do?")
        expect(moved.locator(CAPTIONS).first).to_contain_text("η 0.5, 10 steps")
        settled(moved, 10)
        assert engine.loop.runs <= 1
        moved.get_by_role("tab", name="Steps × η").click()
        expect(moved.locator("#status-matrix")).to_contain_text("Done", timeout=60_000)
    finally:
        brake.seconds = 0
