"""What a visitor does and sees in Compare, whose fields, stage and foot other tabs share; and what a hostile one types."""

import re
from collections.abc import Callable

import numpy as np
from playwright.sync_api import Locator, Page, expect

from ddim_app.engine import Engine
from tests.wire import wait_for

PAYLOADS = (
    "<img src=x onerror=document.title='owned'>",
    "${document.title='owned'}",
    "{{constructor.constructor('document.title=1')()}}",
)
READ = "() => document.querySelector('#replay .read').textContent"
PIXELS = """arm => [...document.querySelectorAll('#stage figure')[arm].querySelectorAll('canvas')]
  .map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join()).join('|')"""


def pixels(page: Page, arm: int) -> str:
    """Every pixel that an arm's figure shows."""
    return str(page.evaluate(PIXELS, arm))


def alts(page: Page, arm: int) -> list[str]:
    """What is said of each picture of an arm's figure."""
    return [str(canvas.get_attribute("aria-label")) for canvas in page.locator("#stage .arm").nth(arm).locator("canvas").all()]


def boxes(page: Page) -> list[dict[str, float] | None]:
    """Where arms and gutter stand, which nothing moves."""
    return [part.bounding_box() for part in page.locator("#stage .arm, #stage .gutter").all()]


def status(page: Page) -> str:
    return str(
        page.evaluate(
            "document.querySelector(`#foot .only.in-${document.body.dataset.tab ?? 'compare'} [role=status]`).textContent"
        )
    )


def fill(page: Page, field: str, value: object) -> None:
    page.fill(f"#{field} input", str(value))
    page.press(f"#{field} input", "Tab")


def slider(page: Page, name: str) -> Locator:
    return page.locator(f"#{name} [role=slider]")


def cost(page: Page, words: str, more: str, where: str = "#cost") -> None:
    """What the foot says that a run takes, and what it tells those who ask."""
    expect(page.locator(f"{where} p")).to_contain_text(words)
    expect(page.locator(f"{where} p")).to_have_attribute("title", re.compile(re.escape(more)))


def run(page: Page, how: str = "#run") -> None:
    """Starts a run and waits for its end."""
    until_drawn(page, "#stage .arms", lambda: page.click(how))
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')")


def until_drawn(page: Page, where: str, act: Callable[[], None]) -> None:
    """Acts, and waits until another run than the one before is drawn to its end."""
    before = page.get_attribute(where, "data-drawn")
    act()
    page.wait_for_function(
        "([where, before]) => (document.querySelector(where).dataset.drawn ?? null) !== before", arg=[where, before], timeout=60_000
    )


def start_long_run(page: Page, engine: Engine) -> None:
    fill(page, "steps", 1000)
    calls = engine.loop.calls
    page.click("#run")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Step')")
    wait_for(lambda: engine.loop.calls >= calls + 2)


def apart(one: str, other: str) -> int:
    """The largest difference of 255 of two lists of pixels; calls of other sizes may round otherwise."""
    return int(np.abs(np.subtract(*([int(value) for value in re.findall(r"\d+", text)] for text in (one, other)))).max())


def step(page: Page) -> int:
    found = re.match(r"step (\d+) of", page.evaluate(READ))
    assert found
    return int(found[1])


def scrub(page: Page) -> Locator:
    return page.locator("#replay .scrub")
