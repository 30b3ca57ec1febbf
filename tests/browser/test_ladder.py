"""The ladder in a headless browser: there at once, each row measured to itself, and dragged without a server where it is stored."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.runs import codecs
from tests.browser.page import forget, listening, open_page, until_quiet
from tests.browser.visitor import fill, slider
from tests.wire import served, wait_for

NUMBERS = "#ladder .cell span"
FIRST = ["24.2", "14.0", "7.6", "4.0", "1.9", "1.1"]


@pytest.fixture
def moved(blank: Page, url: str, engine: Engine) -> Iterator[Page]:
    """A page with Live on."""
    open_page(blank, url, live=True)
    blank.wait_for_function("document.querySelectorAll('#ladder .cell img[src]').length === 12")
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    yield blank
    forget(blank, url)
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)


def test_the_first_screen_says_from_how_many_steps_each_sampler_stays(page: Page) -> None:
    numbers = page.locator(NUMBERS).all_inner_texts()
    assert [text.split()[0] for text in numbers[:6]] == FIRST
    assert [i for i, text in enumerate(numbers[:6]) if "within 5" in text] == [3]  # DDIM from 20 steps
    assert [i for i, text in enumerate(numbers[6:]) if "within 5" in text] == [4]  # DDPM from 50
    expect(page.locator("#ladder .about")).to_contain_text("its own row at 1000 steps")
    expect(page.locator("#ladder .note")).to_contain_text("stability, not quality. With all 1000 steps DDPM is at least as good.")
    assert page.locator("#ladder .plot path.line").count() == 2
    far = page.locator("#stage .far").all_inner_texts()
    assert far == ["10.9 of 255 from its own 1000 steps", "37.5 of 255 from its own 1000 steps"]  # means over four pictures


def test_a_press_on_a_column_takes_its_steps(page: Page) -> None:
    page.locator("#ladder .cell").nth(3).click()
    expect(page.locator("#steps input")).to_have_value("20")


def test_a_press_on_a_picture_makes_the_ladder_its_own(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    page.locator("#stage .arm canvas").nth(2).click()
    expect(page.locator("#ladder .about")).to_contain_text("Seed 9.")
    numbers = page.locator(NUMBERS).all_inner_texts()
    assert [text.split()[0] for text in numbers[:6]] != FIRST
    page.locator("#stage .arm canvas").nth(0).click()
    expect(page.locator(NUMBERS).first).to_have_text(FIRST[0])
    assert engine.loop.calls == calls


def saved(page: Page, button: str) -> tuple[str, bytes]:
    """The file that a button of the ladder hands over, and its name."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_the_ladder_is_saved_as_a_sheet_and_as_numbers(moved: Page, engine: Engine) -> None:
    """The stored one, that of another picture, and one that was filled."""
    moved.locator("#stage .arm canvas").nth(2).click()
    expect(moved.locator("#ladder .about")).to_contain_text("Seed 9.")
    calls = engine.loop.calls
    name, data = saved(moved, "Numbers as CSV")
    assert (name, len(data.splitlines())) == ("ddim-explorer-ladder-9.csv", 13)
    assert engine.loop.calls == calls
    fill(moved, "seed", 20)
    expect(moved.locator("#ladder .about")).to_contain_text("Seed 22.")
    moved.wait_for_function("[...document.querySelectorAll('#ladder .cell span')].every(note => note.textContent !== '…')")
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    shown = [text.split()[0] for text in moved.locator(NUMBERS).all_inner_texts()]
    name, data = saved(moved, "Numbers as CSV")
    cells = [line.split(",") for line in data.decode().splitlines()[1:]]
    assert name == "ddim-explorer-ladder-22.csv"
    assert [f"{float(cell[2]):.1f}" if cell[1] != "100" else "reference" for cell in cells] == shown
    recipe = codecs.read_file(saved(moved, "Ladder as PNG")[1]).recipe
    assert (recipe.seed, len(recipe.arms), recipe.pictures) == (22, 12, 1)  # type: ignore[attr-defined]


def test_a_ladder_of_the_settings_before_is_not_saved(page: Page) -> None:
    fill(page, "seed", 20)
    page.wait_for_function("document.querySelector('#ladder .ladder').classList.contains('stale')")
    page.get_by_role("button", name="Ladder as PNG").click()
    expect(page.locator("#ladder-saved")).to_have_text("The ladder is of the settings before: let it fill first.")


def test_arrows_walk_through_the_cells(page: Page) -> None:
    page.locator("#ladder .cell").first.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("DDPM, 10 steps, seed 7, 13.5 of 255")
    page.keyboard.press("Enter")
    expect(page.locator("#steps input")).to_have_value("10")


def test_dragging_over_stored_stops_starts_no_run(moved: Page, engine: Engine) -> None:
    until_quiet(moved)
    calls, asked = engine.loop.calls, []
    place = moved.locator("#steps [role=slider]").bounding_box()
    assert place is not None
    y, seen = place["y"] + place["height"] / 2, []
    moved.mouse.move(place["x"] + place["width"] * 0.34, y)
    moved.mouse.down()
    with listening(moved, "request", lambda request: asked.append(f"{request.url} {request.post_data}")):
        for part in (0.16, 0.24, 0.44, 0.5, 0.56, 0.62):
            moved.mouse.move(place["x"] + part * place["width"], y)
            steps = moved.locator("#steps input").input_value()
            expect(moved.locator("#stage figcaption").first).to_contain_text(f"{steps} step")
            seen.append(steps)
            expect(moved.locator("#replay .read")).to_contain_text("stored, fp32")
    assert len(set(seen)) == 6
    assert engine.loop.calls == calls
    assert [address for address in asked if "gradio_api" in address] == []
    moved.mouse.up()
    wait_for(lambda: engine.loop.calls > calls)  # the replay follows when one lets go


