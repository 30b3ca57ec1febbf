"""The tabs and where things stand."""

from playwright.sync_api import FrameLocator, Page

TABS = {"compare": "Compare", "matrix": "Steps × η", "interpolate": "Interpolate", "invert": "Invert", "learn": "Learn"}


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=TABS[name]).click()
    page.wait_for_function("name => document.body.dataset.tab === name", arg=name)


def box(page: Page | FrameLocator, where: str) -> dict[str, float]:
    found = page.locator(where).bounding_box()
    assert found is not None
    return dict(found)
