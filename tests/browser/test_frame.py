"""What stands around the tabs: top bar, headline, settings column and its foot, at their places and sizes."""

import json
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ddim_app.media.animation import text_inside
from tests.browser.frame import TABS, box, open_tab
from tests.browser.page import listening, open_page
from tests.browser.visitor import fill, run, slider
from tests.wire import wait_for


def test_bar_column_and_main_have_their_places_and_sizes(page: Page) -> None:
    bar, side, main = (box(page, where) for where in ("#header", "#side", "#main"))
    assert (bar["x"], bar["width"]) == (0, 1280)
    assert abs(bar["height"] - 51) <= 2
    assert abs(side["width"] - 288) <= 2
    assert abs(side["x"] - 20) <= 2
    assert abs(main["x"] - side["x"] - side["width"] - 16) <= 2
    assert abs(main["width"] - 936) <= 2
    assert page.evaluate("document.fonts.check('14px \"Inter Explorer\"')")


def test_pictures_and_charts_have_the_sizes_of_the_design(page: Page) -> None:
    compare = {
        "#stage .arm canvas": 192, "#stage .gutter": 126, "#ladder .cell img": 96, "#ladder .plot": 218, "#replay .film canvas": 48,
    }  # fmt: skip
    for where, size in compare.items():
        assert abs(page.locator(where).first.evaluate("node => node.getBoundingClientRect().width") - size) <= 2, where
    for above, below in pairwise(box(page, where) for where in ("#stage", "#ladder", "#replay")):
        assert abs(below["y"] - above["y"] - above["height"] - 12) <= 2
    charts = page.locator("#replay .plot").evaluate_all("nodes => nodes.map(node => node.getBoundingClientRect().toJSON())")
    assert len(charts) == 3
    assert {(chart["x"], chart["width"], chart["height"]) for chart in charts} == {(charts[0]["x"], 218, 84)}
    assert [round(below["y"] - above["y"]) for above, below in pairwise(charts)] == [92, 92]
    fill(page, "steps", 1)
    for pictures, size in {1: 388, 9: 126, 16: 94}.items():
        page.locator(f"#pictures input[value='{pictures}']").evaluate("radio => radio.click()")
        run(page)
        expect(page.locator("#stage .arm").first.locator("canvas")).to_have_count(pictures)
        assert abs(page.locator("#stage .arm canvas").first.evaluate("node => node.getBoundingClientRect().width") - size) <= 2
    open_tab(page, "matrix")
    for where, size in {"#matrix .cell canvas": 128, "#matrix aside": 166}.items():
        assert abs(page.locator(where).first.evaluate("node => node.getBoundingClientRect().width") - size) <= 2, where
    assert page.evaluate("(node => node.scrollWidth === node.clientWidth)(document.querySelector('#matrix .scroll'))")


CUT = """() => {
    const found = new Set();
    for (const node of document.querySelectorAll('#header *, #headlines *, #columns *')) {
        const {overflowX} = getComputedStyle(node);
        if (!node.checkVisibility() || node.clientWidth < 2) continue;
        const isCut = !['visible', 'auto', 'scroll'].includes(overflowX) && node.scrollWidth > node.clientWidth + 1;
        if (isCut && node.textContent.trim()) found.add(`${node.className}: ${node.textContent.trim().slice(0, 80)}`);
    }
    return [...found];
}"""


def assert_nothing_is_cut(page: Page, url: str, width: int) -> None:
    """On any tab. The captions of the arms are as long as those of stored pictures can be."""
    open_page(page, f"{url}/?v=1&seed=7&pictures=4&steps=100&eta=0.25&arm=method:ddpm", live=True)
    expect(page.locator("#stage .arm figcaption").first).to_contain_text("η 0.25, 100 steps")
    expect(page.locator("#stage .arm .far").first).to_contain_text("of 255 from its own 1000 steps")
    for tab in TABS:
        open_tab(page, tab)
        expect(page.locator("#main canvas:visible").first).to_be_visible()
        assert page.evaluate(CUT) == [], tab
        assert page.evaluate("document.documentElement.scrollWidth") == width, tab