def test_dragging_eta_moves_the_stored_row(moved: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    place = moved.locator("#eta [role=slider]").bounding_box()
    assert place is not None
    y = place["y"] + place["height"] / 2
    moved.mouse.move(place["x"], y)
    moved.mouse.down()
    moved.mouse.move(place["x"] + place["width"], y)
    expect(moved.locator("#stage figcaption").first).to_contain_text("η 1, 10 steps")
    moved.wait_for_function(
        "(() => { const t = [...document.querySelectorAll('#ladder .cell span')].map(e => e.firstChild.textContent);"
        " return t.slice(0, 6).join() === t.slice(6).join(); })()"
    )  # eta 1 is DDPM
    assert engine.loop.calls == calls
    moved.mouse.up()


def test_another_seed_fills_its_own_ladder(moved: Page) -> None:
    fill(moved, "steps", 3)
    fill(moved, "seed", 42)
    expect(moved.locator("#ladder .about")).to_contain_text("Seed 42", timeout=120_000)
    expect(moved.locator("#ladder .about")).to_contain_text("its own row at 100 steps")
    expect(moved.locator(NUMBERS).nth(11)).to_have_text("reference", timeout=120_000)
    expect(moved.locator("#stage .far").first).to_contain_text("of 255 from its own 100 steps", timeout=120_000)
    numbers = moved.locator(NUMBERS).all_inner_texts()
    assert not any("within" in numbers[i] for i in (4, 10))  # 50 steps: its reference moves as much
    assert float(numbers[0].split()[0]) > float(numbers[3].split()[0])
    before = moved.locator("#stage .far").first.inner_text()
    fill(moved, "steps", 5)  # the ladder is the same, and what the arms are measured to
    expect(moved.locator("#stage .arm figcaption").first).to_contain_text("5 steps")
    expect(moved.locator("#stage .far").first).not_to_have_text(before)
    expect(moved.locator("#stage .far").first).to_contain_text("of 255 from its own 100 steps")
    moved.locator("#pictures").get_by_role("radio", name="1", exact=True).check()  # a mean over other pictures
    expect(moved.locator("#stage .arm canvas")).to_have_count(2)
    expect(moved.locator("#stage .far").first).to_contain_text("of 255 from its own 100 steps")
    alone = float(moved.locator(NUMBERS).nth(1).inner_text().split()[0])
    assert float(moved.locator("#stage .far").first.inner_text().split()[0]) == pytest.approx(alone, abs=0.11)


def test_without_live_the_ladder_waits_to_be_asked(page: Page, engine: Engine) -> None:
    fill(page, "steps", 2)
    fill(page, "seed", 5)
    page.click("#run")
    expect(page.locator("#ladder .fill")).to_be_visible(timeout=60_000)
    calls = engine.loop.calls
    page.click("#ladder .fill")
    wait_for(lambda: engine.loop.calls > calls)
    expect(page.locator("#ladder .about")).to_contain_text("Seed 5", timeout=120_000)
    slider(page, "steps")


def test_a_ladder_of_other_settings_is_dimmed_until_they_come_back_or_it_is_filled(page: Page) -> None:
    ladder, dimmed = page.locator("#ladder .ladder"), re.compile("stale")
    fill(page, "steps", 20)
    expect(page.locator("#stage .arm .stale")).to_have_count(8)  # of other steps
    expect(ladder).not_to_have_class(dimmed)
    fill(page, "seed", 42)
    expect(ladder).to_have_class(dimmed)
    expect(page.locator("#ladder .cell img").first).to_have_css("opacity", "0.45")
    fill(page, "seed", 7)
    expect(ladder).not_to_have_class(dimmed)
    fill(page, "steps", 10)
    expect(page.locator("#stage .arm .stale")).to_have_count(0)


def test_the_sheet_of_the_stored_set_may_be_kept_for_ever(page: Page, url: str) -> None:
    sheet = page.evaluate("performance.getEntriesByType('resource').map(each => each.name).find(name => name.includes('/stored/'))")
    answer = page.request.get(sheet)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    for name in ("avatars-32.json", "..%2Ffirst_run.json", "none.png"):
        assert page.request.get(f"{url.rstrip('/')}/stored/{name}").status == 404


def test_where_the_first_model_is_another_the_bundled_ladder_goes_with_the_first_change(browser: Browser, tiny_root: Path) -> None:
    engine = Engine([tiny_root])
    with served(engine) as url, browser.new_context() as context:
        page = context.new_page()
        open_page(page, url)
        expect(page.locator("#ladder .about")).to_contain_text("at 1000 steps")
        fill(page, "steps", 3)
        page.click("#run")
        page.click("#ladder .fill")
        expect(page.locator("#ladder .about")).to_contain_text("at 100 steps")
        wait_for(lambda: engine.loop.calls > 3)
