"""Makes README's screenshots, for when the weights or the page have changed: `python -m tests.browser.pictures [NAME ...]`."""

import sys
from io import BytesIO
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ddim_app.engine import Engine
from ddim_app.models.catalogue import ROOT
from tests.browser.conftest import FLAGS, chromium, open_page
from tests.browser.test_compare import fill, run, until_drawn
from tests.browser.test_invert import bring, choose, open_invert, picture, run_inversion
from tests.browser.test_learn import open_panel
from tests.browser.test_matrix import fill_area, open_view, run_matrix
from tests.browser.test_recipe import runs_kept, set_pictures
from tests.wire import served

DOCS = ROOT / "docs"
MARGIN, COLOURS = 14, 256


def keep(page: Page, name: str, *places: str) -> None:
    """Saves docs/NAME.png: of these places what they span together, of none the part that is on the screen."""
    page.wait_for_timeout(800)  # until plots and unfolding parts stand still
    clip: Any = None
    if places:
        boxes = [box for place in places if (box := page.locator(place).first.bounding_box())]
        left, top = min(box["x"] for box in boxes) - MARGIN, min(box["y"] for box in boxes) - MARGIN
        right = max(box["x"] + box["width"] for box in boxes) + MARGIN
        bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
        top += page.evaluate("scrollY")
        bottom += page.evaluate("scrollY")
        clip = {"x": max(0, left), "y": max(0, top), "width": right - max(0, left), "height": bottom - max(0, top)}
    shot = Image.open(BytesIO(page.screenshot(clip=clip, full_page=bool(places)))).convert("RGB")
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(DOCS / f"{name}.png", optimize=True)
    print(f"docs/{name}.png")


def compare(page: Page) -> None:
    for name, value in (("steps", 7), ("eta", 0.05), ("seed", 8)):
        fill(page, name, value)
    run(page)
    keep(page, "compare")


def player(page: Page) -> None:
    page.click("#charts-fold button")
    page.wait_for_selector("#chart-psnr .vega-embed")
    page.locator("#stage .scrub").fill("4")
    keep(page, "player", "#stage", "#charts-fold")


def recipe(page: Page) -> None:
    set_pictures(page, 2)
    for i, steps in enumerate((5, 20), 1):
        fill(page, "steps", steps)
        run(page)
        runs_kept(page, i)
    page.get_by_role("button", name="Recipe: copy, restore, files").click()
    page.get_by_role("button", name="Set as A: ").nth(1).click()
    expect(page.locator("#history .strip li.chosen")).to_have_count(1)
    page.get_by_role("button", name="Set as B: ").nth(0).click()
    expect(page.locator("#history figcaption")).to_have_count(6)
    keep(page, "recipe", "#recipe-bar", "#history")


def matrix(page: Page) -> None:
    set_pictures(page, 1)
    page.get_by_role("tab", name="Steps × eta").click()
    fill_area(page, "row-values", "5, 10, 20, 50")
    fill_area(page, "column-values", "0, 0.5, 1, sigma-hat")
    run_matrix(page)
    keep(page, "matrix", "#row-values", "#matrix")


def distance(page: Page) -> None:
    open_view(page, "Same x_T, growing S")
    fill_area(page, "column-values", "2, 4, 8, 16, 32")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    page.get_by_role("button", name="Distance to DDIM(0)").click()
    expect(page.locator("#distance canvas, #distance svg").first).to_be_visible()
    keep(page, "matrix-distance", "#matrix", "#distance")


def noises(page: Page) -> None:
    fill(page, "steps", 10)
    open_view(page, "Same x_T, several noises")
    fill_area(page, "row-values", "0, 1")
    fill_area(page, "column-values", "3:5:1")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    keep(page, "matrix-noises", "#matrix")


def branches(page: Page) -> None:
    set_pictures(page, 1)
    open_view(page, "Branches from a frozen x_t")
    fill_area(page, "row-values", "2, 14")
    fill_area(page, "column-values", "0:3:1")
    until_drawn(page, "#matrix table", lambda: page.click("#run-matrix"))
    keep(page, "matrix-branches", "#matrix")


def invert(page: Page) -> None:
    open_invert(page, 10)
    bring(page, picture())
    expect(page.locator("#invert-crop canvas")).to_be_visible()
    choose(page, "invert-method", "O-BELM, exact pair")
    run_inversion(page)
    keep(page, "invert", "#invert-task", "#invert")


def rate(page: Page) -> None:
    page.get_by_role("tab", name="Learn").click()
    open_panel(page, "8 Rate")
    page.click("#run-learn")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')", timeout=120_000)
    keep(page, "learn-rate", "#panels")


SCENES = {scene.__name__: scene for scene in (compare, player, recipe, matrix, distance, noises, branches, invert, rate)}


def one(browser: Browser, url: str, scene: Any) -> None:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        open_page(page, url)
        scene(page)


def main() -> None:
    expect.set_options(timeout=60_000)
    with served(Engine(allow_hub=False)) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name in sys.argv[1:] or SCENES:
            one(browser, url, SCENES[name])
        browser.close()


if __name__ == "__main__":
    main()
