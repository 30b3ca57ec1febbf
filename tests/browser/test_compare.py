"""The Compare tab, driven as a visitor would."""

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ddim_app.engine import Engine
from tests.browser.page import asked_of_server, forget, open_page, screenshot, until_quiet
from tests.browser.visitor import alts, apart, boxes, cost, fill, pixels, run, slider, start_long_run, status
from tests.wire import Brake, calls_after, wait_for


def test_the_first_screen_shows_a_stored_run_and_replays_it(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    expect(page.locator("#replay .hint")).to_contain_text("A stored run")
    final = pixels(page, 0)
    page.click("#replay .first")
    assert pixels(page, 0) != final
    page.locator("#replay .scrub").press("End")
    assert pixels(page, 0) == final
    assert page.get_attribute("#replay .scrub", "aria-valuetext").startswith("step 10 of 10 · t 99")
    screenshot(page, "first-screen")
    assert engine.loop.calls == calls


def test_sliders_run_and_the_same_seed_gives_the_same_pixels_twice(page: Page) -> None:
    slider(page, "steps").press("ArrowLeft")
    expect(page.locator("#steps input")).to_have_value("7")
    slider(page, "seed").press("ArrowRight")
    expect(page.locator("#seed input")).to_have_value("8")
    for _ in range(5):
        slider(page, "eta").press("Shift+ArrowRight")
    expect(page.locator("#eta input")).to_have_value("0.05")
    cost(page, "56 evaluations", "in 7 UNet calls")
    run(page)
    ddim, ddpm = pixels(page, 0), pixels(page, 1)
    assert ddim != ddpm
    expect(page.locator("#stage .arm figcaption").nth(0)).to_have_text("DDIMη 0.05, 7 steps")
    expect(page.locator("#stage .arm figcaption").nth(1)).to_have_text("DDPM7 steps")
    assert alts(page, 1) == [f"DDPM, seed {s}, step 7 of 7" for s in (8, 9, 10, 11)]
    expect(page.locator("#recipe")).to_contain_text("avatars-32 · DDIM(η = 0.05), 7 steps, trailing | DDPM")
    assert "7 NFE per picture" in status(page)
    screenshot(page, "compare")
    run(page)
    assert (pixels(page, 0), pixels(page, 1)) == (ddim, ddpm)


def test_a_typed_value_moves_the_slider_as_far_as_it_goes(page: Page) -> None:
    fill(page, "steps", 250)
    expect(slider(page, "steps")).to_have_attribute("aria-valuenow", "250")
    fill(page, "eta", 1.5)
    expect(slider(page, "eta")).to_have_attribute("aria-valuenow", "1")
    expect(slider(page, "eta")).to_have_attribute("aria-valuetext", "1.5")
    cost(page, "2,000 evaluations", "η is capped")


@pytest.mark.usefixtures("slow")
def test_stop_keeps_what_is_there_and_costs_at_most_one_more_call(page: Page, engine: Engine) -> None:
    start_long_run(page, engine)
    page.click("#stop")
    assert calls_after(engine, 1) <= 2  # the one under way, and one more
    expect(page.locator("#status")).to_contain_text("Stopped at step")
    expect(page.locator("#status")).to_contain_text("What was drawn stays.")
    screenshot(page, "stopped")
    fill(page, "steps", 3)
    run(page)


@pytest.mark.usefixtures("slow")
def test_a_closed_tab_and_a_reload_give_the_device_back(browser: Browser, url: str, engine: Engine) -> None:
    with browser.new_context() as context:
        for leave in ("close", "reload"):
            page = context.new_page()
            open_page(page, url)
            start_long_run(page, engine)
            getattr(page, leave)()
            assert calls_after(engine, 1) <= 2, leave


def test_a_wrong_value_is_said_on_its_field_and_nothing_is_computed(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    fill(page, "steps", 3.7)
    page.click("#run")
    expect(page.locator("#steps .wrong")).to_have_text("Steps must be a whole number from 1 to 1000; got 3.7")
    until_quiet(page)  # and it stays there when the lines of costs have followed
    expect(page.locator("#steps .wrong")).to_contain_text("got 3.7")
    expect(page.locator("#steps .validation-error")).to_have_count(1)  # Gradio's own, out of sight
    expect(page.locator("#steps .validation-error")).to_be_hidden()
    expect(page.locator("#cost")).to_contain_text("waiting for a value")
    screenshot(page, "wrong-value")
    assert engine.loop.calls == calls
    fill(page, "steps", 2)
    run(page)
    assert page.locator("#steps .wrong, #steps .validation-error").count() == 0


def test_a_server_that_takes_its_time_is_not_asked_without_end(page: Page) -> None:
    def late(route: Route) -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route("**/run/predict*", late)
    fill(page, "steps", 17)
    fill(page, "seed", 4242)
    until_quiet(page, most=8)
    cost(page, "136 evaluations", "in 17 UNet calls")


def test_a_page_at_rest_asks_for_nothing(page: Page) -> None:
    """An event that came by itself would now and then meet another's answer, and one of the two would be lost."""
    until_quiet(page)
    with asked_of_server(page) as asked:
        page.wait_for_timeout(5000)
        assert asked == []
        page.locator("#model input").focus()
        wait_for(lambda: [url.rsplit("/", 1)[1] for url in asked] == ["health"])  # whether there are new models


def test_an_empty_field_is_a_wrong_value(page: Page) -> None:
    fill(page, "seed", "")
    expect(page.locator("#seed .wrong")).to_have_text("Seed must be a whole number from 0 to 4294967295; got nothing")


def test_hostile_text_stays_text(page: Page) -> None:
    payload = "<img src=x onerror=document.title='owned'>${document.title='owned'}{{constructor}}"
    page.locator("#model input").fill(payload)
    page.locator("#model input").press("Enter")
    expect(page.locator("#model .wrong")).to_contain_text('got "<img src=x onerror=')
    assert page.title() == "DDIM Explorer"


def test_examples_run_in_one_click_and_eta_1_is_ddpm(page: Page, engine: Engine) -> None:
    fill(page, "steps", 20)
    page.click("#more > button")
    page.locator("#clip label", has_text="off").click()
    run(page, "text=η = 1 is DDPM")
    expect(page.locator("#steps input")).to_have_value("20")
    expect(page.locator("#clip input[value=off]")).to_be_checked()  # an example sets only what its words speak of
    expect(page.locator("#headlines h1:visible")).to_have_text("At η = 1 DDIM is DDPM.")
    assert pixels(page, 0) == pixels(page, 1)
    page.click("#stage .differs")
    expect(page.locator("#stage .difference figcaption")).to_have_text("no pixel differs")
    run(page, "text=DDPM’s two variances")
    expect(page.locator("#stage .arm figcaption")).to_have_text(["DDIMη 1, 10 steps", "DDPM10 steps", "DDPM σ̂10 steps"])
    assert pixels(page, 0) == pixels(page, 1) != pixels(page, 2)
    marked = page.locator("#examples .on")
    fill(page, "seed", 8)
    expect(page.locator("#cost p")).to_contain_text("evaluations")
    expect(marked).to_have_text("DDPM’s two variances")
    fill(page, "steps", 11)
    expect(marked).to_have_count(0)
    fill(page, "steps", 10)
    expect(marked).to_have_text("DDPM’s two variances")
    heights = {box["height"] for box in boxes(page)[:3] if box}
    assert len(heights) == 1
    asked, shown, headline = engine.loop.calls, status(page), page.inner_text("#headlines h1:visible")
    page.dblclick("text=Base and fine-tuned")
    expect(page.locator(".toast-body")).to_contain_text("There is no fine-tuned model here yet; python -m ddim_app.train")
    expect(page.locator("#headlines h1:visible")).to_have_text(headline)
    expect(marked).to_have_text("DDPM’s two variances")
    expect(page.locator(".toast-body")).to_have_count(0)  # it goes by itself, long after a run that followed would say so
    assert (engine.loop.calls, status(page)) == (asked, shown)
    expect(page.locator("#stage .arm")).to_have_count(3)  # those of the run before


SEEN = """() => {
    const seen = new Set(), parts = '#stage .arm, #stage .gutter, #ladder, #ladder .cell, #replay';
    const look = () => {
        seen.add(JSON.stringify([...document.querySelectorAll(parts)].map(node => {
            const {x, y, width, height} = node.getBoundingClientRect();
            return [x, y + scrollY, width, height].map(Math.round);
        })));
        requestAnimationFrame(look);
    };
    look();
    window.placesSeen = () => [...seen];
}"""


def test_arms_ladder_and_cards_stay_where_they_are_through_a_run_its_ladder_and_an_error(page: Page) -> None:
    page.evaluate(SEEN)
    slider(page, "seed").press("ArrowRight")
    fill(page, "steps", 6)
    run(page)
    expect(page.locator("#ladder")).to_contain_text("from its own")
    fill(page, "steps", 0)
    expect(page.locator("#steps .wrong")).to_be_visible()
    seen = page.evaluate("placesSeen()")
    assert len(seen) == 1, "\n".join(seen)


@pytest.mark.usefixtures("slow")
def test_a_second_run_takes_the_place_of_the_first(page: Page, engine: Engine) -> None:
    start_long_run(page, engine)
    expect(page.locator("#run")).to_be_hidden()  # Stop stands in its place
    fill(page, "steps", 4)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')", timeout=60_000)
    expect(page.locator("#stage figcaption").first).to_contain_text("4 steps")
    assert engine.loop.runs == 0


@pytest.mark.usefixtures("slow")
def test_a_model_chosen_in_the_middle_of_a_run_lets_it_go_on_and_the_next_is_of_it(page: Page, engine: Engine) -> None:
    start_long_run(page, engine)
    page.locator("#model input").fill("digits-32")
    page.locator("#model input").press("Enter")
    page.click("#more > button")
    expect(page.locator("#class-label")).to_be_visible()
    before = engine.loop.calls
    wait_for(lambda: engine.loop.calls > before + 1)
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#recipe")).to_contain_text("avatars-32")
    fill(page, "steps", 2)
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')", timeout=60_000)
    expect(page.locator("#recipe")).to_contain_text("digits-32")
    expect(page.locator("#stage .arm .stale")).to_have_count(0)
    assert engine.loop.runs == 0


@pytest.mark.usefixtures("slow")
def test_pictures_keep_their_own_recipe_until_there_are_new_ones(page: Page, engine: Engine, brake: Brake) -> None:
    brake.seconds = 5
    shown = page.inner_text("#recipe")
    fill(page, "seed", 99)
    page.click("#run")
    expect(page.locator("#status")).to_contain_text("Starting")
    page.click("#stop")
    expect(page.locator("#status")).to_contain_text("Stopped before the first step.")
    assert page.inner_text("#recipe") == shown
    assert alts(page, 0)[0] == "DDIM(η = 0), seed 7, step 10 of 10"
    wait_for(lambda: not engine.loop.busy)


def test_esc_with_nothing_running_changes_nothing(page: Page) -> None:
    fill(page, "steps", 2)
    run(page)
    before = status(page)
    page.locator("#run").focus()
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    assert status(page) == before != ""


def test_x_t_flip_and_difference_are_drawn_without_the_server(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    ddim, ddpm, before = pixels(page, 0), pixels(page, 1), boxes(page)
    labels = page.locator("#stage .arm figcaption").all_inner_texts()
    assert all("of 255 from its own" in label for label in labels)
    dots = page.locator("#stage .dot")
    colours = dots.evaluate_all("nodes => nodes.map(node => getComputedStyle(node).backgroundColor)")
    page.click("#stage .flip")
    assert (pixels(page, 0), pixels(page, 1)) == (ddpm, ddim)
    assert page.locator("#stage .arm figcaption").all_inner_texts() == labels[::-1]
    assert dots.evaluate_all("nodes => nodes.map(node => getComputedStyle(node).backgroundColor)") == colours[::-1]
    assert boxes(page) == before
    page.click("#stage .flip")
    page.click("#replay .first")
    predicted = pixels(page, 0)
    page.click("#replay [data-view=x_t]")
    assert pixels(page, 0) != predicted
    before = boxes(page)  # the page has scrolled to the replay
    for key in ("d", "d", "f", "f"):
        page.keyboard.press(key)
        assert boxes(page) == before
    page.click("#stage .differs")
    expect(page.locator("#stage .difference figcaption")).to_have_text(re.compile(r"\d+\.\d of 255"))
    assert engine.loop.calls == calls


def test_the_full_chain_and_ddpms_own_steps(page: Page) -> None:
    page.click("#more button")
    page.click("#full-chain")
    expect(page.locator("#ddpm-steps input")).to_have_value("1000")
    cost(page, "4,040 evaluations", "in 1000 UNet calls")
    fill(page, "ddpm-steps", 15)
    run(page)
    assert "10 and 15 NFE per picture" in status(page)
    screenshot(page, "advanced")


def test_the_wipe_holds_both_arms(page: Page) -> None:
    fill(page, "steps", 4)
    run(page)
    page.click("#wipe-fold button")
    images = page.locator("#wipe img")
    expect(images).to_have_count(2)
    sources = [image.get_attribute("src") for image in images.all()]
    assert sources[0] != sources[1]
    assert all(source.endswith(".png") for source in sources)
    screenshot(page, "wipe")


@pytest.mark.usefixtures("slow")
def test_keys_run_stop_and_roll(page: Page, engine: Engine) -> None:
    fill(page, "steps", 1000)
    page.locator("#steps input").first.focus()  # somebody types, and runs and stops from there
    page.keyboard.press("Control+Enter")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Step')")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_contain_text("Stopped at step")
    assert calls_after(engine, 1) <= 2
    page.locator("#run").focus()
    before = page.input_value("#seed input")
    page.keyboard.press("r")
    expect(page.locator("#seed input")).not_to_have_value(before)


def test_an_unlocked_seed_is_rolled_at_each_run_and_a_locked_one_stays(page: Page) -> None:
    fill(page, "steps", 2)
    page.click("#seed .lock")
    run(page)
    used = page.input_value("#seed input")
    assert used != "7"
    assert 0 <= int(used) <= 999
    page.click("#seed .lock")
    run(page)
    assert page.input_value("#seed input") == used


def test_dark_and_narrow_pages_fit(blank: Page, url: str) -> None:
    for theme, width in (("light", 390), ("dark", 390), ("dark", 1280)):
        forget(blank, url)
        blank.set_viewport_size({"width": width, "height": 844})
        open_page(blank, f"{url}/?__theme={theme}")
        assert blank.evaluate("document.documentElement.scrollWidth") <= width
        assert blank.locator("#run").is_visible()
        screenshot(blank, f"{theme}-{width}")


def test_two_visitors_at_once_get_what_each_asked_for(browser: Browser, url: str) -> None:
    with browser.new_context() as one, browser.new_context() as other:
        pages = [one.new_page(), other.new_page()]
        for page, seed in zip(pages, (100, 200), strict=True):
            open_page(page, url)
            fill(page, "seed", seed)
            fill(page, "steps", 12)
        for page in pages:
            page.click("#run")
        for page in pages:
            page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')", timeout=60_000)
            page.wait_for_selector("#stage .arms[aria-busy=false]")
        together = [pixels(page, 0) for page in pages]
        assert together[0] != together[1]
        for page, shown in zip(pages, together, strict=True):
            run(page)
            assert apart(pixels(page, 0), shown) <= 4  # levels: the same, now that nobody shares the calls
        assert [alts(page, 0)[0].split(", ")[1] for page in pages] == ["seed 100", "seed 200"]


def test_a_second_model_stands_beside_the_first(page: Page) -> None:
    fill(page, "steps", 3)
    page.get_by_role("button", name="More settings").click()
    page.locator("#second-model input").fill("avatars-32")
    page.locator("#second-model input").press("Enter")
    run(page)
    labels = page.locator("#stage figcaption").all_inner_texts()
    assert any("avatars-32" in label for label in labels)
    assert pixels(page, 0) == pixels(page, 2)
    screenshot(page, "two-models")
