"""A full queue, a server that is lost, a connection that is cut: said in the foot, with Try again."""

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from tests.browser.page import open_page, screenshot
from tests.browser.visitor import fill
from tests.wire import Brake, wait_for

CUT = """
const ask = window.fetch;
window.fetch = async (...request) => {
  const answer = await ask(...request);
  if (!String(request[0]?.url ?? request[0]).includes('/queue/data') || window.whole) return answer;
  const reader = answer.body.getReader();
  let chunks = 0;
  const pull = async controller => {
    const {value} = await reader.read();
    if (++chunks > 3) { window.whole = true; controller.error(new TypeError('network error')); } else controller.enqueue(value);
  };
  return new Response(new ReadableStream({pull}), answer);
};
"""


@pytest.fixture
def page(blank: Page, url: str) -> Page:
    """A page whose console may name answers that were refused."""
    open_page(blank, url)
    return blank


def test_a_full_queue_is_said_in_the_foot_and_tried_again(page: Page) -> None:
    again = page.locator("#status .again")
    expect(again).to_be_hidden()
    page.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full."}))
    fill(page, "steps", 2)
    page.click("#run")
    expect(again).to_be_visible()
    expect(page.locator("#status p")).to_have_text("As many runs as this server takes are waiting.")
    screenshot(page, "queue-full")
    page.unroute("**/queue/join*")
    again.click()
    expect(page.locator("#status p")).to_contain_text("Done", timeout=60_000)
    expect(again).to_be_hidden()
    expect(page.locator("#stage .arm figcaption").first).to_contain_text("2 steps")


def test_live_says_it_too_and_goes_on_at_the_next_change(blank: Page, url: str) -> None:
    open_page(blank, url, live=True)
    blank.route("**/queue/join*", lambda route: route.fulfill(status=503, json={"detail": "Queue is full."}))
    fill(blank, "steps", 4)
    expect(blank.locator("#status .again")).to_be_visible()
    blank.unroute("**/queue/join*")
    blank.locator("#status .again").click()
    expect(blank.locator("#stage .arm figcaption").first).to_contain_text("4 steps", timeout=60_000)
    fill(blank, "steps", 3)
    expect(blank.locator("#stage .arm figcaption").first).to_contain_text("3 steps", timeout=60_000)


def test_a_lost_server_and_a_cut_connection_are_said(browser: Browser, blank: Page, url: str, engine: Engine, brake: Brake) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(CUT)
        open_page(page, url)
        brake.seconds = 0.2
        try:
            fill(page, "steps", 60)
            page.click("#run")
            expect(page.locator("#status p")).to_have_text("The connection was cut before the run was through.", timeout=60_000)
            expect(page.locator("#status .again")).to_be_visible()
            expect(page.locator("#stop")).to_be_hidden()
        finally:
            brake.seconds = 0
    wait_for(lambda: engine.loop.runs == 0)
    open_page(blank, url)
    blank.route("**/queue/join*", lambda route: route.abort())
    blank.evaluate("window.said = []; document.addEventListener('failed', event => said.push(event.detail.words))")
    blank.click("#run")
    blank.wait_for_function("said.includes('The server cannot be reached.')")


def test_over_plain_http_words_are_shown_to_copy_and_the_webcam_says_why_not(browser: Browser, url: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(
            "Object.defineProperty(window, 'isSecureContext', {value: false});"
            "Object.defineProperty(navigator, 'clipboard', {value: undefined});"
            "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
        )
        open_page(page, url)
        shown: list[str] = []
        page.on("dialog", lambda dialog: (shown.append(dialog.default_value), dialog.dismiss()))
        page.click("#share-link")
        wait_for(lambda: page.evaluate("1") == 1 and bool(shown))
        assert shown[0].startswith(f"{url}/?v=1&model=avatars-32&")
        page.get_by_role("tab", name="Invert").click()
        page.locator("#invert-pictures .webcam").click()
        expect(page.locator("#invert-pictures .said")).to_contain_text(
            "Browsers give the webcam to https or their own machine alone"
        )
