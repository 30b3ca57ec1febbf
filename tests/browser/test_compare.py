"""The Compare tab, driven as a visitor would."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from ddim_app.engine import Engine
from tests.browser.conftest import open_page, screenshot, until_quiet
from tests.wire import Brake, calls_after, wait_for

PIXELS = """arm => [...document.querySelectorAll('#stage figure')[arm].querySelectorAll('canvas')]
  .map(canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data].join()).join('|')"""


def pixels(page: Page, arm: int) -> str:
    """Every pixel that an arm's figure shows."""
    return str(page.evaluate(PIXELS, arm))


def status(page: Page) -> str:
    return page.inner_text("#status p")


def fill(page: Page, field: str, value: object) -> None:
    page.fill(f"#{field} input", str(value))
    page.press(f"#{field} input", "Tab")


def run(page: Page, how: str = "#run") -> None:
    """Starts a run and waits for its end."""
    until_drawn(page, "#stage .arms", lambda: page.click(how))
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')")


def until_drawn(page: Page, where: str, act: Callable[[], None]) -> None:
    """Acts, and waits until another run than the one before is drawn to its end."""
    before = page.get_attribute(where, "data-drawn")
    act()
    page.wait_for_function(
        "([where, before]) => (document.querySelector(where).dataset.drawn ?? null) !== before", arg=[where, before], timeout=60_000
    )


def start_long_run(page: Page, engine: Engine) -> None:
    fill(page, "steps", 1000)
    calls = engine.loop.calls
    page.click("#run")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Step')")
    wait_for(lambda: engine.loop.calls >= calls + 2)


