"""What a visitor does on the Learn tab."""

from playwright.sync_api import Page, expect


def open_learn(page: Page) -> None:
    page.get_by_role("tab", name="Learn").click()
    page.wait_for_selector("#world canvas")


def go(page: Page, title: str, slug: str) -> None:
    """To a chapter by the contents, until it is the one in sight."""
    page.locator("#contents").get_by_role("link", name=title).click()
    expect(page.locator("#contents [aria-current]")).to_contain_text(title)
    expect(page.locator(f"#learn-{slug}")).to_be_in_viewport()
