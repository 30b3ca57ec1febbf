"""The trajectory player: mouse and keys, streaming, no server in between, files and charts."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.ui.components import stage
from tests import toys
from tests.browser.page import asked_of_server, open_page, until_quiet
from tests.browser.visitor import PAYLOADS, READ, fill, pixels, run, scrub, step
from tests.wire import Brake, served

HOSTILE = "z" + "".join(PAYLOADS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, brake: Brake) -> Engine:
    """Tiny models, one of them with a name that would run if it were markup or a template."""
    root = tmp_path_factory.mktemp("player")
    for name in ("tiny", HOSTILE):
        toys.save_tiny(root / name)
    return Engine([root], allow_hub=False)


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with served(engine) as address:
        yield address


def hold(page: Page) -> None:
    """Stops the page's clock: its timers run when `run_for` says so, and not by themselves on a slow machine."""
    page.clock.install(time=0)
    page.clock.pause_at(1000)


# ---- controls --------------------------------------------------------------------------------------------------------


def test_the_mouse_steps_plays_pauses_and_loops(alone: Page) -> None:
    hold(alone)
    alone.click("#replay .first")
    alone.click("#replay .forth")
    alone.click("#replay .forth")
    alone.click("#replay .back")
    assert step(alone) == 2
    alone.click("#replay .play")
    expect(alone.locator("#replay .play")).to_have_attribute("aria-label", "Pause")
    alone.clock.run_for(1000)  # ten steps in four seconds, but at least four a second
    assert step(alone) == 6
    alone.click("#replay .play")
    alone.clock.run_for(1000)
    assert step(alone) == 6
    alone.select_option("#replay .speed", "4")
    alone.click("#replay .play")
    alone.clock.run_for(1000)
    assert step(alone) == 10
    expect(alone.locator("#replay .play")).to_have_attribute("aria-label", "Play")  # the end stops it
    alone.click("#replay .loop")
    alone.click("#replay .play")
    alone.clock.run_for(830)  # thirteen times 62.5 ms
    assert step(alone) == 4  # begun again: step 1 at once, ten later step 1 again
    scrub(alone).fill("7")
    alone.clock.run_for(1000)
    assert step(alone) == 8


def test_keys_work_where_the_player_has_the_focus(alone: Page) -> None:
    hold(alone)
    alone.locator("#stage canvas").first.click()  # a picture hands the focus to the bar
    for key, where in (("Home", 1), ("ArrowRight", 2), ("ArrowUp", 3), ("ArrowLeft", 2), ("End", 10), ("ArrowRight", 10)):
        alone.keyboard.press(key)
        assert step(alone) == where, key
    assert re.fullmatch(r"step 10 of 10 · t 99 · ᾱ 0\.\d{3}", alone.evaluate(READ))
    words = f"{alone.evaluate(READ)} · σ 0 · NFE 10 · Picture 1 of 4, seed 7"
    assert scrub(alone).get_attribute("aria-valuetext") == words
    alone.keyboard.press("Home")
    assert scrub(alone).get_attribute("aria-valuetext").startswith("step 1 of 10 · t 999 · ᾱ 4.0e-5 · σ 0 | 0.")
    alone.keyboard.press("Space")
    alone.clock.run_for(500)
    alone.keyboard.press("Space")
    alone.clock.run_for(500)
    assert step(alone) == 3
    before = pixels(alone, 0), pixels(alone, 1)
    alone.keyboard.press("f")
    assert (pixels(alone, 1), pixels(alone, 0)) == before
    alone.locator("#replay .view").first.focus()
    alone.keyboard.press("ArrowRight")
    assert step(alone) == 4
    alone.locator("#steps input").focus()  # elsewhere the keys are not the player's
    alone.keyboard.press("End")
    assert step(alone) == 4


def test_little_motion_is_respected(browser: Browser, url: str) -> None:
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        open_page(page, url)
        hold(page)
        page.select_option("#replay .speed", "4")
        page.click("#replay .play")
        page.clock.run_for(2100)
        assert step(page) == 5  # two a second, whatever the speed


def test_no_frame_asks_the_server(alone: Page) -> None:
    fill(alone, "steps", 40)
    run(alone)
    until_quiet(alone)  # settings are kept, and the strip of runs filled, after the run
    hold(alone)  # the alone's own timers stand still
    with asked_of_server(alone) as asked:
        scrub(alone).focus()
        for key in ("Home", *["ArrowRight"] * 39, "Home", "f", "f", "Space"):
            alone.keyboard.press(key)
        alone.clock.run_for(5000)
        alone.click("#replay [data-view=x_t]")
        alone.click("#replay .first")
        assert step(alone) == 1
        assert asked == []


