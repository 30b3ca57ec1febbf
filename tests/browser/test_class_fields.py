"""The fields of models with classes: there when such a model is chosen, used by a run, and gone with it."""

import json
from pathlib import Path

from playwright.sync_api import Browser, expect

from ddim_app.engine import Engine
from tests import toys
from tests.browser.classes import choose
from tests.browser.page import open_page, screenshot
from tests.browser.visitor import fill, run
from tests.wire import served


def test_a_class_is_chosen_drawn_and_let_go(browser: Browser, tmp_path: Path) -> None:
    for name, count in (("pets", 4), ("tiny", None)):
        toys.save_tiny(tmp_path / name, num_class_embeds=count)
    (tmp_path / "pets" / "classes.json").write_text(json.dumps(["cat", "dog", "owl"]))
    engine = Engine([tmp_path], allow_hub=False, first_model="tiny")
    with served(engine) as address, browser.new_context() as context:
        page = context.new_page()
        open_page(page, address)
        page.locator("#more > button").click()
        label, guidance = page.locator("#class-label"), page.locator("#guidance")
        expect(page.locator("#branch")).to_be_visible()
        expect(label).to_have_count(0)
        expect(guidance).to_have_count(0)
        choose(page, "#model", "pets")
        expect(label).to_be_visible()
        expect(guidance).to_be_visible()
        choose(page, "#class-label", "dog")
        fill(page, "steps", 3)
        before = page.locator("#cost").inner_text()
        page.locator("#guidance input").fill("2.5")
        page.locator("#guidance input").press("Tab")
        expect(page.locator("#cost")).not_to_have_text(before)  # two evaluations a step
        run(page)
        expect(page.locator("#recipe")).to_contain_text("class dog")
        expect(page.locator("#recipe")).to_contain_text("w = 2.5")
        screenshot(page, "classes")
        open_page(page, f"{address}/?v=1&model=pets&class_label=owl&guidance=2&arm=method:ddpm")
        page.locator("#more > button").click()
        expect(page.locator("#class-label input")).to_have_value("owl")
        expect(page.locator("#guidance input")).to_have_value("2")
        choose(page, "#model", "tiny")
        expect(label).to_have_count(0)
        expect(guidance).to_have_count(0)
        run(page)
        expect(page.locator("#recipe")).to_contain_text("tiny")
        expect(page.locator("#recipe")).not_to_contain_text("owl")
