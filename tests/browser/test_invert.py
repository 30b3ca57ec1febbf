"""The Invert tab, driven as a visitor would."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.runs import latent_files
from ddim_app.ui import run_tab
from tests.browser.inverting import PIXELS, bring, drawn, first, open_invert, picture, run_inversion, take_steps, until_other
from tests.browser.page import open_page, screenshot, until_quiet
from tests.browser.visitor import fill, status
from tests.wire import calls_after, wait_for

HEARD = """() => { const first = document.querySelector('#invert .first'); window.heard = [];
  new MutationObserver(() => heard.push(first.textContent)).observe(first, {childList: true}); }"""
"""Keeps all that the verdict has said from now on, since a quick run says it for a moment."""


@pytest.fixture(autouse=True)
def _moved_settings_wait_for_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a setting that was moved is answered at once hangs on how fast the machine is just now."""
    monkeypatch.setattr(run_tab, "UNASKED_SECONDS", -1)


def choose(page: Page, name: str, label: str) -> None:
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=label, exact=True).click()


def test_it_opens_on_a_round_trip_that_can_be_played_and_asks_the_server_for_nothing(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_invert(page)
    expect(page.locator("#invert .first")).to_have_text("Comes back exactly: no pixel differs.")
    original = page.evaluate(PIXELS, "original")
    assert len(original) == 3 * 32 * 32
    assert page.evaluate(PIXELS, "back") == original
    expect(page.locator("#ways .row")).to_have_count(8)
    page.click("#invert .play")
    page.wait_for_function("document.querySelector('#invert .note').textContent.startsWith('up')")
    expect(page.locator("#invert .note")).to_have_text("down, step 50 of 50 · t 0")
    page.locator("#invert .scrub").focus()
    page.keyboard.press("Home")
    expect(page.locator("#invert .note")).to_contain_text("up, step 5 of 50")
    assert not any(page.evaluate(PIXELS, "back"))
    page.keyboard.press("End")
    assert page.evaluate(PIXELS, "back") == original
    until_quiet(page)
    assert engine.loop.calls == calls


def test_a_picture_starts_at_once_and_what_is_wrong_with_too_few_steps_is_mended_by_a_button(page: Page) -> None:
    open_invert(page, 5)
    before = drawn(page)
    page.evaluate(HEARD)
    bring(page, picture())
    page.wait_for_function("heard.some(words => words.startsWith('On its way'))")
    expect(page.locator('#invert-pictures [data-name="upload"]')).to_have_attribute("aria-pressed", "true")
    until_other(page, before)
    assert first(page).startswith("5 steps are too few for this method: ")
    assert first(page).endswith(" dB. Use 50.")
    expect(page.locator('#invert figure[data-slot="back"]')).to_have_class("bad")
    # O-BELM was tried meanwhile: exact, but at so few steps its latent is no noise.
    exact = "O-BELM, which keeps two latents, is exact at 5 steps"
    expect(page.locator("#invert .second")).to_contain_text(exact, timeout=180_000)  # it runs in the background, after all others
    expect(page.locator("#ways .row", has_text="no pixel differs")).to_have_count(3)
    screenshot(page, "invert-few")
    before = drawn(page)
    page.get_by_role("button", name="Use 50 steps").click()
    until_other(page, before)
    assert page.input_value("#steps-invert input") == "50"
    assert first(page).startswith("Comes back")


def test_a_setting_that_is_let_go_of_is_answered_where_that_does_not_take_long(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    open_invert(page)
    before = drawn(page)
    monkeypatch.setattr(run_tab, "UNASKED_SECONDS", 10_000)
    take_steps(page, 3)
    until_other(page, before)
    assert first(page).startswith("3 steps are too few")


def test_a_row_of_the_ways_is_taken_and_the_noise_saved_and_loaded_again(page: Page, tmp_path: Path) -> None:
    open_invert(page, 4)
    before = drawn(page)
    page.locator('#ways [data-method="o-belm"]').click()
    until_other(page, before)
    expect(page.locator("#invert-method input")).to_have_value("O-BELM, exact pair")
    original, back = page.evaluate(PIXELS, "original"), page.evaluate(PIXELS, "back")
    assert original == back
    assert "7 NFE per picture" in status(page)
    expect(page.locator("#invert .second")).to_contain_text("Exact, but no noise: its standard deviation is")
    expect(page.locator("#invert-send")).to_be_disabled()
    with page.expect_download() as waiting:
        page.click("#invert-save")
    path = tmp_path / "latent.safetensors"
    waiting.value.save_as(path)
    latent = latent_files.load(path.read_bytes())
    assert (latent.kind, latent.timesteps[0], len(latent.timesteps)) == ("pair", 999, 4)
    page.get_by_role("button", name="Part of the way, own samples, latent files").click()
    before = drawn(page)
    page.locator("#invert-load input[type=file]").set_input_files(path)
    until_other(page, before)
    expect(page.locator("#invert-said")).to_contain_text("Loaded: pair latent on 4 levels, made by avatars-32")
    assert page.evaluate(PIXELS, "back") == back


def test_the_noise_is_drawn_down_another_way(page: Page) -> None:
    open_invert(page)
    back, before = page.evaluate(PIXELS, "back"), drawn(page)
    page.locator("#eta-invert input").fill("1")
    page.locator("#eta-invert input").press("Tab")
    until_other(page, before)
    assert first(page).startswith("Drawn with η = 1: ")
    assert page.evaluate(PIXELS, "back") != back
    # Another picture goes up as it should, and comes down by DDIM.
    take_steps(page, 3)
    before = drawn(page)
    page.locator('#invert-pictures [data-name="coffee"]').click()
    until_other(page, before)
    assert page.input_value("#eta-invert input") == "0"
    assert first(page).startswith("3 steps are too few")


def test_a_latent_goes_to_interpolate(page: Page) -> None:
    fill(page, "eta", 0.5)
    open_invert(page)
    page.click("#invert-send")
    expect(page.locator("#run-interpolate")).to_be_visible()
    expect(page.locator("#eta input")).to_have_value("0")  # at which the picture comes back
    expect(page.locator("#strips .stage canvas").first).to_have_css("opacity", "0.45")
    card = page.locator("#ends .end").first
    expect(card).to_contain_text("Latent A")
    expect(card.locator("small")).to_have_text("of a picture, 50 steps")
    expect(card.locator("img")).to_have_attribute("src", re.compile("^data:image/png"))


def test_what_is_shown_of_other_settings_is_dimmed(page: Page) -> None:
    open_invert(page, 2)
    expect(page.locator("#invert .verdict")).to_have_css("opacity", "0.45")
    run_inversion(page)
    expect(page.locator("#invert .verdict")).to_have_css("opacity", "1")


def test_the_crop_is_moved_and_the_picture_with_it(page: Page) -> None:
    open_invert(page, 2)
    before = drawn(page)
    bring(page, picture(96, 32))
    until_other(page, before)
    middle, before = page.evaluate(PIXELS, "original"), drawn(page)
    page.get_by_role("button", name=re.compile("^Crop")).click()
    crop = page.locator("#invert-crop canvas")
    expect(crop).to_be_visible()
    crop.focus()
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    expect(crop).to_have_attribute("data-place", "1.000 0.500 1.00")
    page.wait_for_timeout(300)
    run_inversion(page)
    right = np.array(page.evaluate(PIXELS, "original")).reshape(32, 32, 3)
    assert middle != right.flatten().tolist()
    assert (right == [40, 90, 160]).all()  # the disc is in the left third


def test_the_models_own_sample_has_a_seed_and_gives_its_noise_back(page: Page) -> None:
    open_invert(page, 20)
    expect(page.locator("#seed")).to_be_hidden()
    before = drawn(page)
    page.locator('#invert-pictures [data-name="own"]').click()
    until_other(page, before)
    expect(page.locator("#seed")).to_be_visible()
    fill(page, "seed", 3)
    run_inversion(page)
    page.get_by_role("button", name="Numbers: MSE").click()
    cosine = page.locator("#invert-table tr", has_text="Cosine to the x_T").locator("td").nth(1)
    same = float(cosine.inner_text())
    page.get_by_role("button", name="Part of the way, own samples, latent files").click()
    before = drawn(page)
    page.click("#invert-clamped")
    until_other(page, before)
    assert same > 0.9
    assert float(cosine.inner_text()) < same


def test_the_error_is_drawn_against_the_steps(page: Page) -> None:
    open_invert(page)
    page.get_by_role("button", name="Error against steps").click()
    page.fill("#invert-steps textarea, #invert-steps input", "3, 5")
    page.click("#invert-draw")
    expect(page.locator("#invert-curve-table tbody tr")).to_have_count(6)
    expect(page.locator("#invert-curve-plot .line")).to_have_count(3)
    expect(page.locator("#invert-curve-plot")).to_contain_text("log10 of the MSE")


def test_what_is_no_picture_gets_a_sentence_and_nothing_else_runs_in_its_place(page: Page, engine: Engine) -> None:
    open_invert(page)
    calls, before = engine.loop.calls, drawn(page)
    bring(page, b"not a picture at all", "x.png")
    said = page.locator("#invert-pictures .said")
    expect(said).to_contain_text("picture cannot be used: it is not a picture in one of the formats")
    expect(said).to_contain_text("The picture before stays")
    expect(page.locator('#invert-pictures [data-name="cat"]')).to_have_attribute("aria-pressed", "true")
    page.click("#run-invert")
    expect(page.locator("body")).to_contain_text("Choose another, or press the one before to go on with it")
    assert drawn(page) == before
    bring(page, b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg", "image/svg+xml")
    expect(said).to_contain_text("cannot be used")
    assert engine.loop.calls == calls
    take_steps(page, 2)
    page.locator('#invert-pictures [data-name="cat"]').click()
    until_other(page, before)
    expect(said).to_be_empty()


def test_a_latent_file_that_is_none_gets_a_sentence(page: Page, engine: Engine) -> None:
    open_invert(page)
    calls = engine.loop.calls
    page.get_by_role("button", name="Part of the way, own samples, latent files").click()
    page.locator("#invert-load input[type=file]").set_input_files(
        {"name": "x.safetensors", "mimeType": "application/octet-stream", "buffer": b"none"}
    )
    expect(page.locator("#invert-said")).to_contain_text("latent must be a .safetensors file of a latent; this is none")
    assert engine.loop.calls == calls


@pytest.mark.usefixtures("slow")
def test_stop_keeps_what_is_there(page: Page, engine: Engine) -> None:
    open_invert(page, 500)
    calls = engine.loop.calls
    page.click("#run-invert")
    wait_for(lambda: engine.loop.calls >= calls + 3)
    expect(page.locator("#invert .first")).to_have_text("On its way up")
    page.click("#stop-invert")
    expect(page.locator("#status-invert")).to_contain_text("Stopped at step")
    assert calls_after(engine) <= 1


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1280, "dark")])
def test_it_fits_a_phone_and_the_dark(blank: Page, url: str, width: int, theme: str) -> None:
    blank.set_viewport_size({"width": width, "height": 844})
    open_page(blank, f"{url}/?__theme={theme}", live=True)
    open_invert(blank)
    expect(blank.locator("#invert .first")).to_be_visible()
    assert blank.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [blank.locator(where).bounding_box() for where in ("#invert-pictures", "#invert", "#ways")]
    tops = [box["y"] for box in boxes if box]
    assert tops == sorted(tops)
    assert tops[1] < 500
    screenshot(blank, f"invert-{width}-{theme}")


@pytest.mark.parametrize("width", [1024, 1280])
def test_the_ways_stay_inside_their_card(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 768})
    open_invert(page)
    expect(page.locator("#ways .row")).to_have_count(8)
    inside = """() => { const card = document.querySelector('#ways').getBoundingClientRect();
      return [...document.querySelectorAll('#ways .row span')].every(cell => cell.getBoundingClientRect().right <= card.right); }"""
    page.wait_for_function(inside)