# ---- streaming -------------------------------------------------------------------------------------------------------

COUNT_LOADS = """
window.loads = 0;
const listen = EventTarget.prototype.addEventListener;
EventTarget.prototype.addEventListener = function (type, ...rest) {
  if (type === 'click' && this.className === 'flip') window.loads++;   // the script does this once
  return listen.call(this, type, ...rest);
};
"""
WATCH = """() => {
  window.before = [...document.querySelectorAll('#stage *')];
  window.words = new Set();
  const read = document.querySelector('#replay .read');
  new MutationObserver(() => words.add(read.textContent)).observe(read, {childList: true});
}"""


def test_200_streamed_steps_leave_the_page_as_it_is(alone: Page, url: str) -> None:
    """Nodes are made once for a run, and the script is started once for a page."""
    alone.add_init_script(COUNT_LOADS)
    open_page(alone, url)
    fill(alone, "steps", 200)
    fill_pictures(alone, 1)
    alone.click("#run")
    alone.wait_for_function("document.querySelector('#replay .scrub').max === '199'")
    alone.evaluate(WATCH)
    alone.wait_for_selector("#stage .arms[aria-busy=false]", timeout=60_000)
    same = "(() => { const now = [...document.querySelectorAll('#stage *')];"
    same += " return now.length === before.length && now.every((node, i) => node === before[i]); })()"
    assert alone.evaluate(same)
    assert alone.evaluate("window.loads") == 1
    assert alone.evaluate("words.size") > 3  # it was drawn while it came
    assert step(alone) == 200


def test_a_position_that_somebody_chose_is_kept_while_frames_come(page: Page, brake: Brake) -> None:
    fill(page, "steps", 30)
    brake.seconds = 0.1
    try:
        page.click("#run")
        page.wait_for_function("/^step ([5-9]|1\\d) of 30/.test(document.querySelector('#replay .read').textContent)")
        page.click("#replay .first")
        shown = pixels(page, 0)
        page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Step 1')")
        assert (step(page), pixels(page, 0)) == (1, shown)
    finally:
        brake.seconds = 0
    page.wait_for_selector("#stage .arms[aria-busy=false]")
    assert step(page) == 1


def test_a_long_run_is_thinned_and_says_so(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "REPLAY_BYTES", 110_000)  # as if there were a thousand steps of larger pictures
    fill(page, "steps", 80)
    run(page)
    expect(page.locator("#replay .hint")).to_contain_text("every 4th step, the first and the last")
    scrub(page).focus()
    steps = []
    for key in ("Home", "ArrowRight", "ArrowRight", "End", "ArrowLeft"):
        page.keyboard.press(key)
        steps.append(step(page))
    assert steps == [1, 5, 9, 80, 77]


def fill_pictures(page: Page, count: int) -> None:
    page.locator("#pictures").get_by_role("radio", name=str(count), exact=True).check()


# ---- files, charts, names --------------------------------------------------------------------------------------------


def download(page: Page, form: str) -> tuple[str, bytes]:
    page.click(f"#film-format input[value={form}]")
    with page.expect_download() as waiting:
        page.click("#film-make")
    expect(page.locator("#film p")).to_contain_text("Saved")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.mark.parametrize("form", ["gif", "webp", "sheet"])
def test_a_run_is_saved_with_its_recipe_inside(page: Page, engine: Engine, form: str) -> None:
    page.click("#films-fold button")
    name, data = download(page, form)  # the stored run
    assert json.loads(text_inside(data))["model"] == "avatars-32"
    fill(page, "steps", 6)
    fill(page, "seed", 41)
    run(page)
    name, data = download(page, form)
    assert name == f"ddim-explorer-41.{'png' if form == 'sheet' else form}"
    recipe = json.loads(text_inside(data))
    assert (recipe["model"], recipe["seed"], recipe["arms"][0]["steps"]) == ("tiny", 41, 6)
    assert recipe["weights"] == engine.model("tiny").sha256


