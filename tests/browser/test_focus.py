"""Every tab with every fold open: Tab reaches each control once in the order that one sees, and the console stays empty."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from ddim_app.engine import Engine
from tests.browser.page import listening, open_page, until_quiet
from tests.browser.visitor import fill
from tests.wire import served

TABS = {"Compare": "compare", "Steps × η": "matrix", "Interpolate": "interpolate", "Invert": "invert", "Learn": "learn"}
MOST_STOPS = 400
CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]"
START = "body => { body.tabIndex = -1; body.focus(); body.removeAttribute('tabindex'); window.stops = []; }"
STOP = """() => {
  const here = document.activeElement;
  if (here === document.body || window.stops.includes(here)) return here !== document.body;
  window.stops.push(here);
  return null;
}"""
PLACES = """controls => {
  window.scrollTo(0, 0);
  document.querySelector('#foot').style.position = 'static';  // else it covers what is above it, at the window's edge
  document.querySelectorAll('*').forEach(box => { box.scrollTop = 0; });
  const said = stop => `${stop.tagName} ${stop.getAttribute('aria-label') || stop.innerText || stop.value || stop.id}`;
  const group = stop => stop.type === 'radio' && window.stops.some(other => other.type === 'radio' && other.name === stop.name);
  return {
    stops: window.stops.map(stop => ({said: said(stop), ...stop.getBoundingClientRect().toJSON()})),
    missed: [...document.querySelectorAll(controls)].filter(
      stop => stop.checkVisibility({visibilityProperty: true}) && !stop.disabled && stop.tabIndex >= 0
        && !window.stops.includes(stop) && !group(stop)).map(said),
  };
}"""
NEAR = 24
"""Pixels by which controls of one row may differ."""


@pytest.fixture(scope="module")
def url(tiny_root: Path) -> Iterator[str]:
    with served(Engine([tiny_root], allow_hub=False)) as address:
        yield address


@pytest.fixture
def said() -> list[str]:
    """What the page's console was told."""
    return []


@pytest.fixture
def page(blank: Page, url: str, said: list[str]) -> Iterator[Page]:
    with (
        listening(blank, "console", lambda message: said.append(f"{message.type}: {message.text}")),
        listening(blank, "pageerror", lambda error: said.append(f"error: {error}")),
    ):
        open_page(blank, url)
        blank.click("#more button")
        yield blank


def unfold(page: Page, tab: str) -> None:
    """Opens a tab and all its folds, and stops what plays there."""
    page.get_by_role("tab", name=tab, exact=True).click()
    folds = page.locator("#main button.label-wrap:visible:not(.open)")
    while folds.count():
        folds.first.click()
    for playing in page.locator(".play.on:visible").all():
        playing.click()
    until_quiet(page)


def walk(page: Page) -> dict[str, Any]:
    """Where Tab stops, one after the other, with the place of each, and the controls at which it does not."""
    page.locator("body").evaluate(START)
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        again = page.evaluate(STOP)
        if again is not None:
            assert not again, "Tab came to a control for the second time"
            result: dict[str, Any] = page.evaluate(PLACES, CONTROLS)
            return result
    pytest.fail("Tab never comes to an end")


@pytest.mark.parametrize("tab", TABS)
def test_tab_reaches_every_control_once_in_the_order_that_one_sees(page: Page, tab: str) -> None:
    unfold(page, tab)
    walked = walk(page)
    if walked["missed"]:  # a chapter fills as Tab comes to it, and on a busy machine when Tab has left it
        until_quiet(page)
        walked = walk(page)
    stops = walked["stops"]
    assert walked["missed"] == []
    assert len(stops) > 40
    back = [
        (before["said"], after["said"])
        for before, after in pairwise(stops)
        if after["top"] < before["top"] - NEAR and after["left"] < before["right"] - NEAR
    ]
    assert back == [], "from a control Tab goes back, to one above that is not in a column further right"


def run(page: Page, tab: str) -> Locator:
    """Starts a small run of a tab; its status line."""
    name = TABS[tab]
    end = "" if name == "compare" else f"-{name}"
    if name == "matrix":
        page.locator("#column-values textarea").fill("2, 3")
        page.locator("#row-values textarea").fill("0, 1")
    elif name == "learn":
        page.locator(".run-chapter:visible").first.click()
        return page.locator("#status-learn p")
    else:
        fill(page, "steps" + end, 2)
    page.click(f"#run{end}")
    return page.locator(f"#status{end} p")


@pytest.mark.parametrize("tab", TABS)
def test_the_console_is_told_nothing(page: Page, said: list[str], tab: str) -> None:
    unfold(page, tab)
    expect(run(page, tab)).to_contain_text("Done", timeout=240_000)
    until_quiet(page)
    for other in TABS:
        page.get_by_role("tab", name=other, exact=True).click()
    until_quiet(page)
    assert said == []
