"""What a stranger writes into a field is shown as text."""

from playwright.sync_api import Page, expect


def test_markup_in_a_field_shows_as_text(page: Page) -> None:
    markup = '<img src=x onerror="window.hit = 1">'
    page.locator("#advanced > button").click()
    page.get_by_label("Noise seed").fill(markup)
    page.get_by_label("Noise seed").press("Tab")
    expect(page.locator("#cost p")).to_contain_text("<img src=x")
    assert page.evaluate("window.hit") is None
    assert page.locator("#cost img").count() == 0
