"""What a stranger writes into a field is shown as text."""

from playwright.sync_api import Page, expect

from tests.browser.page import until_quiet


def test_markup_in_a_field_shows_as_text(page: Page) -> None:
    markup = '<img src=x onerror="window.hit = 1">'
    page.locator("#more > button").click()
    until_quiet(page, 600)  # gradio makes the fields of a fold when it is opened, and sets their values a moment later
    page.get_by_label("Noise seed").fill(markup)
    page.get_by_label("Noise seed").press("Tab")
    expect(page.locator("#noise-seed .wrong")).to_contain_text("<img src=x")
    assert page.evaluate("window.hit") is None
    assert page.locator("#side img").count() == 0
