"""The Interpolate tab, driven as a visitor would: line, grid, loop and DDPM's way."""

from pathlib import Path

from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.media.images import png_bytes, to_pil, to_pixels
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.kinds import from_json
from ddim_app.runs.sampling import Arm, Recipe
from tests.browser.conftest import screenshot
from tests.browser.test_compare import fill, until_drawn
from tests.wire import calls_after, wait_for

CELLS = """where => [...document.querySelectorAll(where + ' canvas')]
  .map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join())"""


def open_tab(page: Page, way: str = "Line", steps: int = 4) -> None:
    page.get_by_role("tab", name="Interpolate").click()
    expect(page.locator("#run-interpolate")).to_be_visible()
    fill(page, "steps", steps)
    page.locator("#mode").get_by_text(way, exact=True).click()


def choose(page: Page, field: str, words: str) -> None:
    page.click(f"#{field} input")
    page.get_by_role("option", name=words, exact=True).click()


def interpolate(page: Page) -> list[str]:
    """Every frame's pixels of a finished run."""
    until_drawn(page, "#strips table", lambda: page.click("#run-interpolate"))
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')")
    return frames(page)


def frames(page: Page, where: str = "#strips td button") -> list[str]:
    found: list[str] = page.evaluate(CELLS, where)
    return found


def test_a_line_goes_from_one_seed_to_another(page: Page, engine: Engine) -> None:
    open_tab(page)
    page.fill("#ends input, #ends textarea", "7, 12")
    fill(page, "frames", 5)
    choose(page, "method", "DDIM, and DDPM with each noise")
    expect(page.locator("#interpolate-cost")).to_contain_text("80 evaluations in 8 UNet calls")
    shown = interpolate(page)
    assert len(shown) == 20
    assert page.locator("#strips tbody th").all_inner_texts() == [
        "DDIM(η = 0)", "DDPM, noise moves along", "DDPM, one noise for all", "DDPM, fresh noise",
    ]  # fmt: skip
    assert page.locator("#strips thead th").all_inner_texts() == ["λ 0", "λ 0.25", "λ 0.5", "λ 0.75", "λ 1"]
    assert len(set(shown[:5])) == 5
    assert shown[5] == shown[10] == shown[15]  # DDPM's first frame is the picture of its seed, whatever the noise does then
    expect(page.locator("#interpolate-recipe")).to_contain_text("line, 5 frames, slerp · 7, 12 · DDIM(η = 0), 4 steps")
    page.click("#strips .last")
    assert frames(page, "#strips figure")[0] == shown[4]
    expect(page.locator("#strips .read")).to_have_text("λ 1")
    page.locator("#strips td button").nth(2).click()
    assert frames(page, "#strips figure")[0] == shown[2]
    for plot in ("smoothness", "norms"):
        expect(page.locator(f"#{plot} canvas, #{plot} svg.marks").first).to_be_visible()
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
    assert loop[0] == shown[0]  # seed 7 is the first corner and the first key
    assert len(set(loop)) == 8
    screenshot(page, "interpolate-loop")
    page.click("#strips .play")
    page.wait_for_function("document.querySelector('#strips .read').textContent === '3 of 8'")
    page.click("#strips .play")
    choose(page, "strips-kind", "GIF")
    with page.expect_download() as download:
        page.click("#strips-save")
    download.value.save_as(tmp_path / "loop.gif")
    recipe = from_json(text_inside((tmp_path / "loop.gif").read_bytes()))
    assert isinstance(recipe, PathRecipe)
    assert (recipe.mode, recipe.frames, [end.seed for end in recipe.ends]) == ("loop", 8, [7, 8, 9, 10])


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
    page.fill("#ends input, #ends textarea", "1, 8")
    assert interpolate(page)[0] != shown[0]
    page.get_by_text("Pictures or latent files as ends").click()
    page.set_input_files("#end-a input[type=file]", tmp_path / "seven.png")
    expect(page.locator("#interpolate-cost")).to_contain_text("Ends 7, 8")  # the seed that the file names
    assert interpolate(page) == shown
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    page.set_input_files("#end-b input[type=file]", tmp_path / "broken.safetensors")
    expect(page.locator("#interpolate-cost")).to_contain_text("must be a .safetensors file of a latent; this is none")
    page.click("#run-interpolate")
    expect(page.locator("#ends")).to_contain_text("must be a .safetensors file of a latent; this is none")


def test_wrong_values_are_said_on_their_fields(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_tab(page)
    for frames_, sentence in (("1", "frames must be a whole number from 2 to 121; got 1"), ("1000", "got 1000")):
        fill(page, "frames", frames_)
        expect(page.locator("#interpolate-cost")).to_contain_text(sentence)
        page.click("#run-interpolate")
        expect(page.locator("#frames")).to_contain_text(sentence)
    fill(page, "frames", 3)
    page.fill("#ends input, #ends textarea", "x")
    page.click("#run-interpolate")
    expect(page.locator("#ends")).to_contain_text("seeds must be a whole number from 0 to 4294967295; got 'x'")
    assert engine.loop.calls == calls


def test_stop_keeps_the_frames_that_are_there(page: Page, engine: Engine) -> None:
    open_tab(page, steps=1000)
    calls = engine.loop.calls
    page.keyboard.press("Control+Enter")
    wait_for(lambda: engine.loop.calls >= calls + 3)
    expect(page.locator("#strips small").first).to_contain_text("of 1000")
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("Stopped at step")
    assert calls_after(engine) <= 3
    assert len(set(frames(page))) >= 2