def test_a_stopped_run_is_saved_as_far_as_it_came(page: Page, slow: None) -> None:
    fill(page, "steps", 500)
    page.click("#run")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Step 2')")
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("Stopped at step")
    page.click("#films-fold button")
    recipe = json.loads(text_inside(download(page, "gif")[1]))
    assert recipe["interrupted"]
    assert 1 <= recipe["executed_steps"] <= 4


def test_charts_hold_a_line_for_each_arm_whatever_run_came_before(page: Page) -> None:
    charts = page.locator("#replay .plot")
    expect(charts).to_have_count(3)
    for arms, steps in ((2, 4), (3, 6), (2, 5), (4, 3)):
        page.click("#more > button") if not page.locator("#more-arms").is_visible() else None
        page.locator("#more-arms").get_by_role("checkbox").nth(0).set_checked(arms > 2)
        page.locator("#more-arms").get_by_role("checkbox").nth(1).set_checked(arms > 3)
        fill(page, "steps", steps)
        run(page)
        for i in range(3):
            expect(charts.nth(i).locator("path.line")).to_have_count(arms)
            expect(charts.nth(i)).to_contain_text(str(steps))
            places = charts.nth(i).locator("path.line").last.get_attribute("d")
            assert places is not None
            assert len(re.findall("[ML]", places)) >= steps - 1  # the first step has moved from nothing


def test_the_film_shows_the_steps_and_goes_where_one_presses(page: Page) -> None:
    fill(page, "steps", 20)
    run(page)
    heads = page.locator("#replay .film > b:not(.name)").all_inner_texts()
    assert [head.replace("\n", "") for head in heads][1:] == ["xT", "1", "3", "5", "7", "9", "12", "14", "16", "18", "20"]
    page.get_by_role("button", name="DDPM, step 9 of 20", exact=False).click()
    assert step(page) == 9
    expect(page.locator("#replay .film .here")).to_have_count(2)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert step(page) == 12
    page.locator("#stage .arm canvas").nth(2).click()
    expect(page.locator("#replay .about")).to_contain_text("Picture 3 of 4, seed 9")


def test_finished_pictures_stand_while_the_steps_are_on_their_way(blank: Page, url: str) -> None:
    blank.route("**/stored/first_run-*", lambda route: None)
    blank.goto(url)
    expect(blank.locator("#stage canvas[aria-label$=', step 10 of 10']")).to_have_count(8)
    assert pixels(blank, 0) != pixels(blank, 1)
    expect(blank.locator("#stage .arms")).to_have_attribute("aria-busy", "true")


def test_steps_that_do_not_come_are_said_and_play_asks_for_them_again(blank: Page, url: str) -> None:
    asked, hint = "**/stored/first_run-*", blank.locator("#replay .hint")
    blank.route(asked, lambda route: route.fulfill(status=502, body="a proxy's page"))
    open_page(blank, url)
    expect(hint).to_have_text("The steps of this run did not come. Play asks for them again.")
    with blank.expect_response(asked):
        blank.click("#replay .play")
    expect(hint).to_have_text("The steps of this run did not come. Play asks for them again.")
    blank.unroute(asked)
    blank.click("#replay .play")
    expect(hint).to_have_text(stage.stored_run()["hint"])
    expect(blank.locator("#replay .play")).to_have_attribute("aria-label", "Pause")
    expect(blank.locator("#replay .film button")).to_have_count(20)


def test_what_cannot_be_drawn_of_steps_that_came_is_an_error_of_the_page(blank: Page, url: str) -> None:
    stored = stage.stored_run()
    stored["frames"][0]["x_t"] = "data:image/png;base64,AAAA"
    blank.route("**/stored/first_run-*", lambda route: route.fulfill(json=stored))
    with blank.expect_event("pageerror"):
        blank.goto(url)


def test_a_models_name_is_text_wherever_it_comes(page: Page) -> None:
    page.locator("#model input").fill(HOSTILE)
    page.locator("#model input").press("Enter")
    fill(page, "steps", 2)
    expect(page.locator("#cost")).to_contain_text("evaluations")
    run(page)
    expect(page.locator("#recipe")).to_contain_text(HOSTILE)
    page.click("#films-fold button")
    assert json.loads(text_inside(download(page, "sheet")[1]))["model"] == HOSTILE
    expect(page.locator("#replay .plot.size")).to_have_attribute("aria-label", re.compile("ε"))
    assert page.title() == "DDIM Explorer"
    assert page.locator("img[src=x]").count() == 0