@pytest.mark.parametrize("width", [1920, 1280, 1024, 640])
def test_no_text_is_cut_at_any_width(blank: Page, url: str, width: int) -> None:
    """640 is a window of 1280 at a zoom of 200 %."""
    blank.set_viewport_size({"width": width, "height": 900})
    assert_nothing_is_cut(blank, url, width)


def test_no_text_is_cut_on_a_phone(browser: Browser, url: str) -> None:
    with browser.new_context(viewport={"width": 390, "height": 900}, is_mobile=True) as context:
        assert_nothing_is_cut(context.new_page(), url, 390)


def test_a_page_asks_no_other_host_for_anything(blank: Page, url: str) -> None:
    asked: list[str] = []
    with listening(blank, "request", lambda request: asked.append(request.url)):
        open_page(blank, url)
    assert asked
    assert [address for address in asked if not address.startswith((url, "data:", "blob:"))] == []


def test_the_page_asks_at_once_for_all_of_gradios_files_that_it_needs_and_for_no_other(blank: Page, url: str) -> None:
    open_page(blank, url)
    asked = blank.evaluate("performance.getEntriesByType('resource').map(({name}) => name.split('/assets/')[1]).filter(Boolean)")
    at_once = blank.evaluate("[...document.head.querySelectorAll('link[rel$=preload]')].map(({href}) => href.split('/assets/')[1])")
    assert set(asked) == set(filter(None, at_once))


def test_nothing_is_told_to_components_of_ours_before_they_are_there(blank: Page, url: str) -> None:
    def late(route: Route) -> None:
        time.sleep(2)
        route.continue_()

    blank.route("**/assets/HTML-*.js", late)
    with listening(blank, "console", lambda message: told.append(message.text) if message.type == "error" else None):
        told: list[str] = []
        open_page(blank, url)
        blank.wait_for_function("document.body.dataset.tab === 'compare'")
    assert told == []


def test_each_tab_has_its_headline_its_settings_and_its_own_steps(page: Page) -> None:
    used = {
        "compare": {"steps", "eta", "seed", "pictures"}, "matrix": {"seed", "pictures-matrix"},
        "interpolate": {"steps-interpolate", "eta"}, "invert": {"steps-invert"},
        "learn": set(),
    }  # fmt: skip
    learns = {"steps-learn", "eta", "seed"}
    every = {name for names in used.values() for name in names} | {"steps-matrix"} | learns
    headlines = set()
    for tab, names in used.items():
        open_tab(page, tab)
        assert {name for name in every if page.locator(f"#{name}").is_visible()} == names, tab
        headlines.add(page.locator("#headlines h1:visible").inner_text())
        assert page.locator("#foot .go:visible").count() == (tab != "learn")
    assert len(headlines) == 5
    page.get_by_role("button", name="Settings of these chapters").click()
    assert {name for name in every if page.locator(f"#{name}").is_visible()} == learns
    assert [page.input_value(f"#{name} input") for name in ("steps", "steps-interpolate", "steps-invert")] == ["10", "20", "50"]
    open_tab(page, "compare")
    fill(page, "steps", 3)
    open_tab(page, "invert")
    assert page.input_value("#steps-invert input") == "50"


def test_the_column_of_the_matrix_has_what_its_axes_leave_open(page: Page) -> None:
    open_tab(page, "matrix")
    page.get_by_role("button", name="several noises").click()
    expect(page.locator("#steps-matrix")).to_be_visible()
    expect(page.locator("#eta")).to_be_hidden()


def test_steps_are_dragged_over_marks_on_a_logarithmic_slider(page: Page) -> None:
    place = box(page, "#steps [role=slider]")
    y = place["y"] + place["height"] / 2
    page.mouse.move(place["x"] + place["width"] / 3, y)
    page.mouse.down()
    seen = []
    for part in (0.34, 0.5, 0.667, 0.99, 1):
        page.mouse.move(place["x"] + part * place["width"], y)
        seen.append(page.input_value("#steps input"))
    page.keyboard.down("Shift")
    page.mouse.move(place["x"] + 0.46 * place["width"], y)
    page.keyboard.up("Shift")
    free = page.input_value("#steps input")
    page.mouse.up()
    assert seen == ["10", "30", "100", "1000", "1000"]
    assert free == "24"
    handle = slider(page, "steps")
    for key, value in (("ArrowRight", "30"), ("ArrowRight", "50"), ("Shift+ArrowLeft", "49"), ("Home", "1"), ("End", "1000")):
        handle.press(key)
        assert page.input_value("#steps input") == value, key


