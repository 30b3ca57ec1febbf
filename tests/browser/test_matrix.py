"""The Steps x eta tab, driven as a visitor would."""

from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.runs.kinds import from_json
from tests.browser.conftest import screenshot
from tests.browser.test_compare import fill, run, status, until_drawn
from tests.wire import calls_after, wait_for

CELLS = """() => [...document.querySelectorAll('#matrix canvas')]
  .map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join())"""


def open_matrix(page: Page, rows: str, columns: str) -> None:
    page.get_by_role("tab", name="Steps × eta").click()
    for name, text in (("row-values", rows), ("column-values", columns)):
        page.fill(f"#{name} textarea, #{name} input", text)
    page.locator("#row-values textarea, #row-values input").press("Tab")
    expect(page.locator("#run-matrix")).to_be_visible()


def run_matrix(page: Page) -> list[str]:
    """Every cell's pixels of a finished matrix."""
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    expect(page.locator("#matrix .hint")).to_contain_text("PSNR to DDIM(0)")
    cells: list[str] = page.evaluate(CELLS)
    return cells


def test_a_matrix_fills_and_a_click_takes_the_settings_of_a_cell(page: Page) -> None:
    fill(page, "seed", 21)
    page.get_by_label("number input for Pictures").fill("2")
    page.get_by_label("number input for Pictures").press("Tab")
    open_matrix(page, "3, 6", "0, 1, sigma-hat")
    expect(page.locator("#matrix-cost")).to_contain_text("12 pictures · 54 evaluations in 6 UNet calls")
    assert not page.locator("#run").is_visible()
    cells = run_matrix(page)
    assert len(set(cells)) == 6
    assert page.locator("#matrix thead th").all_inner_texts() == ["η 0", "η 1 = DDPM", "DDPM, σ̂"]
    assert page.locator("#matrix tbody th").all_inner_texts() == ["3 steps", "6 steps"]
    notes = page.locator("#matrix small").all_inner_texts()
    assert notes[3] == "reference"
    assert all(note.endswith("dB") for i, note in enumerate(notes) if i != 3)
    assert "3 and 6 NFE per picture" in status(page)
    expect(page.locator("#matrix-recipe")).to_contain_text("steps 3, 6 x eta 0.0, 1.0, sigma-hat · seeds 21 to 22")
    screenshot(page, "matrix")
    page.get_by_role("button", name="6 steps, η 1 = DDPM").click()
    expect(page.locator("#steps input")).to_have_value("6")
    expect(page.locator("#eta input")).to_have_value("1")
    assert run_matrix(page) == cells


def test_a_cell_is_the_picture_that_compare_draws_with_its_settings(page: Page) -> None:
    page.get_by_label("number input for Pictures").fill("1")
    page.get_by_label("number input for Pictures").press("Tab")
    open_matrix(page, "4", "0.5, 0")
    cell = run_matrix(page)[0]
    page.get_by_role("button", name="4 steps, η 0.5").click()
    expect(page.locator("#eta input")).to_have_value("0.5")
    page.get_by_role("tab", name="Compare").click()
    run(page)
    shown = page.evaluate(CELLS.replace("#matrix canvas", "#stage figure:first-child canvas"))
    assert shown == [cell]


def test_a_wrong_axis_is_said_on_its_field_and_nothing_is_computed(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_matrix(page, "5, x", "0")
    expect(page.locator("#matrix-cost")).to_contain_text("row values cannot be read at character 4")
    page.click("#run-matrix")
    expect(page.locator("#row-values")).to_contain_text("cannot be read at character 4: steps must be")
    assert engine.loop.calls == calls


def test_stop_keeps_the_cells_that_are_there(page: Page, engine: Engine) -> None:
    open_matrix(page, "500, 1000", "0, 1")
    calls = engine.loop.calls
    page.keyboard.press("Control+Enter")
    wait_for(lambda: engine.loop.calls >= calls + 3)
    expect(page.locator("#matrix small").first).to_contain_text("of 500")
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("Stopped at step")
    assert calls_after(engine) <= 3
    assert len(set(page.evaluate(CELLS))) >= 2


def open_view(page: Page, words: str) -> None:
    page.get_by_role("tab", name="Steps × eta").click()
    page.get_by_role("button", name=words).click()


def test_several_noises_have_a_map_of_their_spread(page: Page) -> None:
    """DDIM paper, section 3: only eta > 0 draws on the noise."""
    fill(page, "steps", 4)
    open_view(page, "Same x_T, several noises")
    fill_area(page, "row-values", "0, 1")
    fill_area(page, "column-values", "3:5:1")
    expect(page.locator("#matrix-cost")).to_contain_text("24 pictures · 96 evaluations")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    assert page.locator("#matrix thead th").all_inner_texts() == ["noise 3", "noise 4", "noise 5", "spread"]
    still, moved = page.locator("#matrix figure small").all_inner_texts()
    assert still == "spread 0.0000"
    assert float(moved.split()[1]) > 0.02
    expect(page.locator("#matrix .hint")).to_contain_text("DDIM(0) adds no noise")
    cells: list[str] = page.evaluate(CELLS)
    assert len(set(cells[:3])) == 1
    assert len(set(cells[4:7])) == 3
    screenshot(page, "matrix-noises")


def test_branches_share_what_was_frozen(page: Page) -> None:
    """DDPM paper, Fig. 7: the later x_t is frozen, the less is left to chance."""
    page.get_by_label("number input for Pictures").fill("1")
    page.get_by_label("number input for Pictures").press("Tab")
    open_view(page, "Branches from a frozen x_t")
    expect(page.locator("#steps input")).to_have_value("16")
    expect(page.locator("#eta input")).to_have_value("1")
    fill_area(page, "row-values", "2, 14")
    fill_area(page, "column-values", "0:3:1")
    # The trunk of 16 steps, and four branches of 14 and of 2.
    expect(page.locator("#matrix-cost")).to_contain_text("80 evaluations in 16 UNet calls")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    early, late = (float(note.split()[1]) for note in page.locator("#matrix figure small").all_inner_texts())
    assert early > 2 * late > 0
    assert page.locator("#matrix tbody th").all_inner_texts() == ["freeze after 2", "freeze after 14"]
    screenshot(page, "matrix-branches")


def test_the_distance_to_many_steps_is_plotted(page: Page) -> None:
    open_view(page, "Same x_T, growing S")
    fill_area(page, "column-values", "2, 4, 8")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    with page.expect_download() as download:
        page.click("#save-sheet")
    sheet = download.value.path().read_bytes()
    recipe = from_json(text_inside(sheet))
    assert [arm.steps for arm in recipe.arms] == [2, 4, 8] * 2
    assert recipe.weights
    page.get_by_role("button", name="Distance to DDIM(0)").click()
    expect(page.locator("#distance canvas, #distance svg").first).to_be_visible()
    screenshot(page, "matrix-distance")


def test_equal_seconds_become_steps(page: Page) -> None:
    open_view(page, "Equal seconds")
    fill_area(page, "row-values", "0.2")
    fill_area(page, "column-values", "0, 1")
    expect(page.locator("#matrix-cost")).to_contain_text("8 pictures", timeout=30_000)
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    header = page.locator("#matrix tbody th").inner_text()
    assert header.startswith("0.2 s: ")
    assert header.endswith("steps")


def fill_area(page: Page, name: str, text: str) -> None:
    page.fill(f"#{name} textarea, #{name} input", text)
    page.locator(f"#{name} textarea, #{name} input").press("Tab")
