"""A headless Chromium over the real page on the bundled model."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.ui import run_tab
from ddim_app.ui.compare import ladder, live
from ddim_app.ui.invert import ways
from tests.browser.page import FLAGS, chromium, forget, opened
from tests.wire import Brake, served


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for this package's tests; it ends with them: while it is there, Playwright's loop runs in the tests' thread."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        except Exception as error:
            reason = "no Chromium: install Debian's `chromium`, or run `playwright install chromium`"
            if os.environ.get("CI"):
                pytest.fail(f"{reason} ({error})")
            pytest.skip(reason)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def brake() -> Iterator[Brake]:
    """Slows down the network calls of all pages, where a test sets its `seconds`."""
    with pytest.MonkeyPatch.context() as patch:
        brake = Brake()
        patch.setattr(backends, "predictor", brake)
        yield brake


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is never too slow for what the page makes unasked: estimates remember the brake, and other tests' load."""
    monkeypatch.setattr(live, "LIVE_SECONDS", 1e6)
    monkeypatch.setattr(ladder, "LADDER_SECONDS", 1e6)
    monkeypatch.setattr(ways, "WAYS_SECONDS", 1e6)
    monkeypatch.setattr(run_tab, "UNASKED_SECONDS", 1e6)


@pytest.fixture
def slow(brake: Brake) -> Iterator[None]:
    """Network calls slow enough that stopping between two of them is no matter of luck."""
    brake.seconds = 0.5
    yield
    brake.seconds = 0


@pytest.fixture(scope="package")
def engine(brake: Brake) -> Engine:
    return Engine(allow_hub=False)


@pytest.fixture(scope="package")
def url(engine: Engine) -> Iterator[str]:
    with served(engine) as address:
        yield address


@pytest.fixture(scope="package")
def one_tab(browser: Browser) -> Iterator[Page]:
    """One tab for tests one after the other: in a new one a third of what opening costs goes into reading the page's code anew."""
    with browser.new_context() as context:
        context.set_default_timeout(60_000)  # the page shares its cores with other tests
        yield context.new_page()


@pytest.fixture
def blank(one_tab: Page, url: str) -> Iterator[Page]:
    """The tab on a device that nobody has used, before it opens the page.

    Scripts, a clock, or media that a test gives to a page stay in its tab: such tests take `alone`.
    """
    one_tab.set_viewport_size({"width": 1280, "height": 1000})
    forget(one_tab, url)
    yield one_tab
    one_tab.unroute_all()
    one_tab.context.clear_permissions()


@pytest.fixture
def page(blank: Page, url: str, engine: Engine) -> Iterator[Page]:
    """The page as a visitor finds it. What the console calls an error is a failure of the test."""
    with opened(blank, url, engine):
        yield blank


@pytest.fixture
def alone(browser: Browser, url: str, engine: Engine) -> Iterator[Page]:
    """As `page`, in a tab of its own."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        with opened(page, url, engine):
            yield page
