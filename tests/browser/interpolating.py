"""What a visitor does on the Interpolate tab."""

from playwright.sync_api import Page

from tests.browser.visitor import until_drawn

CELLS = """where => [...document.querySelectorAll(where + ' canvas')]
  .map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join())"""


def interpolate(page: Page) -> list[str]:
    """Every frame's pixels of a finished run."""
    until_drawn(page, "#strips table", lambda: page.click("#run-interpolate"))
    page.wait_for_function("document.querySelector('#status-interpolate p').textContent.startsWith('Done')")
    return frames(page)


def frames(page: Page, where: str = "#strips td button") -> list[str]:
    found: list[str] = page.evaluate(CELLS, where)
    return found
