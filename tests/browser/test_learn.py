"""The Learn tab, driven as a visitor would: every panel on one page, and the tour."""

from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from tests.browser.conftest import open_page, screenshot
from tests.browser.test_compare import fill
from tests.wire import wait_for


def open_panel(page: Page, title: str, where: str = "#panels") -> None:
    """By its tab, or where there is no room for it by the menu of the others."""
    tabs = page.locator(where)
    tab = tabs.get_by_role("tab", name=title, exact=True)
    if tab.count() and tab.first.is_visible():
        tab.first.click()
    else:
        tabs.locator(".overflow-menu > button").first.click()
        tabs.locator(".overflow-dropdown button", has_text=title).click()


def drawn(page: Page, where: str) -> int:
    return int(page.locator(f"#{where} [data-drawn]").get_attribute("data-drawn") or 0)


def until_drawn(page: Page, where: str, words: str) -> None:
    expect(page.locator(f"#{where}")).to_contain_text(words, timeout=60_000)


LINES = """where => {
  const marks = [...document.querySelectorAll(`#${where} svg .plot_marks`)].map(one => one.getBoundingClientRect().width);
  return Math.max(0, ...marks) > 100 && document.querySelectorAll(`#${where} svg .role-legend-symbol path`).length > 0;
}"""


def until_plotted(page: Page, where: str) -> None:
    """Waits until a chart has lines or points, with a legend of their colours, and not only axes."""
    page.wait_for_function(LINES, arg=where)


def run_panel(page: Page, where: str, words: str) -> None:
    page.click("#run-learn")
    until_drawn(page, where, words)


def formula(page: Page, where: str) -> str:
    expect(page.locator(f"#{where} .katex").first).to_be_visible(timeout=60_000)
    return page.locator(f"#{where}").inner_text()


def test_every_panel_shows_its_formula_with_numbers_and_what_the_model_makes_of_it(page: Page, engine: Engine) -> None:
    page.get_by_role("tab", name="Learn").click()

    open_panel(page, "1 Forward")
    formula(page, "forward-formula")
    until_drawn(page, "forward-figures", "t = 250")
    before = page.locator("#forward-figures img").last.get_attribute("src")
    fill(page, "forward-t", 600)
    until_drawn(page, "forward-figures", "t = 600")
    assert page.locator("#forward-figures img").last.get_attribute("src") != before
    until_drawn(page, "forward-table", "variance")
    until_plotted(page, "forward-chart")
    fill(page, "forward-t", 1000)
    expect(page.locator("#learn-note")).to_contain_text("t must be a whole number from 0 to 999; got 1000")
    screenshot(page, "learn-forward")

    open_panel(page, "2 DDIM forward")
    until_drawn(page, "family-table", "DDPM's chain")
    expect(page.locator("#family-figures .row")).to_have_count(2)  # eta 0 and 1
    fill(page, "eta", 0.5)
    until_drawn(page, "family-figures", "η = 0.5")
    page.locator("#proof-4 button").first.click()
    expect(page.locator("#proof-4 .katex").first).to_be_visible()
    page.locator("#mistakes button").first.click()
    expect(page.locator("#mistakes td .katex").first).to_be_visible()
    screenshot(page, "learn-family")

    open_panel(page, "3 Schedule")
    formula(page, "schedule-formula")
    fill(page, "steps", 5)
    until_drawn(page, "schedule-formula", "for the 5 chosen timesteps")
    until_plotted(page, "schedule-chart")
    until_plotted(page, "schedule-marks")
    screenshot(page, "learn-schedule")

    calls = engine.loop.calls
    open_panel(page, "4 One step")
    until_drawn(page, "step-figures", "direction")
    assert engine.loop.calls - calls == 1
    expect(page.locator("#step-figures img")).to_have_count(8)
    screenshot(page, "learn-step")

    open_panel(page, "5 Denoise")
    until_drawn(page, "denoise-once", "one evaluation")
    run_panel(page, "denoise-chain", "the end")
    screenshot(page, "learn-denoise")

    open_panel(page, "6 Progressive")
    formula(page, "progress-formula")
    run_panel(page, "progress-figures", "the end")
    screenshot(page, "learn-progress")

    open_panel(page, "7 Likelihood")
    formula(page, "likelihood-formula")
    run_panel(page, "likelihood-table", "large")
    until_drawn(page, "likelihood-table", "100 evaluations")
    screenshot(page, "learn-likelihood")

    open_panel(page, "8 Rate")  # filled by the same run
    until_drawn(page, "rate-figures", "without loss")
    screenshot(page, "learn-rate")

    open_panel(page, "9 Losses")
    formula(page, "losses-formula")
    until_plotted(page, "losses-weights")
    until_plotted(page, "losses-chart")
    screenshot(page, "learn-losses")

    open_panel(page, "10 Variances")
    assert "0.3" in formula(page, "variance-formula")
    fill(page, "variance-s", 0)
    until_drawn(page, "variance-formula", "lies 0 %")
    until_plotted(page, "variance-chart")
    screenshot(page, "learn-variance")

    open_panel(page, "11 Score")
    until_drawn(page, "score-figures", "|score|")
    run_panel(page, "score-ends", "100 steps")
    screenshot(page, "learn-score")


def test_a_panel_that_has_no_run_says_so_and_only_the_open_one_computes(page: Page, engine: Engine) -> None:
    page.get_by_role("tab", name="Learn").click()
    open_panel(page, "4 One step")
    until_drawn(page, "step-figures", "direction")
    page.click("#run-learn")
    expect(page.locator("#side")).to_contain_text("has nothing to run")
    open_panel(page, "10 Variances")
    formula(page, "variance-formula")
    calls = engine.loop.calls
    fill(page, "eta", 0.25)
    fill(page, "variance-s", 1)
    until_drawn(page, "variance-formula", "lies 100 %")
    assert engine.loop.calls == calls


def test_the_tour_goes_round_on_a_phone(browser: Browser, url: str, engine: Engine) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}) as context:
        page = context.new_page()
        open_page(page, url)
        wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
        open_panel(page, "Learn", "#tabs")
        for stop in range(6):
            heading = page.get_by_role("heading", name=f"{stop + 1}. ")
            expect(heading).to_be_visible()
            page.locator(f"#answer-{stop} button").first.click()
            expect(page.locator(f"#answer-{stop} p").first).to_be_visible()
            screenshot(page, f"learn-tour-{stop + 1}")
            page.click(f"#next-{stop}")
        expect(page.get_by_role("heading", name="1. ")).to_be_visible()
        page.click("#open-forward")
        until_drawn(page, "forward-figures", "t = 250")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        screenshot(page, "learn-forward-390")
