"""Makes the screenshots of docs/, for when the weights or the page have changed: `python -m tests.browser.pictures [NAME ...]`."""

import sys
from io import BytesIO
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ddim_app.engine import Engine
from ddim_app.models.catalogue import ROOT
from tests.browser.inverting import open_invert
from tests.browser.learning import go, open_learn
from tests.browser.matrices import run_matrix, set_view
from tests.browser.page import FLAGS, chromium, open_page
from tests.browser.recipes import runs_kept, set_pictures
from tests.browser.visitor import fill, run
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
    """The first screen, as it is before anything is pressed."""
    page.click("#live button")
    page.wait_for_function("document.querySelector('#stage .far').textContent.includes('of 255')")
    keep(page, "compare", "#header", "#ladder")


def classes(page: Page) -> None:
    """A model with classes: seeds in a row show these in turn."""
    page.locator("#more > button").click()
    page.locator("#model input").fill("digits-32")
    page.locator("#model input").press("Enter")
    expect(page.locator("#class-label")).to_be_visible()
    fill(page, "seed", 0)
    run(page)
    keep(page, "classes", "#stage")


def player(page: Page) -> None:
    page.locator("#replay .scrub").fill("4")
    keep(page, "player", "#stage", "#replay")


def recipe(page: Page) -> None:
    set_pictures(page, 1)
    for i, steps in enumerate((5, 20), 1):
        fill(page, "steps", steps)
        run(page)
        runs_kept(page, i)
    page.get_by_role("button", name="Recipe: copy, restore, files").click()
    page.get_by_role("button", name="Lay two side by side").click()
    page.get_by_role("button", name="Set as A: ").nth(1).click()
    expect(page.locator("#history .strip li.chosen")).to_have_count(1)
    page.get_by_role("button", name="Set as B: ").nth(0).click()
    expect(page.locator("#history figcaption")).to_have_count(6)
    keep(page, "recipe", "#recipe-bar", "#history")


def matrix(page: Page) -> None:
    """The tab as it opens, with a cell chosen."""
    page.get_by_role("tab", name="Steps × η").click()
    page.wait_for_function("document.querySelector('#matrix table').dataset.drawn === 'stored'")
    page.get_by_role("button", name="η 0.5, between, 20 steps").click()
    keep(page, "matrix", "#matrix-views", "#matrix-card")


def noises(page: Page) -> None:
    set_view(page, "Several noises", "0, 1", "3:5:1")
    run_matrix(page)
    keep(page, "matrix-noises", "#matrix")


def branches(page: Page) -> None:
    set_view(page, "Frozen halfway", "2, 14", "0:3:1")
    run_matrix(page)
    keep(page, "matrix-branches", "#matrix")


def interpolate(page: Page) -> None:
    """The tab as it opens, with its film stopped on the way."""
    page.get_by_role("tab", name="Interpolate").click()
    page.locator("#strips .scrub").fill("11")
    keep(page, "interpolate-tab", "#mode", "#against")


def invert(page: Page) -> None:
    """The tab as it opens."""
    open_invert(page)
    page.wait_for_function("document.querySelector('#invert .invert').dataset.drawn === 'stored'")
    keep(page, "invert", "#invert-pictures", "#invert-edit")


def rate(page: Page) -> None:
    open_learn(page)
    go(page, "Rate and distortion", "rate-and-distortion")
    page.click("#run-rate")
    page.wait_for_function("document.querySelector('#status-learn p').textContent.startsWith('Done')", timeout=120_000)
    keep(page, "learn-rate", "#learn-rate-and-distortion")


def world(page: Page) -> None:
    open_learn(page)
    go(page, "Why few steps", "why-few-steps")
    keep(page, "learn-world", "#learn-why-few-steps")


ALL = (compare, classes, player, recipe, matrix, noises, branches, interpolate, invert, world, rate)
SCENES = {scene.__name__: scene for scene in ALL}


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
