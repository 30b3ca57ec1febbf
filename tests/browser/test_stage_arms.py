"""A stage of one arm to eight, alone on a page: what moves together, is compared, flipped, and said."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from ddim_app.ui.components import stage
from ddim_app.ui.theme import launch_options
from tests.browser.page import screenshot
from tests.browser.visitor import PAYLOADS, READ, pixels, scrub
from tests.ui.stages import frames_of, plan_of


@contextmanager
def staged(browser: Browser, *steps: int, labels: tuple[str, ...] = (), pictures: int = 2, side: int = 8) -> Iterator[Page]:
    """A page that holds a stage alone, with a run of as many arms as `steps`."""
    plan = plan_of(*steps, pictures=pictures, side=side)
    reel = stage.StageFrames(plan, "a run")
    colours = torch.linspace(-1, 1, len(steps))
    for frame in frames_of(plan, lambda k: torch.full((1, 1, 1, 1), k / 100)):
        x = (frame.x_t + colours[frame.arm]).clamp(-1, 1)
        reel.add([frame._replace(x_t=x, pred_x0=-x)])
    tape = reel.complete(plan.recipe)
    for arm, label in zip(tape["arms"], labels, strict=False):
        arm["label"] = arm["name"] = label
    with gr.Blocks(title="stage") as demo:
        stage.component(tape)
        stage.replay()
    _, address, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **launch_options())
    try:
        with browser.new_context(viewport={"width": 1000, "height": 700}) as context:
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("#stage .arms[aria-busy=false]")
            yield page
    finally:
        demo.close(verbose=False)


def test_a_single_arm_has_no_difference_and_nothing_to_flip(browser: Browser) -> None:
    with staged(browser, 5) as page:
        expect(page.locator("#stage .arm")).to_have_count(1)
        for hidden in (".flip", ".differs", ".versus"):
            expect(page.locator(f"#stage {hidden}")).to_be_hidden()
        scrub(page).press("Home")
        assert page.evaluate(READ).startswith("step 1 of 5")


def test_the_last_frame_is_what_was_made_and_those_before_are_what_was_predicted(browser: Browser) -> None:
    """The two differ where the last step adds noise."""
    shown = "document.querySelector('#stage canvas').getContext('2d').getImageData(0, 0, 1, 1).data[0]"
    with staged(browser, 5) as page:
        assert page.evaluate(shown) < 30
        scrub(page).press("ArrowLeft")
        assert page.evaluate(shown) > 225
        scrub(page).press("ArrowRight")
        assert page.evaluate(shown) < 30
        last = page.locator("#replay .film canvas").last
        assert last.evaluate("canvas => canvas.getContext('2d').getImageData(0, 0, 1, 1).data[0]") < 30


def test_eight_arms_move_together_each_can_be_compared_with_the_first(browser: Browser) -> None:
    steps = (20, 5, 20, 20, 20, 20, 20, 20)
    with staged(browser, *steps, labels=tuple(f"arm {i}" for i in range(8))) as page:
        expect(page.locator("#stage .arm")).to_have_count(8)
        scrub(page).press("Home")
        scrub(page).fill("10")
        wheres = page.locator("#stage .where").all_inner_texts()
        assert wheres[0].startswith("step 11 of 20 · t ")
        assert wheres[1].startswith("step 3 of 5 · t ")
        expect(page.locator("#replay .about")).to_contain_text("NFE 11 | 3 | 11")
        scrub(page).press("End")
        shown = [pixels(page, arm) for arm in range(8)]
        page.click("#stage .flip")
        assert [pixels(page, arm) for arm in range(8)] == shown[1:] + shown[:1]
        page.click("#stage .differs")
        first = page.inner_text("#stage .difference figcaption")
        page.select_option("#stage .other", "7")
        assert page.inner_text("#stage .difference figcaption") != first
        expect(page.locator("#stage .difference canvas").first).to_have_attribute("aria-label", re.compile("arm 0 and arm 7"))
        screenshot(page, "stage-8-arms")


def test_labels_are_text_whatever_they_hold(browser: Browser) -> None:
    with staged(browser, 3, 3, 3, labels=PAYLOADS) as page:
        assert page.locator("#stage .arm figcaption b").all_inner_texts() == list(PAYLOADS)
        page.click("#stage .flip")
        assert page.locator("#stage .other option").all_inner_texts() == list(PAYLOADS[1:])
        assert page.locator("#stage img").count() == 0
        assert page.title() == "stage"


@pytest.mark.parametrize(("side", "shown", "drawn"), [(100, 192, "auto"), (128, 128, "pixelated"), (256, 192, "auto")])
def test_a_pixel_is_a_whole_number_of_the_screens_or_drawn_smoothly(browser: Browser, side: int, shown: int, drawn: str) -> None:
    with staged(browser, 2, 2, pictures=4, side=side) as page:
        page.set_viewport_size({"width": 1280, "height": 900})
        canvas = page.locator("#stage .arm canvas")
        page.wait_for_function(f"document.querySelector('#stage .arm canvas').clientWidth === {shown}")
        expect(canvas.first).to_have_css("image-rendering", drawn)
        first, *_, last = (each.bounding_box() for each in page.locator("#stage .arm").first.locator(".cell").all())
        assert first
        assert last
        assert (last["x"] + last["width"] - first["x"], last["y"] + last["height"] - first["y"]) == (388, 388)
        canvas.first.click()
        true_size = page.locator("#stage dialog canvas")
        if side > 192:
            expect(true_size).to_be_visible()
            assert true_size.evaluate("canvas => canvas.clientWidth") == side
        else:
            expect(true_size).to_be_hidden()
