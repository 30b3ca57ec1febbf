"""The Interpolate tab, driven as a visitor would: line, grid, loop and DDPM's way."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.media.images import png_bytes, to_pil, to_pixels
from ddim_app.runs import codecs
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.kinds import from_json
from ddim_app.runs.sampling import Arm, Recipe
from tests.browser.interpolating import frames, interpolate
from tests.browser.page import asked_of_server, screenshot, until_quiet
from tests.browser.visitor import apart, cost, fill, until_drawn
from tests.wire import calls_after, wait_for


def open_tab(page: Page, way: str = "Line", steps: int = 4) -> None:
    page.get_by_role("tab", name="Interpolate").click()
    expect(page.locator("#run-interpolate")).to_be_visible()
    fill(page, "steps-interpolate", steps)
    page.locator("#mode").get_by_text(way, exact=True).click()


def seeds(page: Page, *values: object) -> None:
    for i, value in enumerate(values):
        page.get_by_label(f"Seed of end {'ABCD'[i]}", exact=True).fill(str(value))
        page.keyboard.press("Tab")


def bring(page: Page, letter: str, file: Path) -> None:
    """Takes a file for an end, as the button of its card does."""
    with page.expect_file_chooser() as chooser:
        page.get_by_label(f"A picture or latent file as end {letter}").click()
    chooser.value.set_files(file)


def choose(page: Page, field: str, words: str) -> None:
    page.locator("#path-more:not(:has(.open)) > button").click() if page.locator(f"#{field}").is_hidden() else None
    page.click(f"#{field} input")
    page.get_by_role("option", name=words, exact=True).click()


def test_the_tab_opens_on_a_loop_that_plays_and_asks_the_server_nothing(page: Page, engine: Engine) -> None:
    page.get_by_role("tab", name="Interpolate").click()
    until_quiet(page)
    calls = engine.loop.calls
    with asked_of_server(page) as asked:
        expect(page.locator("#strips .bar")).to_have_count(32)
        for where in ("seed 8", "between seed 9 and seed 10", "between seed 10 and seed 7"):
            page.wait_for_function("where => document.querySelector('#strips .where').textContent === where", arg=where)
        page.click("#strips .play")
        page.focus("#strips .scrub")
        page.keyboard.press("Home")
        expect(page.locator("#strips .read")).to_contain_text("frame 1 of 32")
        big = frames(page, "#strips figure")[0]
        page.keyboard.press("ArrowRight")
        assert frames(page, "#strips figure")[0] != big == frames(page)[0]
        assert asked == []
    assert engine.loop.calls == calls


def test_a_line_goes_from_one_seed_to_another(page: Page, engine: Engine) -> None:
    open_tab(page)
    seeds(page, 7, 12)
    fill(page, "frames", 5)
    choose(page, "method", "DDIM, and DDPM with each noise")
    cost(page, "80 evaluations", "in 8 UNet calls", "#cost-interpolate")
    shown = interpolate(page)
    assert len(shown) == 20
    assert page.locator("#strips tbody th").all_inner_texts() == [
        "DDIM(η = 0)", "DDPM, noise moves along", "DDPM, one noise for all", "DDPM, fresh noise",
    ]  # fmt: skip
    assert page.locator("#strips thead th").all_inner_texts() == ["λ 0", "λ 0.25", "λ 0.5", "λ 0.75", "λ 1"]
    assert len(set(shown[:5])) == 5
    assert shown[5] == shown[10] == shown[15]  # DDPM's first frame is the picture of its seed, whatever the noise does then
    expect(page.locator("#interpolate-recipe")).to_contain_text("line, 5 frames, slerp · 7, 12 · DDIM(η = 0), 4 steps")
    page.focus("#strips .scrub")
    page.keyboard.press("End")
    assert frames(page, "#strips figure")[0] == shown[4]
    expect(page.locator("#strips .where")).to_have_text("seed 12")
    expect(page.locator("#strips .read")).to_have_text("frame 5 of 5 · λ 1")
    page.locator("#strips td button").nth(2).click()
    assert frames(page, "#strips figure")[0] == shown[2]
    expect(page.locator("#strips .bar")).to_have_count(4 * 4)
    page.get_by_role("button", name="Smoothness and norms").click()
    for _ in range(2):  # Gradio's own plots lost lines when they were drawn again
        expect(page.locator("#likeness .line")).to_have_count(4)
        expect(page.locator("#norms .line")).to_have_count(3)
        interpolate(page)
    page.click("#against .draw")
    expect(page.locator("#against .line")).to_contain_text("from seed 7 to seed 12, 4 steps")
    page.wait_for_function("![...document.querySelectorAll('#against .number')].some(node => node.textContent === '…')")
    assert [len(set(frames(page, f"#against .one:nth-child({row})"))) for row in (1, 4)] == [11, 11]
    screenshot(page, "interpolate-line")
    choose(page, "way", "lerp")
    assert interpolate(page)[2] != shown[2]


def test_a_grid_a_loop_and_their_films(page: Page, tmp_path: Path) -> None:
    open_tab(page, "Grid")
    for name in ("grid-rows", "grid-columns"):
        fill(page, name, 3)
    shown = interpolate(page)
    assert len(set(shown)) == 9
    expect(page.locator("#strips tbody tr")).to_have_count(3)
    screenshot(page, "interpolate-grid")
    page.locator("#mode").get_by_text("Loop", exact=True).click()
    fill(page, "frames", 8)
    loop = interpolate(page)
    assert apart(loop[0], shown[0]) <= 4  # seed 7 is the first corner and the first key
    assert len(set(loop)) == 8
    screenshot(page, "interpolate-loop")
    page.wait_for_function("document.querySelector('#strips .read').textContent.startsWith('frame 3 of 8')")  # it plays on
    page.click("#strips .play")
    with page.expect_download() as download:
        page.click("#save-gif")
    assert download.value.suggested_filename == "loop-7-8-9-10.gif"
    download.value.save_as(tmp_path / "loop.gif")
    inside = text_inside((tmp_path / "loop.gif").read_bytes())
    recipe, link = from_json(inside), json.loads(inside)["link"]
    assert link.startswith(page.url.split("?")[0])
    assert codecs.read_text(link).recipe.made({"avatars-32": recipe.weights}) == recipe
    assert isinstance(recipe, PathRecipe)
    assert (recipe.mode, recipe.frames, [end.seed for end in recipe.ends]) == ("loop", 8, [7, 8, 9, 10])


def test_a_film_of_other_ends_is_dimmed_and_not_saved(page: Page) -> None:
    open_tab(page, "Loop")
    frames_ = interpolate(page)
    expect(page.locator("#strips .stage canvas").first).to_have_css("opacity", "1")
    seeds(page, 6)
    expect(page.locator("#strips .stage canvas").first).to_have_css("opacity", "0.45")
    page.click("#save-gif")
    expect(page.locator("#strips-saved")).to_contain_text("is of the settings before: press Interpolate first")
    assert interpolate(page) != frames_
    expect(page.locator("#strips .stage canvas").first).to_have_css("opacity", "1")


def test_ddpms_way_mixes_noised_pictures(page: Page) -> None:
    open_tab(page, "DDPM's way", steps=3)
    fill(page, "frames", 5)
    page.get_by_label("Table of nine t (Fig. 9)").check()
    shown = interpolate(page)
    assert len(shown) == 9 * 5
    rows = page.locator("#strips tbody th").all_inner_texts()
    assert (rows[0], rows[-1]) == ("t = 1000, 3 steps", "t = 0, mix of the pixels")
    sources = frames(page, "#strips td.source")
    assert sources[-2:] == [shown[-5], shown[-1]]  # level 0 at lambda 0 and 1 is the picture itself
    notes = page.locator("#strips td button small").all_inner_texts()
    assert notes[-5:] == ["0.0", "", "", "", "0.0"]
    assert float(notes[5 * 7]) < float(notes[0])
    screenshot(page, "interpolate-ddpm")


def test_a_picture_and_a_latent_file_are_ends(page: Page, engine: Engine, tmp_path: Path) -> None:
    own = engine.final(Recipe(arms=(Arm(steps=4),), seed=7))[0]
    recipe = Recipe(arms=(Arm(steps=4),), seed=7)
    (tmp_path / "seven.png").write_bytes(png_bytes(to_pil(to_pixels(own)[0]), [("ddim_recipe", recipe.to_json())]))
    open_tab(page)
    fill(page, "frames", 3)
    shown = interpolate(page)
    seeds(page, 1, 8)
    assert interpolate(page)[0] != shown[0]
    bring(page, "A", tmp_path / "seven.png")
    expect(page.locator("#cost-interpolate")).to_contain_text("Ends 7, 8")  # the seed that the file names
    assert interpolate(page) == shown
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    bring(page, "B", tmp_path / "broken.safetensors")
    expect(page.locator("#ends .said")).to_contain_text("must be a .safetensors file of a latent; this is none")
    expect(page.locator("#ends .end")).to_have_count(2)
    (tmp_path / "plain.png").write_bytes(png_bytes(to_pil(to_pixels(own)[0])))
    bring(page, "B", tmp_path / "plain.png")
    expect(page.locator("#ends .end").nth(1)).to_contain_text("Picture B")
    expect(page.locator("#cost-interpolate")).to_contain_text("Ends 7, picture B")


def test_ends_are_added_moved_and_taken_away(page: Page) -> None:
    open_tab(page, "Loop")
    named = "[...document.querySelectorAll('#ends .end input')].map(field => field.value).join()"
    assert page.evaluate(named) == "7,8,9,10"
    page.get_by_role("button", name="+ Add an end").click()
    page.get_by_label("More of end E").click()
    page.get_by_role("button", name="Move left").locator("visible=true").click()
    page.get_by_label("More of end A").click()
    page.get_by_role("button", name="Remove").locator("visible=true").click()
    assert page.evaluate(named) == "8,9,11,10"
    expect(page.locator("#cost-interpolate")).to_contain_text("Ends 8, 9, 11, 10")
    page.get_by_label("Roll the seed of end A").click()
    assert page.evaluate(named).endswith(",9,11,10")
    page.locator("#mode").get_by_text("Line", exact=True).click()
    expect(page.locator("#ends .end")).to_have_count(2)
    page.locator("#mode").get_by_text("··· More", exact=True).click()
    page.locator("#mode").get_by_text("Truncation", exact=True).click()
    expect(page.locator("#ends .end")).to_have_count(1)
    expect(page.locator("#grid-rows")).to_be_hidden()
    page.locator("#mode").get_by_text("Grid", exact=True).click()
    expect(page.locator("#ends .end")).to_have_count(4)
    expect(page.locator("#grid-rows")).to_be_visible()
    expect(page.locator("#frames")).to_be_hidden()


def test_wrong_values_are_said_on_their_fields(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_tab(page)
    for frames_, sentence in (("1", "must be a whole number from 2 to 121; got 1"), ("1000", "got 1000")):
        fill(page, "frames", frames_)
        expect(page.locator("#frames .wrong")).to_contain_text(sentence)
        page.click("#run-interpolate")
        expect(page.locator("#frames")).to_contain_text(sentence)
    fill(page, "frames", 3)
    seeds(page, "x")
    page.click("#run-interpolate")
    expect(page.locator("#ends .wrong")).to_contain_text("seeds must be a whole number from 0 to 4294967295; got 'x'")
    assert engine.loop.calls == calls


@pytest.mark.usefixtures("slow")
def test_stop_keeps_the_frames_that_are_there(page: Page, engine: Engine) -> None:
    open_tab(page, steps=1000)
    calls = engine.loop.calls
    page.keyboard.press("Control+Enter")
    wait_for(lambda: engine.loop.calls >= calls + 3)
    expect(page.locator("#strips small").first).to_contain_text("of 1000")
    page.click("#stop-interpolate")
    expect(page.locator("#status-interpolate")).to_contain_text("Stopped at step")
    assert calls_after(engine) <= 1
    assert len(set(frames(page))) >= 2


def test_live_a_changed_end_fills_the_frames_from_coarse_to_fine(page: Page, engine: Engine) -> None:
    open_tab(page, "Loop", steps=2)
    fill(page, "frames", 12)
    calls = engine.loop.calls
    seeds(page, 7, 3)
    page.wait_for_timeout(300)
    assert engine.loop.calls == calls  # Live is off
    page.click("#live button")
    page.evaluate("""() => {
      window.lengths = [];
      new MutationObserver(() => window.lengths.push(document.querySelectorAll('#strips td button').length))
        .observe(document.querySelector('#strips tbody'), {childList: true});
    }""")
    until_drawn(page, "#strips table", lambda: page.get_by_label("Roll the seed of end C").click())
    page.wait_for_function("document.querySelectorAll('#strips td button').length === 12")
    assert [count for count in page.evaluate("[...new Set(window.lengths)]") if count] == [4, 12]
    expect(page.locator("#interpolate-recipe")).to_contain_text("loop, 12 frames, slerp · 7, 3, ")
