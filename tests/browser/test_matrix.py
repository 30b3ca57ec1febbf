"""The Steps x eta tab, driven as a visitor would."""

import re

import pytest
from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.runs.kinds import from_json
from ddim_app.ui.matrix import quality_fold
from tests.browser.matrices import CELLS, fill_area, run_matrix, set_view
from tests.browser.page import press_both, screenshot
from tests.browser.visitor import cost, fill, run, status, until_drawn
from tests.ui.quality_tables import table
from tests.wire import calls_after, wait_for


def open_matrix(page: Page, down: str, across: str) -> None:
    """Opens the tab and writes down the etas that run down, and the steps that run across."""
    page.get_by_role("tab", name="Steps × η").click()
    for name, text in (("row-values", down), ("column-values", across)):
        page.fill(f"#{name} textarea, #{name} input", text)
    page.locator("#row-values textarea, #row-values input").press("Tab")
    expect(page.locator("#run-matrix")).to_be_visible()


def test_the_tab_opens_on_the_stored_matrix(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    page.get_by_role("tab", name="Steps × η").click()
    expect(page.locator("#matrix table")).to_have_attribute("data-drawn", "stored")
    assert len(set(page.evaluate(CELLS))) == 20
    assert page.locator("#matrix tbody th b").all_inner_texts() == ["η 0", "η 0.5", "η 1", "σ̂"]
    notes = page.locator("#matrix .cell > span").all_inner_texts()
    assert [notes[2].split()[0], notes[13].split()[0]] == ["4.0", "4.3"]  # as in the ladder
    assert [i for i, note in enumerate(notes) if "within 5" in note] == [2, 8, 13]
    expect(page.locator("#matrix .plot path.line")).to_have_count(4)
    page.get_by_role("button", name="η 0, DDIM, 5 steps").press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#matrix .far")).to_have_text("35.3 of 255 from its own 1000 steps")
    for button, name in (("#save-sheet", "ddim-explorer-matrix.png"), ("#save-numbers", "ddim-explorer-matrix.csv")):
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename == name
    assert download.value.path().read_text().splitlines()[1].startswith("0.0,5,5,13.9")
    assert engine.loop.calls == calls


def test_a_matrix_fills_and_a_cell_takes_its_settings_to_compare(page: Page) -> None:
    open_matrix(page, "0, 1, sigma-hat", "3, 6")
    fill(page, "seed", 21)
    page.locator("#pictures-matrix").get_by_role("radio", name="4", exact=True).check()
    cost(page, "108 evaluations", "in 9 UNet calls", "#cost-matrix")
    assert not page.locator("#run").is_visible()
    cells = run_matrix(page)
    assert len(set(cells)) == 6
    assert page.locator("#matrix tbody th b").all_inner_texts() == ["η 0", "η 1", "σ̂"]
    assert page.locator("#matrix thead th b").all_inner_texts() == ["3 steps", "6 steps"]
    notes = page.locator("#matrix .cell > span").all_inner_texts()
    assert notes[1::2] == ["reference"] * 3  # each sampler's own cell with the most steps
    assert all(float(note.split()[0]) > 0 for note in notes[::2])
    expect(page.locator("#matrix .hint")).to_contain_text("its own sampler's cell with the most steps (RMSE of 255)")
    assert "3 and 6 NFE per picture" in status(page)
    expect(page.locator("#matrix-recipe")).to_contain_text("eta 0.0, 1.0, sigma-hat x steps 3, 6 · seeds 21 to 24")
    screenshot(page, "matrix")
    page.get_by_role("button", name="η 1, DDPM, 6 steps").click()
    page.click("#matrix .open")
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#steps input")).to_have_value("6")
    expect(page.locator("#eta input")).to_have_value("1")
    page.get_by_role("tab", name="Steps × η").click()
    assert run_matrix(page) == cells


def test_of_two_cells_that_are_opened_in_quick_succession_the_last_one_counts(page: Page) -> None:
    def look(cell: str) -> None:
        page.get_by_role("tab", name="Steps × η").click()
        page.get_by_role("button", name=cell).click()
        page.click("#matrix .open")

    press_both(page, "matrix", lambda: look("η 0, DDIM, 5 steps"), lambda: look("η 1, DDPM, 50 steps"))
    expect(page.locator("#steps input")).to_have_value("50")
    expect(page.locator("#eta input")).to_have_value("1")


def test_a_cell_is_the_picture_that_compare_draws_with_its_settings(page: Page) -> None:
    page.locator("#pictures").get_by_role("radio", name="1", exact=True).check()
    open_matrix(page, "0.5, 0", "4")
    cell = run_matrix(page)[0]
    page.get_by_role("button", name="η 0.5, between, 4 steps").click()
    page.click("#matrix .open")
    expect(page.locator("#eta input")).to_have_value("0.5")
    run(page)
    shown = page.evaluate(CELLS.replace("#matrix canvas", "#stage .arm:first-child canvas"))
    assert shown == [cell]


def test_a_wrong_axis_is_said_on_its_field_and_nothing_is_computed(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_matrix(page, "0, x", "5")
    expect(page.locator("#row-values .wrong")).to_contain_text("Values down cannot be read at character 4")
    page.click("#run-matrix")
    expect(page.locator("#row-values")).to_contain_text("cannot be read at character 4: must be")
    assert engine.loop.calls == calls


@pytest.mark.usefixtures("slow")
def test_stop_keeps_the_cells_that_are_there(page: Page, engine: Engine) -> None:
    open_matrix(page, "0, 1", "500, 1000")
    calls = engine.loop.calls
    page.keyboard.press("Control+Enter")
    wait_for(lambda: engine.loop.calls >= calls + 3)
    expect(page.locator("#matrix .cell > span").first).to_contain_text("of 500")
    page.click("#stop-matrix")
    expect(page.locator("#status-matrix")).to_contain_text("Stopped at step")
    assert calls_after(engine) <= 1
    assert len(set(page.evaluate(CELLS))) >= 2


def test_a_view_sets_its_axes_and_runs_in_one_press_and_stays_marked(page: Page, engine: Engine) -> None:
    page.get_by_role("tab", name="Steps × η").click()
    expect(page.get_by_role("button", name="More steps, same noise")).to_have_class(re.compile(r"\bon\b"))
    fill(page, "seed", 11)
    chip = page.get_by_role("button", name="Equal evaluations")
    until_drawn(page, "#matrix table", chip.click)
    assert page.locator("#matrix tbody th b").all_inner_texts() == ["5 steps", "10 steps", "20 steps"]
    expect(page.locator("#matrix-recipe")).to_contain_text("seed 11")  # only what the view names
    expect(chip).to_have_attribute("aria-pressed", "true")
    fill_area(page, "row-values", "5, 10")
    expect(chip).to_have_attribute("aria-pressed", "false")
    fill_area(page, "row-values", "5, 10, 20")
    expect(chip).to_have_attribute("aria-pressed", "true")
    calls = engine.loop.calls
    until_drawn(page, "#matrix table", lambda: page.click("#swap-axes"))
    assert engine.loop.calls > calls
    assert page.locator("#matrix thead th b").all_inner_texts() == ["5 steps", "10 steps", "20 steps"]


def test_several_noises_have_a_map_of_their_spread(page: Page) -> None:
    """DDIM paper, section 3: only eta > 0 draws on the noise."""
    set_view(page, "Several noises", "0, 1", "3:5:1", steps_matrix=4)
    expect(page.locator("#cost-matrix")).to_contain_text("24 evaluations")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    assert page.locator("#matrix thead th b").all_inner_texts() == ["noise 3", "noise 4", "noise 5", "spread"]
    still, moved = page.locator("#matrix figure > span").all_inner_texts()
    assert still == "spread 0.0000"
    assert float(moved.split()[1]) > 0.02
    expect(page.locator("#matrix .hint")).to_contain_text("DDIM(0) adds no noise")
    cells: list[str] = page.evaluate(CELLS)
    assert len(set(cells[:3])) == 1
    assert len(set(cells[4:7])) == 3
    screenshot(page, "matrix-noises")


def test_branches_share_what_was_frozen(page: Page) -> None:
    """DDPM paper, Fig. 7: the later x_t is frozen, the less is left to chance."""
    set_view(page, "Frozen halfway")
    expect(page.locator("#steps-matrix input")).to_have_value("16")
    expect(page.locator("#eta input")).to_have_value("1")
    fill_area(page, "row-values", "2, 14")
    fill_area(page, "column-values", "0:3:1")
    # The trunk of 16 steps, and four branches of 14 and of 2.
    cost(page, "80 evaluations", "in 16 UNet calls", "#cost-matrix")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    early, late = (float(note.split()[1]) for note in page.locator("#matrix figure > span").all_inner_texts())
    assert early > 2 * late > 0
    assert page.locator("#matrix tbody th b").all_inner_texts() == ["freeze after 2", "freeze after 14"]
    screenshot(page, "matrix-branches")


def test_the_distance_to_many_steps_is_plotted(page: Page) -> None:
    set_view(page, "More steps, same noise", "0, 0.5, 1", "2, 4, 8")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    lines = page.locator("#matrix .plot path.line")
    expect(lines).to_have_count(3)
    assert all((lines.nth(i).get_attribute("d") or "").count("L") == 2 for i in range(3))
    with page.expect_download() as download:
        page.click("#save-sheet")
    sheet = download.value.path().read_bytes()
    recipe = from_json(text_inside(sheet))
    assert [arm.steps for arm in recipe.arms] == [2, 4, 8] * 3
    assert recipe.weights
    screenshot(page, "matrix-distance")


def test_equal_seconds_become_steps(page: Page) -> None:
    set_view(page, "Equal seconds", "0.2", "0, 1")
    expect(page.locator("#cost-matrix")).to_contain_text("evaluations")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    assert page.locator("#matrix tbody th b").inner_text() == "0.2 s"
    assert page.locator("#matrix tbody th small").inner_text().endswith("steps")


def test_how_good_shows_the_models_table_and_for_another_model_the_command(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"avatars-32": table()}
    monkeypatch.setattr(quality_fold, "table_of", lambda engine, name: kept.get(name))
    page.get_by_role("tab", name="Steps × η").click()
    expect(page.locator("#quality-table")).not_to_be_visible()
    page.get_by_role("button", name="How good?").click()
    expect(page.locator("#quality-table tbody tr")).to_have_count(5)
    assert page.locator("#quality-table tbody td").nth(1).inner_text() == "0.7000 ± 0.0100"
    expect(page.locator("#quality-curve path.line")).to_have_count(5)
    expect(page.locator("#quality-why")).to_contain_text("500 pictures or more")
    screenshot(page, "matrix-quality")
    page.locator("#model input").fill("avatars-64")
    page.locator("#model input").press("Enter")
    expect(page.locator("#quality-command")).to_contain_text("quality avatars-64 --reference")
    expect(page.locator("#quality-said")).to_contain_text("There is no table of avatars-64")
    expect(page.locator("#quality-curve path.line")).to_have_count(0)
    expect(page.locator("#quality-table tbody tr")).to_have_count(0)
