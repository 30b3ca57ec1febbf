"""The Invert tab, driven as a visitor would."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from ddim_app.engine import Engine
from ddim_app.runs import latent_files
from tests.browser.conftest import screenshot
from tests.browser.test_compare import fill, status
from tests.wire import calls_after, wait_for

PIXELS = """slot => { const canvas = document.querySelector(`#invert figure[data-slot="${slot}"] canvas`);
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 < 3); }"""


def picture(width: int = 48, height: int = 32) -> bytes:
    """A disc on a ground, off the middle."""
    y, x = np.mgrid[:height, :width]
    disc = ((x - width / 3) ** 2 + (y - height / 2) ** 2 < (height / 3) ** 2)[..., None]
    buffer = io.BytesIO()
    Image.fromarray(np.where(disc, [230, 160, 90], [40, 90, 160]).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def open_invert(page: Page, steps: int = 10) -> None:
    fill(page, "steps", steps)
    page.get_by_role("tab", name="Invert").click()
    expect(page.locator("#run-invert")).to_be_visible()


def choose(page: Page, name: str, label: str) -> None:
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=label, exact=True).click()


def bring(page: Page, data: bytes, name: str = "picture.png", mime: str = "image/png") -> None:
    page.locator("#invert-upload input[type=file]").set_input_files({"name": name, "mimeType": mime, "buffer": data})


def run_inversion(page: Page) -> None:
    before = page.evaluate("document.querySelector('#invert .invert').dataset.drawn || ''")
    page.click("#run-invert")
    page.wait_for_function(
        "before => { const d = document.querySelector('#invert .invert').dataset.drawn; return d && d !== before; }", arg=before,
        timeout=60_000,
    )  # fmt: skip


def cell(page: Page, row: str, column: int = 1) -> str:
    return page.locator("#invert tr", has=page.get_by_role("rowheader", name=row)).locator("td").nth(column - 1).inner_text()


def test_a_picture_goes_up_and_comes_back_and_its_latent_is_saved_and_decoded(page: Page, tmp_path: Path) -> None:
    open_invert(page, 10)
    bring(page, picture())
    expect(page.locator("#invert-crop canvas")).to_be_visible()
    choose(page, "invert-method", "O-BELM, exact pair")
    run_inversion(page)
    original, back = (np.array(page.evaluate(PIXELS, slot), dtype=float) for slot in ("original", "back"))
    assert len(original) == 3 * 32 * 32
    assert np.abs(original - back).max() <= 1
    assert float(cell(page, "MSE, as in Table 2")) < 1e-9
    assert cell(page, "MSE, as in Table 2", 2) == "0.00e+00"
    assert cell(page, "NFE, up + down") == "10 + 9"
    assert "19 NFE per picture" in status(page)
    expect(page.locator("#invert .verdict")).not_to_be_empty()
    expect(page.locator("#invert-recipe")).to_contain_text("avatars-32 · picture · O-BELM, exact pair · 10 steps, trailing · fp32")
    screenshot(page, "invert")

    with page.expect_download() as waiting:
        page.click("#invert-save")
    path = tmp_path / "latent.safetensors"
    waiting.value.save_as(path)
    latent = latent_files.load(path.read_bytes())
    assert (latent.kind, latent.timesteps[0], len(latent.timesteps)) == ("pair", 999, 10)
    page.locator("#invert-load input[type=file]").set_input_files(path)
    expect(page.locator("#invert-said")).to_contain_text("Loaded: pair latent on 10 levels, made by avatars-32")
    run_inversion(page)
    assert np.abs(np.array(page.evaluate(PIXELS, "back"), dtype=float) - original).max() <= 1
    expect(page.locator("#invert-recipe")).to_contain_text("pair latent on 10 levels")


def test_the_crop_is_moved_and_the_picture_with_it(page: Page) -> None:
    open_invert(page, 2)
    bring(page, picture(96, 32))
    crop = page.locator("#invert-crop canvas")
    expect(crop).to_be_visible()
    choose(page, "invert-method", "Noise and denoise (SDEdit)")
    run_inversion(page)
    middle = page.evaluate(PIXELS, "original")
    crop.focus()
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    expect(crop).to_have_attribute("data-place", "1.000 0.500 1.00")
    page.wait_for_timeout(300)
    run_inversion(page)
    right = np.array(page.evaluate(PIXELS, "original")).reshape(32, 32, 3)
    assert middle != right.flatten().tolist()
    assert (right == [40, 90, 160]).all()  # the disc is in the left third
    box = crop.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    expect(crop).to_have_attribute("data-place", "0.000 0.500 1.00")


def test_an_own_sample_gives_its_noise_back_and_the_clamped_one_another(page: Page) -> None:
    open_invert(page, 20)
    fill(page, "seed", 3)
    choose(page, "invert-method", "Fixed point")
    page.get_by_label("Self-interpolation test").check()
    run_inversion(page)
    verdict = page.locator("#invert .verdict").inner_text()
    same = float(verdict.rstrip(".").split()[-1])
    expect(page.locator("#invert .between canvas")).to_have_count(3)
    expect(page.locator("#invert-plot")).to_be_visible()
    screenshot(page, "invert-own")
    page.click("#invert-clamped")
    expect(page.locator("#invert-said")).to_contain_text("clamped to [-1, 1]")
    run_inversion(page)
    other = float(page.locator("#invert .verdict").inner_text().rstrip(".").split()[-1])
    assert same > 0.9
    assert other < same


def test_a_latent_goes_to_interpolate_and_a_pair_does_not(page: Page) -> None:
    open_invert(page, 4)
    choose(page, "invert-method", "O-BELM, exact pair")
    run_inversion(page)
    page.click("#invert-send")
    expect(page.locator("#invert-said")).to_contain_text("must be one ordinary x_T: this is a pair latent")
    choose(page, "invert-method", "DDIM reversed, told the target's timestep")
    run_inversion(page)
    page.click("#invert-send")
    expect(page.locator("#run-interpolate")).to_be_visible()
    page.get_by_role("button", name="Pictures or latent files as ends").click()
    expect(page.locator("#end-a")).to_contain_text("latent")
    page.click("#run-interpolate")
    expect(page.locator("#status")).to_contain_text("Done", timeout=60_000)
    expect(page.locator("#interpolate-recipe")).not_to_be_empty()


def test_the_error_is_drawn_against_the_steps(page: Page) -> None:
    open_invert(page, 10)
    page.get_by_label("Error against steps").first.check()
    page.get_by_role("button", name="Error against steps").click()
    page.fill("#invert-steps textarea, #invert-steps input", "5, 10")
    page.locator("#invert-steps textarea, #invert-steps input").press("Tab")
    run_inversion(page)
    expect(page.locator("#invert tbody tr")).to_have_count(6)
    expect(page.locator("#invert-plot")).to_contain_text("log10 of the MSE")
    screenshot(page, "invert-curve")


def test_what_is_no_picture_or_no_latent_gets_a_sentence_and_nothing_is_computed(page: Page, engine: Engine) -> None:
    open_invert(page)
    calls = engine.loop.calls
    bring(page, b"not a picture at all", "x.png")
    expect(page.locator("#invert-said")).to_contain_text("picture cannot be used: it is not a picture in one of the formats")
    bring(page, b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.svg", "image/svg+xml")
    expect(page.locator("#invert-said")).to_contain_text("cannot be used")
    page.locator("#invert-load input[type=file]").set_input_files(
        {"name": "x.safetensors", "mimeType": "application/octet-stream", "buffer": b"none"}
    )
    expect(page.locator("#invert-said")).to_contain_text("latent must be a .safetensors file of a latent; this is none")
    fill(page, "steps", 1)
    choose(page, "invert-method", "O-BELM, exact pair")
    page.click("#run-invert")
    expect(page.locator("#steps")).to_contain_text("must leave O-BELM two transitions or more")
    assert engine.loop.calls == calls


def test_stop_keeps_what_is_there(page: Page, engine: Engine) -> None:
    open_invert(page, 500)
    calls = engine.loop.calls
    page.click("#run-invert")
    wait_for(lambda: engine.loop.calls >= calls + 3)
    expect(page.locator("#invert .note")).to_contain_text("The model makes the picture: step")
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("Stopped at step")
    assert calls_after(engine) <= 3