@pytest.mark.parametrize(
    ("opener", "field"),
    [
        ("#more > button", "#noise-seed textarea, #noise-seed input"),
        ("#recipe-bar > button", "#paste-recipe textarea"),
        ("#header [data-tab=matrix]", "#column-values textarea, #column-values input"),
    ],
    ids=["fold", "recipe", "tab"],
)
def test_what_is_typed_stays_from_the_moment_that_a_field_is_there(page: Page, opener: str, field: str) -> None:
    kept = page.evaluate(
        """async ([opener, where]) => {
            document.querySelector(opener).click();
            const field = await new Promise(found => {
                const look = setInterval(() => {
                    const there = document.querySelector(where);
                    if (there) { clearInterval(look); found(there); }
                });
            });
            field.value = '12, 34';
            field.dispatchEvent(new Event('input', {bubbles: true}));
            for (let i = 0; i < 90; i++) {
                await new Promise(requestAnimationFrame);
                if (field.value !== '12, 34') return `${field.value}, after ${i} frames`;
            }
            return document.querySelector(where).value;
        }""",
        [opener, field],
    )
    assert kept == "12, 34"


def test_tabs_are_walked_by_arrows(page: Page) -> None:
    page.get_by_role("tab", name="Compare").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Steps × η")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tab", name="Steps × η")).to_be_focused()
    expect(page.locator("#run-matrix")).to_be_visible()


