"""What is stored of another model than the bundled one, in a headless browser: made once, and then dragged without a server."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from ddim_app.models.catalogue import ROOT
from ddim_app.studies import stored_sets
from ddim_app.studies.set_cache import SetCache
from ddim_app.ui.compare import model_sets
from ddim_app.ui.compare.ladder import Ladder
from tests.browser.page import asked_of_server, open_page, until_quiet
from tests.wire import served, wait_for

HOST = Options(host="127.0.0.1", stored_sets=10)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of a machine on which the set of digits-32 was made for its first visitor, of few evaluations."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("DDIM_CACHE", str(folder))
        patch.setattr(model_sets, "PAUSE", 0)
        patch.setattr(model_sets, "STEPS", (3, 5, 10))
        of = stored_sets.Extent.of.__func__  # all T steps of each row would take minutes

        def few(cls: type, model: object, steps: tuple[int, ...], **given: object) -> stored_sets.Extent:
            return cls((*steps, 20), clip=of(cls, model, steps).clip, **given)

        patch.setattr(stored_sets.Extent, "of", classmethod(few))
        yield folder


@pytest.fixture(scope="module")
def visited(browser: Browser, cache: Path) -> Path:
    """The same, once the first visitor has chosen the model in a page and stayed until its set was made."""
    engine = Engine([ROOT / "weights"], allow_hub=False)
    with served(engine, HOST) as url, browser.new_context() as context:
        page = context.new_page()
        open_page(page, url)
        choose(page)
        wait_for(lambda: bool(list(SetCache().folder.glob("*.json"))), 120)
    return cache


def choose(page: Page, name: str = "digits-32") -> None:
    page.click("#model input")
    page.get_by_role("option", name=name).click()


def drag(page: Page) -> list[str]:
    """Drags Steps over stored stops; what the page has asked of the server meanwhile."""
    with asked_of_server(page) as asked:
        place = page.locator("#steps [role=slider]").bounding_box()
        assert place is not None
        y = place["y"] + place["height"] / 2
        page.mouse.move(place["x"] + place["width"] / 3, y)
        page.mouse.down()
        for part, steps in ((0.16, 3), (0.24, 5), (1 / 3, 10)):
            page.mouse.move(place["x"] + part * place["width"], y)
            expect(page.locator("#stage figcaption").first).to_contain_text(f"{steps} steps")
            expect(page.locator("#replay .read")).to_contain_text("stored, fp32")
            expect(page.locator("#stage .far").first).to_contain_text("of 255 from its own 20 steps")
        return list(asked)


def test_a_second_visitor_of_another_server_drags_without_asking(visited: Path, browser: Browser) -> None:
    engine = Engine([ROOT / "weights"], allow_hub=False)
    with served(engine, HOST) as url, browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, url, live=True)
        with page.expect_response("**/stored/*.png"):
            choose(page)
        expect(page.locator("#ladder .about")).to_contain_text("its own row at 20 steps")
        expect(page.locator("#ladder .note")).to_contain_text("With all 20 steps DDPM is at least as good.")
        expect(page.locator("#ladder .cell img")).to_have_count(8)
        wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
        until_quiet(page)
        calls = engine.loop.calls
        assert drag(page) == []
        assert engine.loop.calls == calls
        expect(page.locator("#stage .arm canvas")).to_have_count(8)


def test_a_page_that_opens_on_the_model_shows_it(visited: Path, browser: Browser) -> None:
    engine = Engine([ROOT / "weights"], allow_hub=False, first_model="digits-32")
    with served(engine, HOST) as url, browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, url, live=True)
        expect(page.locator("#ladder .about")).to_contain_text("its own row at 20 steps")
        expect(page.locator("#replay .read")).to_contain_text("stored, fp32")
        until_quiet(page)
        assert drag(page) == []
        assert engine.loop.calls == 0


def test_a_host_that_runs_nothing_unasked_shows_what_is_there(visited: Path, browser: Browser) -> None:
    engine = Engine([ROOT / "weights"], allow_hub=False)
    with served(engine, replace(HOST, live=False)) as url, browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, url, live=True)
        choose(page)
        expect(page.locator("#ladder .about")).to_contain_text("its own row at 20 steps")
        expect(page.locator("#stage .far").first).to_contain_text("of 255 from its own 20 steps")
        assert engine.loop.calls == 0


def test_a_closed_page_has_none_made(cache: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, connect, keep = list[Ladder](), Ladder.connect, SetCache.keep_piece
    piece, closed = threading.Event(), threading.Event()

    def held(self: SetCache, *given: Any) -> None:
        """Keeps the first piece, and lets the next begin once the page is closed."""
        keep(self, *given)
        piece.set()
        closed.wait(60)

    monkeypatch.setattr(SetCache, "keep_piece", held)
    monkeypatch.setattr(model_sets, "LINGER", 0)
    monkeypatch.setattr(Ladder, "connect", lambda self: kept.append(self) or connect(self))
    engine = Engine([ROOT / "weights"], allow_hub=False)
    with served(engine, HOST) as url:
        with browser.new_context() as context:
            page = context.new_page()
            open_page(page, url)
            choose(page, "avatars-64")
            wait_for(piece.is_set)
        wait_for(lambda: all(shown.until < time.monotonic() for shown in kept[0].sets._pages.values()))
        closed.set()
        wait_for(lambda: kept[0].sets._thread is None)
    assert len(list(SetCache().folder.glob("*.npz"))) == 1
