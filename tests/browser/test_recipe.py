"""Recipes on the page: files, links, restoring, the strip of past runs, and what strangers may put into them."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.engine.limits import Budget
from ddim_app.runs import codecs
from ddim_app.runs.sampling import Arm, Recipe
from tests.browser.page import forget, open_page, opened, press_both, screenshot, until_quiet
from tests.browser.recipes import copied, drop, note, paste, runs_kept, set_pictures, zipped
from tests.browser.visitor import fill, pixels, run, start_long_run, until_drawn
from tests.wire import wait_for

HOSTILE = [
    "<img src=x onerror=document.title='owned'>",
    "${document.title='owned'}",
    "{{constructor.constructor('document.title=1')()}}",
]


@pytest.fixture
def bar(page: Page) -> Page:
    page.get_by_role("button", name="Recipe: copy, restore, files").click()
    expect(page.locator("#copied textarea")).to_have_value(re.compile(r"\?v=1&"))
    return page


def field(page: Page, name: str, value: str) -> None:
    expect(page.locator(f"#{name} input")).to_have_value(value)


def test_a_downloaded_picture_brings_its_run_back_to_the_last_pixel(bar: Page, url: str) -> None:
    for name, value in (("steps", 4), ("eta", 0.5), ("seed", 33)):
        fill(bar, name, value)
    set_pictures(bar, 4)
    run(bar)
    runs_kept(bar, 1)
    before = [pixels(bar, 0), pixels(bar, 1)]
    name, files = zipped(bar)
    assert name == "ddim-explorer-run-1.zip"
    pictures = [f"{arm}-seed-{seed}.png" for arm in ("01-ddim", "02-ddpm") for seed in range(33, 37)]
    assert list(files) == [*pictures, "recipe.json"]
    recipes = [codecs.read_file(each).recipe for each in files.values()]
    assert recipes == recipes[:1] * 9
    data = files["01-ddim-seed-33.png"]
    assert codecs.read_file(data).recipe.arms == (Arm(steps=4, eta=0.5), Arm(method="ddpm", steps=4))
    forget(bar, url)
    open_page(bar, url)
    field(bar, "seed", "7")
    bar.get_by_role("button", name="Recipe: copy, restore, files").click()
    drop(bar, "anything.png", data)
    note(bar, "Recipe read from the file. Its settings are in the fields of Compare: press Run there.")
    for name, value in (("steps", "4"), ("eta", "0.5"), ("seed", "33")):
        field(bar, name, value)
    run(bar)
    assert [pixels(bar, 0), pixels(bar, 1)] == before
    shown = np.array(before[0].split("|")[0].split(","), np.uint8).reshape(32, 32, 4)[..., :3]
    assert (shown == np.asarray(Image.open(io.BytesIO(data)))).all()
    until_drawn(bar, "#stage .arms", lambda: bar.click("#run-exactly"))
    assert [pixels(bar, 0), pixels(bar, 1)] == before
    bar.get_by_role("tab", name="Interpolate").click()
    bar.click("#save-pictures")
    expect(bar.locator("#pictures-saved")).to_have_text("There are no pictures of a run of Interpolate yet: press Run there first.")


def test_a_link_opens_with_its_settings_in_another_browser(bar: Page, browser: Browser) -> None:
    fill(bar, "steps", 3)
    fill(bar, "seed", 99)
    run(bar)
    runs_kept(bar, 1)
    address = bar.input_value("#copied textarea")
    assert address.startswith(bar.url.split("?")[0] + "?v=1&model=avatars-32&seed=99&pictures=4&steps=3&arm=method:ddpm")
    with browser.new_context() as context:
        other = context.new_page()
        open_page(other, address)
        expect(other.locator("#restore-note")).to_contain_text("Settings taken from the link.")
        field(other, "steps", "3")
        field(other, "seed", "99")
        expect(other.locator("#status p")).to_contain_text("Done", timeout=60_000)  # nobody has pressed Run
        runs_kept(other, 1)
        assert pixels(other, 1) == pixels(bar, 1)


@pytest.mark.parametrize("precision", ["", "&precision=fp32"])
def test_a_link_to_what_is_stored_asks_nothing_of_the_device(blank: Page, url: str, engine: Engine, precision: str) -> None:
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    calls = engine.loop.calls
    open_page(blank, f"{url}/?v=1&seed=7&pictures=4&steps=20&eta=0.5&arm=method:ddpm{precision}", live=True)
    expect(blank.locator("#stage .arm figcaption").first).to_contain_text("η 0.5, 20 steps")
    expect(blank.locator("#replay .read")).to_have_text("stored, fp32")
    blank.wait_for_timeout(300)
    assert engine.loop.calls == calls


def test_a_link_beyond_the_hosts_budget_opens_on_its_settings_with_run(
    blank: Page, url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "budget", Budget(max_link_evaluations=15))
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    calls = engine.loop.calls
    open_page(blank, f"{url}/?v=1&seed=99&pictures=4&steps=2&arm=method:ddpm", live=True)
    expect(blank.locator("#restore-note")).to_contain_text("Settings taken from the link.")
    expect(blank.locator("#run")).to_be_visible()
    blank.wait_for_timeout(300)
    assert engine.loop.calls == calls
    run(blank)
    assert engine.loop.calls > calls


def test_a_link_to_a_table_opens_on_the_table(blank: Page, url: str) -> None:
    blank.goto(f"{url}/?v=1&seed=3&steps=2&arm=steps:4&arm=steps:2,eta:1&arm=steps:4")
    expect(blank.locator("#status-matrix p")).to_contain_text("Done", timeout=60_000)
    assert blank.evaluate("document.body.dataset.tab") == "matrix"


def test_copies(bar: Page) -> None:
    assert "recipe = Recipe(" in copied(bar, "Python", "from pathlib")
    assert "DDIMPipeline" in copied(bar, "diffusers", "import torch")
    assert bar.url.split("?")[0] in copied(bar, "curl", "CALL=")
    assert "generate --precision fp32" in copied(bar, "Command line", "python -m ddim_app")
    assert codecs.read_text(copied(bar, "JSON", "{")).recipe.seed == 7


def test_all_but_the_seed_and_what_the_fields_cannot_say(bar: Page) -> None:
    recipe = Recipe(arms=(Arm(steps=2), Arm(steps=2, eta=1), Arm(steps=3, seed=5)), seed=1234, pictures=1)
    bar.get_by_label("all but the seed").check()
    paste(bar, recipe.to_json())
    note(bar, "It has 3 arms, which the fields cannot say: they have the settings of the first, and Run it exactly draws it.")
    field(bar, "steps", "2")
    field(bar, "seed", "7")
    until_drawn(bar, "#stage .arms", lambda: bar.click("#run-exactly"))
    assert bar.locator("#stage figure").count() >= 3
    expect(bar.locator("#recipe")).to_contain_text("seed 1234")
    runs_kept(bar, 1)


def test_a_matrix_goes_back_into_its_axes(bar: Page) -> None:
    arms = tuple(Arm(steps=steps, eta=eta) for steps in (2, 3) for eta in (0, 0.5))
    paste(bar, Recipe(arms=arms, seed=77, pictures=1).to_json())
    note(bar, "Its settings are in the fields of Steps × η: press Run matrix there.")
    bar.get_by_role("tab", name="Steps × η").click()
    expect(bar.locator("#row-values textarea, #row-values input")).to_have_value("2, 3")
    expect(bar.locator("#column-values textarea, #column-values input")).to_have_value("0, 0.5")
    field(bar, "seed", "77")


def test_settings_come_back_on_reload_and_a_link_comes_before_them(page: Page) -> None:
    fill(page, "steps", 17)
    fill(page, "seed", 4242)
    until_quiet(page)  # the settings are kept once all else has followed them
    address = page.url
    open_page(page, address)
    expect(page.locator("#restore-note")).to_contain_text("Settings of your last visit.")
    field(page, "steps", "17")
    field(page, "seed", "4242")
    until_quiet(page)  # what a page still asks for when it goes is an error in the browser's console
    open_page(page, f"{address}?steps=6")
    expect(page.locator("#restore-note")).to_contain_text("Settings taken from the link.")
    field(page, "steps", "6")


def test_two_past_runs_side_by_side_and_back_to_one(page: Page) -> None:
    set_pictures(page, 1)
    for i, steps in enumerate((3, 6), 1):
        fill(page, "steps", steps)
        run(page)
        runs_kept(page, i)
    page.get_by_role("button", name="Lay two side by side").click()
    page.get_by_role("button", name="Set as A: ").nth(1).click()
    expect(page.locator("#history .strip li.chosen")).to_have_count(1)
    page.get_by_role("button", name="Set as B: ").nth(0).click()
    captions = page.locator("#history figcaption")
    expect(captions).to_have_count(6)
    assert captions.all_inner_texts()[:2] == ["A: DDIM(η = 0)", "B: DDIM(η = 0)"]
    assert "dB, SSIM 0." in captions.nth(2).inner_text()
    page.get_by_role("button", name="Set as A: ").nth(0).click()
    expect(captions.nth(2)).to_have_text("Difference: equal, SSIM 1.000")
    page.get_by_role("button", name="Restore the settings of").nth(1).click()
    note(page, "Settings of run 1.")
    field(page, "steps", "3")
    screenshot(page, "history")
    restore = page.get_by_role("button", name="Restore the settings of")
    press_both(page, "history", lambda: restore.nth(1).click(), lambda: restore.nth(0).click())
    note(page, "Settings of run 2.")
    field(page, "steps", "6")


@pytest.mark.usefixtures("slow")
def test_a_stopped_run_says_so_in_its_pictures(bar: Page, engine: Engine) -> None:
    start_long_run(bar, engine)
    bar.click("#stop")
    expect(bar.locator("#status")).to_contain_text("Stopped at step")
    runs_kept(bar, 1)
    expect(bar.locator("#history .note")).to_contain_text("of 1000")
    data = next(iter(zipped(bar)[1].values()))
    said = json.loads(Image.open(io.BytesIO(data)).text["ddim_run"])
    assert said["interrupted"] is True
    assert 1 <= said["executed_steps"] < 20
    drop(bar, "stopped.png", data)
    note(bar, f"The picture is of a run that was stopped after {said['executed_steps']} of 1000 steps.")


# Bad input.


def saved(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, form)
    return buffer.getvalue()


GOOD = codecs.png(Image.new("RGB", (8, 8)), Recipe(arms=(Arm(),)))


def test_bad_files_get_one_sentence_and_change_nothing(bar: Page, engine: Engine, tmp_path: Path) -> None:
    newer = saved("PNG")[:33] + GOOD[33:].replace(b'"version":1', b'"version":9')
    for name, data, sentence in (
        ("plain.png", saved("PNG"), "Nothing restored: file carries no recipe"),
        ("cut.png", GOOD[:-12], "Nothing restored: file is cut off or damaged"),
        ("photo.png", saved("JPEG"), "Nothing restored: file is a JPEG picture, whatever its name says"),
        ("newer.json", b'{"version": 9}', "Nothing restored: version of this recipe is 9, and this app reads up to 1"),
        ("damaged.png", newer, "Nothing restored: file is damaged"),
        ("empty.png", b"", "Nothing restored: file is neither a PNG picture nor a recipe's JSON"),
        (f"{HOSTILE[0].replace('/', '')}.png", saved("BMP"), "Nothing restored: file is a BMP picture"),
    ):
        drop(bar, name, data)
        note(bar, sentence)
    large = tmp_path / "large.png"
    large.write_bytes(bytes(50_000_000))
    bar.set_input_files("#drop-picture input[type=file]", large)
    expect(bar.get_by_text("exceed the maximum allowed size of 10").first).to_be_visible()
    assert bar.title() == "DDIM Explorer"
    field(bar, "steps", "10")


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_text_stays_text_everywhere(bar: Page, url: str, payload: str) -> None:
    for recipe in (
        {"arms": [{}], "seed": payload}, {"arms": [{}, {"method": "ddpm"}], "model": payload}, {"arms": [{"method": payload}]},
        {"arms": [{}], payload: payload}, {"kind": payload}, payload,
    ):  # fmt: skip
        paste(bar, json.dumps(recipe))
        expect(bar.locator("#restore-note p")).not_to_be_empty()
        bar.evaluate("document.querySelector('#restore-note p').textContent = ''")
    paste(bar, json.dumps({"arms": [{}, {"method": "ddpm"}], "model": payload}))
    expect(bar.locator("#model input")).to_have_value(payload)
    expect(bar.locator("#model .wrong")).to_contain_text("Model must be one of the models here")
    for form, start in (("Python", "from pathlib"), ("Command line", "python"), ("JSON", "{"), ("diffusers", "#")):
        copied(bar, form, start)
    drop(bar, f"{payload.replace('/', '')}.png", GOOD)
    note(bar, "Recipe read from the file.")
    assert bar.title() == "DDIM Explorer"
    assert bar.locator("#main img[src='x'], #side img[src='x']").count() == 0


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("steps=0", "Nothing restored: steps must be a whole number 1 or more; got 0."),
        ("seed=" + HOSTILE[0], 'Nothing restored: seed must be a whole number from 0 to 4294967295; got "<img src=x'),
        ("v=9&steps=5", "Nothing restored: version of this recipe is 9, and this app reads up to 1: take a newer app."),
        ("steps=5&seed=1&seed=2", "Nothing restored: 'seed' is there twice"),
        ("steps=" + "9" * 20_000, "Nothing restored: link must have at most 16000 characters after its address"),
        ("steps=5&" + HOSTILE[1] + "=1", "means nothing to this version and was left out."),
    ],
    ids=range(6),
)
def test_bad_links_get_one_sentence_and_the_page_works(blank: Page, url: str, engine: Engine, query: str, sentence: str) -> None:
    with opened(blank, f"{url}/?{query}", engine):
        note(blank, sentence)
        assert blank.title() == "DDIM Explorer"
        run(blank)