def test_the_first_screen_shows_a_stored_run_and_replays_it(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    expect(page.locator("#stage .hint")).to_contain_text("A stored run")
    final = pixels(page, 0)
    page.click("#stage .first")
    assert pixels(page, 0) != final
    page.locator("#stage .scrub").press("End")
    assert pixels(page, 0) == final
    assert page.get_attribute("#stage .scrub", "aria-valuetext").startswith("step 10 of 10 · t 99")
    screenshot(page, "first-screen")
    assert engine.loop.calls == calls


def test_sliders_run_and_the_same_seed_gives_the_same_pixels_twice(page: Page) -> None:
    slider = page.get_by_label("range slider for Steps")
    for _ in range(3):
        slider.press("ArrowLeft")
    expect(page.locator("#steps input")).to_have_value("7")
    page.get_by_label("range slider for Seed").press("ArrowRight")
    expect(page.locator("#seed input")).to_have_value("8")
    page.get_by_label("range slider for Stochasticity").press("ArrowRight")
    expect(page.locator("#eta input")).to_have_value("0.05")
    expect(page.locator("#cost")).to_contain_text("8 pictures · 56 evaluations in 7 UNet calls")
    run(page)
    ddim, ddpm = pixels(page, 0), pixels(page, 1)
    assert ddim != ddpm
    expect(page.locator("#stage figcaption").nth(0)).to_contain_text("DDIM(η = 0.05)7 steps, trailing")
    expect(page.locator("#stage figcaption").nth(1)).to_contain_text("DDPM7 steps, trailing")
    captions = [words for words in page.locator("#stage figure").nth(1).locator("small").all_inner_texts() if words]
    assert captions == [f"seed {s}" for s in (8, 9, 10, 11)]
    expect(page.locator("#recipe")).to_contain_text("avatars-32 · DDIM(η = 0.05), 7 steps, trailing | DDPM")
    assert "7 NFE per picture" in status(page)
    screenshot(page, "compare")
    run(page)
    assert (pixels(page, 0), pixels(page, 1)) == (ddim, ddpm)


def test_a_typed_value_moves_the_slider_as_far_as_it_goes(page: Page) -> None:
    fill(page, "steps", 250)
    expect(page.get_by_label("range slider for Steps")).to_have_value("100")
    fill(page, "eta", 1.5)
    expect(page.get_by_label("range slider for Stochasticity")).to_have_value("1")
    expect(page.locator("#cost")).to_contain_text("eta is capped")


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
    expect(page.locator("#steps .validation-error").first).to_contain_text("steps must be a whole number from 1 to 1000; got 3.7")
    until_quiet(page)  # and it stays there when the lines of costs have followed
    expect(page.locator("#steps .validation-error").first).to_contain_text("got 3.7")
    screenshot(page, "wrong-value")
    assert engine.loop.calls == calls
    fill(page, "steps", 2)
    run(page)
    assert page.locator("#steps .validation-error").count() == 0


def test_a_server_that_takes_its_time_is_not_asked_without_end(page: Page) -> None:
    def late(route: Route) -> None:
        page.wait_for_timeout(300)
        route.continue_()

    page.route("**/run/predict*", late)
    fill(page, "steps", 17)
    fill(page, "seed", 4242)
    until_quiet(page, most=8)
    expect(page.locator("#cost")).to_contain_text("136 evaluations in 17 UNet calls")


def test_a_page_at_rest_asks_gradio_for_nothing(page: Page) -> None:
    """An event that came by itself would now and then meet another's answer, and one of the two would be lost."""
    until_quiet(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(7000)
    assert [url for url in asked if "gradio_api" in url] == []
    assert {url.rsplit("/", 1)[1] for url in asked} == {"health"}  # how it learns of new models


def test_an_empty_field_is_a_wrong_value(page: Page) -> None:
    fill(page, "seed", "")
    expect(page.locator("#cost")).to_contain_text("seed must be a whole number from 0 to 4294967295; got nothing")


def test_hostile_text_stays_text(page: Page) -> None:
    payload = "<img src=x onerror=document.title='owned'>${document.title='owned'}{{constructor}}"
    page.locator("#model input").fill(payload)
    page.locator("#model input").press("Enter")
    expect(page.locator("#cost")).to_contain_text('got "<img src=x onerror=')
    assert page.title() == "DDIM Explorer"


def test_examples_run_in_one_click_and_eta_1_is_ddpm(page: Page) -> None:
    run(page, "text=eta 1: DDIM is DDPM")
    expect(page.locator("#steps input")).to_have_value("25")
    assert pixels(page, 0) == pixels(page, 1)
    expect(page.locator("#stage figure.difference figcaption")).to_contain_text("∞")
    run(page, "text=10 steps: DDIM clean, DDPM (σ̂) noisy")
    expect(page.locator("#stage figcaption").nth(1)).to_contain_text("DDPM(σ̂)10 steps")
    assert pixels(page, 0) != pixels(page, 1)


@pytest.mark.usefixtures("slow")
def test_a_second_run_takes_the_place_of_the_first(page: Page, engine: Engine) -> None:
    start_long_run(page, engine)
    fill(page, "steps", 4)
    page.click("#run")
    page.wait_for_function("document.querySelector('#status p').textContent.startsWith('Done')", timeout=60_000)
    expect(page.locator("#stage figcaption").first).to_contain_text("4 steps")
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
    assert page.locator("#stage small").first.inner_text() == "seed 7"
    wait_for(lambda: not engine.loop.busy)


def test_esc_with_nothing_running_changes_nothing(page: Page) -> None:
    before = status(page)
    page.locator("#run").focus()
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    assert status(page) == before != ""


def test_x_t_flip_and_difference_are_drawn_without_the_server(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    ddim, ddpm = pixels(page, 0), pixels(page, 1)
    page.click("#stage .flip")
    assert (pixels(page, 0), pixels(page, 1)) == (ddpm, ddim)
    expect(page.locator("#stage figcaption").first).to_contain_text("showing DDPM")
    page.click("#stage .flip")
    page.click("#stage .first")
    predicted = pixels(page, 0)
    page.click("#stage [data-view=x_t]")
    assert pixels(page, 0) != predicted
    assert engine.loop.calls == calls


def test_the_full_chain_and_ddpms_own_steps(page: Page) -> None:
    page.click("#advanced button")
    page.click("#full-chain")
    expect(page.locator("#ddpm-steps input")).to_have_value("1000")
    expect(page.locator("#cost")).to_contain_text("4040 evaluations in 1000 UNet calls")
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


def test_an_unlocked_seed_is_rolled_at_each_run_and_the_last_one_comes_back(page: Page) -> None:
    fill(page, "steps", 2)
    page.uncheck("#keep-seed input")
    run(page)
    used = page.input_value("#seed input")
    assert used != "7"
    fill(page, "seed", 1)
    page.click("#reuse")
    expect(page.locator("#seed input")).to_have_value(used)


def test_dark_and_narrow_pages_fit(browser: Browser, url: str) -> None:
    for theme, width in (("light", 390), ("dark", 390), ("dark", 1280)):
        with browser.new_context(viewport={"width": width, "height": 844}) as context:
            page = context.new_page()
            open_page(page, f"{url}/?__theme={theme}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("#run").is_visible()
            screenshot(page, f"{theme}-{width}")


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
            assert pixels(page, 0) == shown  # the same, now that nobody shares the calls
        assert [page.locator("#stage small").first.inner_text() for page in pages] == ["seed 100", "seed 200"]


def test_a_second_model_stands_beside_the_first(page: Page) -> None:
    fill(page, "steps", 3)
    page.get_by_role("button", name="Advanced").click()
    page.locator("#second-model input").fill("avatars-32")
    page.locator("#second-model input").press("Enter")
    run(page)
    labels = page.locator("#stage figcaption").all_inner_texts()
    assert any("avatars-32" in label for label in labels)
    assert pixels(page, 0) == pixels(page, 2)
    screenshot(page, "two-models")
