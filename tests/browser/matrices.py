"""What a visitor does on the Steps × η tab."""

from playwright.sync_api import Page, expect

from tests.browser.visitor import fill, until_drawn

CELLS = """() => [...document.querySelectorAll('#matrix canvas')]
  .map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join())"""


def run_matrix(page: Page) -> list[str]:
    """Every cell's pixels of a finished matrix."""
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    cells: list[str] = page.evaluate(CELLS)
    return cells


def set_view(page: Page, words: str, down: str = "", across: str = "", **fields: int) -> None:
    """Presses a ready-made view, which begins a run of it, stops that, and sets other values."""
    page.get_by_role("tab", name="Steps × η").click()
    page.get_by_role("button", name=words).click()
    page.click("#stop-matrix")
    expect(page.locator("#run-matrix")).to_be_visible()
    for name, value in fields.items():
        fill(page, name.replace("_", "-"), value)
    for name, text in (("row-values", down), ("column-values", across)):
        if text:
            fill_area(page, name, text)


def fill_area(page: Page, name: str, text: str) -> None:
    page.fill(f"#{name} textarea, #{name} input", text)
    page.locator(f"#{name} textarea, #{name} input").press("Tab")
