"""Runs of Invert brought back: by a link in another browser, and by a PNG of theirs."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.ui import run_tab
from tests.browser.inverting import PIXELS, bring, drawn, first, open_invert, picture, run_inversion, until_other
from tests.browser.page import forget, open_page
from tests.browser.recipes import copied, drop, note, paste, zipped


@pytest.fixture(autouse=True)
def _moved_settings_wait_for_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the run of the picture is the only one."""
    monkeypatch.setattr(run_tab, "UNASKED_SECONDS", -1)


@pytest.fixture
def inverted(page: Page) -> Page:
    """The page after an inversion of an own picture by another way than the usual one."""
    open_invert(page, 6)
    page.locator("#invert-method input").click()
    page.get_by_role("option", name="O-BELM, exact pair", exact=True).click()
    before = drawn(page)
    bring(page, picture())
    until_other(page, before)
    page.get_by_role("button", name="Recipe: copy, restore, files").click()
    page.wait_for_function("document.querySelector('#copied textarea')?.value.includes('kind=invert')")
    return page


def pictures(page: Page) -> dict[str, list[int]]:
    return {slot: page.evaluate(PIXELS, slot) for slot in ("original", "latent", "back")}


def restored(page: Page, like: dict[str, list[int]]) -> None:
    expect(page.locator("#steps-invert input")).to_have_value("6")
    expect(page.locator("#invert-method input")).to_have_value("O-BELM, exact pair")
    expect(page.locator('#invert-pictures [data-name="upload"]')).to_have_attribute("aria-pressed", "true")
    assert pictures(page) == like


def test_a_link_opens_on_the_same_round_trip(inverted: Page, browser: Browser) -> None:
    like = pictures(inverted)
    address = inverted.input_value("#copied textarea")
    with browser.new_context() as context:
        other = context.new_page()
        open_page(other, address)
        expect(other.locator("#status-invert p")).to_contain_text("Done", timeout=120_000)  # nobody has pressed Run
        assert other.evaluate("document.body.dataset.tab") == "invert"
        restored(other, like)
        assert first(other) == first(inverted)


def test_the_recipe_and_a_picture_of_a_run_bring_it_back(inverted: Page, url: str) -> None:
    like = pictures(inverted)
    recipe = copied(inverted, "JSON", "{")
    data = next(iter(zipped(inverted)[1].values()))
    for bring_back in (lambda page: paste(page, recipe), lambda page: drop(page, "anything.png", data)):
        forget(inverted, url)
        open_page(inverted, url)
        inverted.get_by_role("button", name="Recipe: copy, restore, files").click()
        bring_back(inverted)
        note(inverted, "Its settings are in the fields of Invert: press Run there.")
        open_invert(inverted)
        expect(inverted.locator("#cost-invert p")).to_contain_text(re.compile("evaluations"))
        run_inversion(inverted)
        restored(inverted, like)
