"""The page on a phone: pictures first, a sheet for the rarer settings, and results in sight."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.frame import TABS, box, open_tab
from tests.browser.page import open_page, screenshot


@pytest.fixture
def phone(browser: Browser, url: str) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True) as context:
        page = context.new_page()
        open_page(page, url, live=True)
        yield page


def test_the_picture_comes_first_and_nothing_is_wider_than_the_screen(phone: Page) -> None:
    order = ["#header", "#headlines", "#stage", "#side", "#examples", "#ladder", "#replay", "#history"]
    tops = [box(phone, where)["y"] for where in order]
    assert tops == sorted(tops)
    left, right = (phone.locator("#stage .arm").nth(arm).bounding_box() for arm in (0, 1))
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert right["x"] > left["x"] + left["width"]
    chips = [chip.bounding_box() for chip in phone.locator("#examples button").all()]
    assert len({chip["y"] for chip in chips if chip}) == 1
    assert len({cell.bounding_box()["y"] for cell in phone.locator("#ladder .cell").all()[:6]}) == 1  # type: ignore[index]
    expect(phone.locator("#foot")).to_be_hidden()  # nothing waits for Run
    for where in ("#share-link", "#header .more", "#stage .flip", "#seed .dice", "#more > button"):
        assert min(box(phone, where)[side] for side in ("width", "height")) >= 36, where
    for tab in TABS:
        open_tab(phone, tab)
        assert phone.evaluate("document.documentElement.scrollWidth") == 390, tab


def test_rarer_settings_come_up_as_a_sheet_and_a_run_brings_its_result_into_sight(phone: Page) -> None:
    expect(phone.locator("#model")).to_be_hidden()
    phone.click("#more > button")
    expect(phone.get_by_role("dialog", name="More settings")).to_be_visible()
    for where in ("#model", "#pictures", "#precision", "#live button", "#seed input"):
        expect(phone.locator(where).first).to_be_visible()
    place = box(phone, "#side")
    assert abs(place["y"] + place["height"] - 844) <= 1
    screenshot(phone, "phone-sheet")
    phone.keyboard.press("Escape")
    expect(phone.locator("#model")).to_be_hidden()
    expect(phone.locator("#more > button")).to_be_focused()
    phone.click("#more > button")
    phone.locator("#pictures").get_by_role("radio", name="1", exact=True).check()
    phone.click("#live button")
    phone.evaluate("scrollTo(0, 1200)")
    phone.click("#run")
    expect(phone.locator("#model")).to_be_hidden()
    expect(phone.locator("#stage .arms")).to_have_attribute("aria-busy", "false")
    expect(phone.locator("#stage")).to_be_in_viewport(ratio=0.9)


def test_gif_and_the_rest_of_what_shares_are_behind_a_button(phone: Page) -> None:
    expect(phone.locator("#share-gif")).to_be_hidden()
    phone.click("#header .more")
    for name in ("gif", "python", "drop"):
        expect(phone.locator(f"#share-{name}")).to_be_visible()
    phone.click("#headlines h1", position={"x": 20, "y": 10})
    expect(phone.locator("#share-gif")).to_be_hidden()