def test_the_foot_never_leaves_the_screen(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 600})
    page.click("#more > button")
    expect(page.locator("#precision")).to_be_visible()
    for fold in ("#wipe-fold", "#films-fold", "#recipe-bar"):
        page.click(f"{fold} > button")
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height > 1500
    for top in (0, 100, height // 2, height):
        page.evaluate("top => scrollTo(0, top)", top)
        page.wait_for_timeout(100)
        run = box(page, "#run")
        assert 0 <= run["y"] <= 600 - run["height"], top


def over(page: Page, where: str) -> list[str]:
    """What lies over a part of the page while all is scrolled past it, by what is looked at, so that nothing skips it."""
    found: list[str] = page.evaluate(
        """async where => {
            const part = document.querySelector(where), found = new Set();
            for (let top = 0, step; top < document.documentElement.scrollHeight; top += step) {
                scrollTo(0, top);
                await new Promise(requestAnimationFrame);
                const {left, right, top: upper, bottom} = part.getBoundingClientRect();
                const last = Math.min(bottom, innerHeight) - 2;
                step = Math.max(25, last - upper - 3);
                for (let y = upper + 3; y < last; y += 4) for (let x = left + 12; x < right - 12; x += 8) {
                    const node = document.elementFromPoint(x, y);
                    if (node && !part.contains(node)) found.add(node.outerHTML.slice(0, 200));
                }
            }
            return [...found];
        }""",
        where,
    )
    return found


def test_nothing_lies_over_the_foot_of_the_column(blank: Page, url: str) -> None:
    """While More settings are longer than the window."""
    blank.set_viewport_size({"width": 1280, "height": 600})
    open_page(blank, url)
    blank.locator("#model input").fill("digits-32")
    blank.locator("#model input").press("Enter")
    blank.click("#more > button")
    expect(blank.locator("#guidance")).to_be_visible()
    assert over(blank, "#foot") == []


def test_nothing_lies_over_the_contents_of_learn_on_a_phone(blank: Page, url: str) -> None:
    blank.set_viewport_size({"width": 390, "height": 844})
    open_page(blank, url)
    open_tab(blank, "learn")
    expect(blank.locator(".chapter").nth(4)).to_be_visible()
    assert over(blank, "#side") == []


def test_in_a_frame_as_high_as_its_page_the_foot_stands_under_pictures(blank: Page, url: str) -> None:
    blank.goto(f"{url}/health")
    blank.evaluate(
        """() => { document.body.innerHTML = '<iframe src="/" style="width: 1240px; height: 4000px; border: 0"></iframe>'; }"""
    )
    frame = blank.frame_locator("iframe")
    expect(frame.locator("#cost")).to_contain_text("evaluations")
    frame.locator("#more > button").click()
    expect(frame.locator("#precision")).to_be_visible()
    pictures, foot, more = (box(frame, where) for where in ("#pictures", "#foot", "#more"))
    assert 0 <= foot["y"] - pictures["y"] - pictures["height"] <= 20
    assert more["y"] >= foot["y"] + foot["height"] - 1


@pytest.mark.parametrize(("button", "start"), [("#share-link", "http"), ("#share-python", "from pathlib")])
def test_share_buttons_copy(page: Page, button: str, start: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click(button)
    expect(page.locator(button)).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith(start)


def test_the_link_is_of_the_open_tab(page: Page) -> None:
    """Of its last run, or of what it opens with; the recipe bar goes with it."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fill(page, "steps", 2)
    run(page)
    page.get_by_role("button", name="Recipe: copy, restore, files").click()
    begins = {
        "compare": "?v=1&model=avatars-32&seed=7&pictures=4&steps=2&arm=method:ddpm",
        "matrix": "?v=1&model=avatars-32&precision=fp32&seed=7&steps=5&",
        "interpolate": "?v=1&kind=path&model=avatars-32&precision=fp32&mode=loop&",
        "invert": "?v=1&kind=invert&model=avatars-32&png=",
        "learn": "#learn-noise-comes-in",
    }
    for tab, begin in begins.items():
        open_tab(page, tab)
        page.evaluate("navigator.clipboard.writeText('')")
        page.click("#share-link")
        page.wait_for_function("async begin => (await navigator.clipboard.readText()).includes(begin)", arg=begin)
        expect(page.locator("#copied textarea")).to_have_value(re.compile(re.escape(begin)))
    page.evaluate("document.querySelector('#learn-the-family-eta h2').scrollIntoView()")
    expect(page.locator("#copied textarea")).to_have_value(re.compile("/#learn-the-family-eta$"))


def test_share_makes_a_gif_and_a_dropped_picture_brings_its_settings(page: Page, tmp_path: Path) -> None:
    with page.expect_download() as waiting:
        page.click("#share-gif")
    assert waiting.value.suggested_filename == "ddim-explorer-7.gif"
    fill(page, "seed", 5)
    with page.expect_file_chooser() as chooser:
        page.click("#share-drop")
    waiting.value.save_as(tmp_path / "run.gif")
    inside = json.loads(text_inside((tmp_path / "run.gif").read_bytes()))
    assert inside["link"].startswith(f"{page.url.split('?')[0]}?v=1&model=avatars-32&precision=fp32&seed=7&pictures=4&steps=10&")
    (tmp_path / "run.json").write_text('{"arms": [{"steps": 3}, {"method": "ddpm", "steps": 3}], "seed": 77}')
    chooser.value.set_files(tmp_path / "run.json")
    expect(page.locator("#restore-note")).to_contain_text("Recipe read from the file.")
    wait_for(lambda: page.input_value("#seed input") == "77")
    assert page.input_value("#steps input") == "3"


def test_the_licence_of_the_chosen_model_stands_under_its_name(page: Page) -> None:
    expect(page.locator("#licence")).to_have_text("Licence: cc-by-4.0")


def test_a_link_waits_for_the_tab_and_the_button_that_it_presses(page: Page) -> None:
    open_tab(page, "matrix")
    for name, value in (("row-values", "0"), ("column-values", "2")):  # one cell in place of twenty
        page.fill(f"#{name} textarea, #{name} input", value)
    open_tab(page, "compare")
    page.evaluate(
        """() => {
            const late = ['#header', '#run-matrix'].map(where => document.querySelector(where)), names = late.map(node => node.id);
            late.forEach(node => { node.id = ''; });
            window.linked('{"tab": "matrix", "press": "run-matrix"}');
            setTimeout(() => late.forEach((node, i) => { node.id = names[i]; }), 300);
        }"""
    )
    expect(page.locator("#status-matrix p")).to_contain_text("Done", timeout=60_000)
    assert page.evaluate("document.body.dataset.tab") == "matrix"
