"""The Learn tab, driven as a visitor would: one story in chapters, its world of two numbers, and what goes deeper."""

import re
import threading
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.ui.learn.inversion_panel import InversionPanel
from tests.browser.learning import go, open_learn
from tests.browser.page import open_page, screenshot, until_quiet
from tests.browser.visitor import fill
from tests.wire import wait_for

LINES = """where => {
  const drawn = document.querySelectorAll(`#${where} .plot .line, #${where} .plot circle`);
  const marks = [...drawn].map(one => one.getBoundingClientRect());
  return Math.max(0, ...marks.map(box => box.right)) - Math.min(1e9, ...marks.map(box => box.left)) > 100;
}"""


def until_drawn(page: Page, where: str, words: str) -> None:
    expect(page.locator(f"#{where}")).to_contain_text(words, timeout=60_000)


def until_plotted(page: Page, where: str) -> None:
    """Waits until a chart has lines or points, and not only axes."""
    page.wait_for_function(LINES, arg=where)


def formula(page: Page, where: str) -> str:
    expect(page.locator(f"#{where} .katex").first).to_be_visible(timeout=60_000)
    return page.locator(f"#{where}").inner_text()


def test_the_tab_opens_on_stored_results_and_asks_for_no_evaluation(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_learn(page)
    formula(page, "forward-formula")
    for title, slug, where, words in (
        ("One step", "one-step", "step-figures", "direction"),
        ("The family", "the-family-eta", "family-table", "DDPM's chain"),
        ("Going back", "going-back-inversion", "inversion-table", "fixed point"),
        ("The ELBO in bits", "elbo-in-bits", "likelihood-table", "large"),
        ("Rate and distortion", "rate-and-distortion", "rate-figures", "without loss"),
    ):
        go(page, title, slug)
        until_drawn(page, where, words)
    until_plotted(page, "inversion-chart")
    until_plotted(page, "likelihood-chart")
    until_quiet(page)
    assert engine.loop.calls == calls
    screenshot(page, "learn")


def test_the_chapters_of_the_story_follow_their_sliders(page: Page, engine: Engine) -> None:
    open_learn(page)
    page.locator("#chapter-forward").get_by_role("button", name="about 500").click()
    until_drawn(page, "chapter-forward", "About 250. At t = 258")
    expect(page.locator("#contents .done")).to_have_count(1)
    before = page.locator("#forward-figures img").last.get_attribute("src")
    fill(page, "forward-t", 600)
    until_drawn(page, "forward-figures", "t = 600")
    assert page.locator("#forward-figures img").last.get_attribute("src") != before
    until_plotted(page, "forward-chart")
    fill(page, "forward-t", 1000)
    expect(page.locator("#learn-note")).to_contain_text("t must be a whole number from 0 to 999; got 1000")

    page.locator("#contents").get_by_role("button", name="Settings").click()
    go(page, "The family", "the-family-eta")
    expect(page.locator("#family-figures .row")).to_have_count(2)  # eta 0 and 1
    fill(page, "eta", 0.5)
    until_drawn(page, "family-figures", "η = 0.5")
    page.locator("#proof-4 button").first.click()
    expect(page.locator("#proof-4 .katex").first).to_be_visible()

    calls = engine.loop.calls
    go(page, "One step", "one-step")  # which follows the settings as it comes into sight
    expect(page.locator("#step-formula")).to_contain_text("0.5")
    wait_for(lambda: engine.loop.calls - calls == 1)
    go(page, "Going back", "going-back-inversion")
    fill(page, "inversion-steps", 4)
    until_drawn(page, "inversion-table", "4 steps up and 4 down")


def test_an_answer_that_takes_its_time_does_not_come_after_a_newer_one(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    show, begun = InversionPanel.show, threading.Event()

    def late(panel: InversionPanel, scene: Any, *values: Any) -> list[Any]:
        answer = show(panel, scene, *values)
        if values[0] == 10:
            begun.set()
            time.sleep(1)
        return answer

    monkeypatch.setattr(InversionPanel, "show", late)
    open_learn(page)
    page.locator("#contents").get_by_role("button", name="Settings").click()
    fill(page, "eta", 0.5)
    go(page, "Going back", "going-back-inversion")  # where it is filled anew
    wait_for(begun.is_set)
    fill(page, "inversion-steps", 4)
    until_drawn(page, "inversion-table", "4 steps up and 4 down")
    until_quiet(page)
    expect(page.locator("#inversion-table")).to_contain_text("4 steps up and 4 down")


def test_what_goes_deeper_computes_as_it_comes_into_sight_or_is_run(page: Page) -> None:
    open_learn(page)
    page.locator("#contents").get_by_role("button", name="Settings").click()
    go(page, "Schedules", "schedules")
    fill(page, "steps-learn", 5)
    until_drawn(page, "schedule-formula", "for the 5 chosen timesteps")
    until_plotted(page, "schedule-marks")
    go(page, "Denoising", "denoising-a-picture")
    until_drawn(page, "denoise-once", "one evaluation")
    page.click("#run-denoise")
    until_drawn(page, "denoise-chain", "the end")
    page.click("#run-progress")
    until_drawn(page, "progress-figures", "the end")
    go(page, "The ELBO in bits", "elbo-in-bits")
    page.click("#run-likelihood")
    until_drawn(page, "likelihood-table", "100 evaluations")
    go(page, "Losses", "losses-l-simple")
    until_plotted(page, "losses-weights")
    until_plotted(page, "losses-chart")
    go(page, "Variances", "variances")
    fill(page, "variance-s", 0)
    until_drawn(page, "variance-formula", "lies 0 %")
    go(page, "Score", "score-and-ode")
    until_drawn(page, "score-figures", "|score|")
    page.click("#run-score")
    until_drawn(page, "score-ends", "100 steps")


def test_the_world_answers_its_controls_and_says_what_its_numbers_bear_out(page: Page, engine: Engine) -> None:
    calls = engine.loop.calls
    open_learn(page)
    world, head = page.locator("#world"), page.locator("#chapter-world")
    head.get_by_role("button", name="Both").click()
    expect(head.locator(".answer")).to_contain_text("DDIM. DDIM’s paths are nearly straight")
    world.get_by_role("slider", name="Steps").press("End")
    expect(head.locator(".question")).to_contain_text("With 250 steps")
    world.get_by_role("button", name=re.compile("^16 steps")).click()
    expect(head.locator(".answer")).to_contain_text("Both. ")
    expect(world.locator(".note")).to_contain_text("Step 12 of 16")
    world.get_by_role("button", name="The next step").click()
    expect(world.locator(".note")).to_contain_text("Step 13 of 16")
    world.get_by_role("button", name="Two moons").click()
    expect(head.locator(".answer")).to_contain_text("to another moon")
    for other in ("Other starts", "Other step noise"):
        before = head.locator(".answer").inner_text()
        world.get_by_role("button", name=other).click()
        expect(head.locator(".answer")).not_to_have_text(before)
    world.get_by_role("spinbutton").fill("300")
    expect(world.locator(".wrong")).to_contain_text("steps must be a whole number from 1 to 250; got 300")
    world.get_by_role("spinbutton").fill("8")
    expect(world.locator(".wrong")).to_be_hidden()
    expect(head.locator(".question")).to_contain_text("With 8 steps")
    world.get_by_role("button", name="Play").click()
    expect(world.locator("figcaption").first).to_contain_text("t = ")
    expect(world.get_by_role("button", name="Play")).to_be_visible()  # it has ended
    assert engine.loop.calls == calls


def test_a_press_or_a_key_puts_a_cloud(page: Page) -> None:
    open_learn(page)
    world = page.locator("#world")
    world.get_by_role("button", name="Your own").click()
    canvas = world.locator(".worlds canvas").first
    around = "() => document.querySelector('#world').querySelector('.worlds canvas').getAttribute('aria-label')"
    page.wait_for_function("document.querySelector('#chapter-world .question').textContent.includes('With 8 steps')")
    before = page.evaluate(around)
    canvas.click(position={"x": 200, "y": 60})
    page.wait_for_function(f"({around})() !== {before!r}")
    before = page.evaluate(around)
    canvas.press("ArrowUp")
    canvas.press("Enter")
    page.wait_for_function(f"({around})() !== {before!r}")
    screenshot(page, "learn-own")


def test_a_link_opens_its_chapter_and_a_chapter_opens_compare(browser: Browser, url: str) -> None:
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        page.goto(f"{url}/#learn-why-few-steps")
        expect(page.get_by_role("heading", name="Why few steps are enough", exact=True)).to_be_in_viewport(timeout=60_000)
        expect(page.locator("#contents [aria-current]")).to_contain_text("Why few steps")
        page.locator("#onward-world").get_by_role("link", name="The family").click()
        expect(page.get_by_role("heading", name="The family: η", exact=True)).to_be_in_viewport()
        page.locator("#onward-family").get_by_role("button", name="Compare").click()
        expect(page.locator("#stage")).to_be_in_viewport()
        expect(page.locator("#eta .exact")).to_have_value("0.5")
        page.emulate_media(media="print")
        assert not page.locator("#header").is_visible()


def test_the_contents_are_walked_by_keys_and_what_is_printed_is_no_control(alone: Page) -> None:
    open_learn(alone)
    expect(alone.locator("#of-forward")).to_have_text("Picture: sample 1, the bundled model's of seed 7.")
    links = alone.locator("#contents a")
    links.nth(2).focus()
    alone.keyboard.press("Tab")
    expect(links.nth(3)).to_be_focused()
    alone.keyboard.press("Enter")
    expect(alone.locator("#learn-eta h2, #chapter-family h2").first).to_be_focused()
    expect(alone.get_by_role("heading", name="The family: η", exact=True)).to_be_in_viewport()
    alone.keyboard.press("Tab")  # on into the chapter
    assert alone.evaluate("document.activeElement.closest('.chapter').querySelector('h2').textContent") == "The family: η"
    alone.emulate_media(media="print")
    chapters = alone.locator("#chapters .chapter")
    assert chapters.count() == links.count()
    for i in range(chapters.count()):
        expect(chapters.nth(i)).to_be_visible()
    for control in ("[role=slider]", "input", "button.run-chapter", ".options button", "select"):
        assert alone.locator(f"#chapters {control} >> visible=true").count() == 0, control
    for control in (".controls label", "[type=radio] + span", "#symbols"):  # nor a name of one, or a fold
        assert alone.locator(f"#chapters {control} >> visible=true").count() == 0, control
    assert alone.locator("#chapters .plot:empty >> visible=true").count() == 0
    notes = alone.locator(".chapter").evaluate_all("nodes => nodes.map(node => getComputedStyle(node, '::after').content)")
    assert sum("press its Run before printing" in note for note in notes) == 3  # one that has nothing to print says so
    expect(alone.locator("#world button canvas").first).to_be_visible()
    alone.set_viewport_size({"width": 760, "height": 1000})
    cut = """() => [...document.querySelectorAll('#chapters img, #chapters canvas')].filter(node => node.offsetParent
      && node.getBoundingClientRect().right > innerWidth).length"""
    alone.wait_for_function(f"({cut})() === 0")


def test_paper_is_white_and_nothing_around_the_chapters_cuts_them(browser: Browser, url: str) -> None:
    """What is no block, or hides what overflows, ends at its height on the screen, however many pages there are."""
    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="dark") as context:
        page = context.new_page()
        open_page(page, url)
        open_learn(page)
        expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
        page.evaluate("addEventListener('beforeprint', () => { window.printed = document.body.classList.contains('dark'); })")
        pages = page.pdf(format="A4", prefer_css_page_size=True).count(b"/Type /Page\n")
        assert page.evaluate("window.printed") is False
        assert pages >= 9
        expect(page.locator("body")).to_have_class(re.compile(r"\bdark\b"))
        page.emulate_media(media="print")
        around = page.locator("#chapters").evaluate(
            """node => {
                const found = [];
                while ((node = node.parentElement)) {
                    const {display, overflowX} = getComputedStyle(node);
                    found.push(`${display}, ${overflowX}`);
                }
                return found;
            }"""
        )
        assert set(around) == {"block, visible"}
        page.emulate_media(media="screen")
        page.get_by_role("tab", name="Compare").click()
        page.emulate_media(media="print")
        expect(page.locator("#chapters")).to_be_hidden()
        expect(page.locator("#stage")).to_be_visible()


def test_the_story_on_a_phone(blank: Page, url: str, engine: Engine) -> None:
    blank.set_viewport_size({"width": 390, "height": 844})
    open_page(blank, url)
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    open_learn(blank)
    go(blank, "Why few steps", "why-few-steps")
    expect(blank.locator("#world canvas").first).to_be_visible()
    blank.locator("#chapter-world").get_by_role("button", name="DDIM").click()
    until_drawn(blank, "chapter-world", "nearly straight")
    assert blank.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = blank.locator("#world button:visible, #chapter-world button:visible").evaluate_all(
        "nodes => nodes.filter(node => node.getBoundingClientRect().height < 40).map(node => node.className)"
    )
    assert small == []
    screenshot(blank, "learn-390")
