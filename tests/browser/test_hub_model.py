"""A new user's way to a model of the Hub: paste the address of its page, wait while it says how far it is, look at the pictures."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect

from ddim_app.engine import Engine
from tests.browser.classes import choose
from tests.browser.page import open_page, screenshot
from tests.browser.visitor import fill, run
from tests.models import fake_hub as hub_server
from tests.models.fake_hub import FakeHub
from tests.models.hub_table import PICKLED, celebahq
from tests.wire import served

LISTEN = """() => { window.said = []; const words = document.querySelector('#status p');
  new MutationObserver(() => said.push(words.textContent)).observe(words, {childList: true, characterData: true}); }"""


@pytest.fixture
def hub(fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A Hub with two models whose weights are pickled: one as google's of 2022, and one whose pickle calls a function."""
    for name in ("ddpm-celebahq-256", "ddpm-hostile"):
        (tmp_path / name).mkdir()
        celebahq(tmp_path / name)
        (tmp_path / name / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        fake_hub.repositories[f"google/{name}"] = tmp_path / name
    torch.save({"conv_in.weight": print}, tmp_path / "ddpm-hostile" / PICKLED)
    monkeypatch.setattr(hub_server, "CHUNK", 60_000)
    fake_hub.pause = 0.3
    return fake_hub


@pytest.fixture
def visit(browser: Browser, hub: FakeHub, tiny_root: Path) -> Iterator[Page]:
    with served(Engine([tiny_root])) as address, browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        open_page(page, address)
        yield page


def test_the_address_of_its_page_is_pasted_and_it_draws(visit: Page, hub: FakeHub) -> None:
    choose(visit, "#model", " https://huggingface.co/google/ddpm-celebahq-256/tree/main ")
    expect(visit.locator("#model input")).to_have_value("google/ddpm-celebahq-256")
    expect(visit.locator("#cost")).to_have_text("This model is downloaded when you run it.")
    expect(visit.locator("#ladder .ladder")).to_have_class(re.compile("stale"))
    expect(visit.locator("#stage .arm .stale")).to_have_count(8)
    assert not hub.fetched()
    fill(visit, "steps", 3)
    visit.evaluate(LISTEN)
    run(visit)
    said, size = visit.evaluate("said"), megabytes(hub)
    assert f"Downloading google/ddpm-celebahq-256 from the Hugging Face Hub: {size}, licence apache-2.0" in said
    assert sum(words.endswith(f"B of {size}") for words in said) > 1, said
    assert any("is converted from a pickle; nothing in it was run" in words for words in said), said
    assert any("is loaded: what fits into memory is measured once, then the first of 3 steps" in words for words in said), said
    expect(visit.locator("#recipe")).to_contain_text("google/ddpm-celebahq-256 ·")
    expect(visit.locator("#licence")).to_have_text("Licence: apache-2.0")
    expect(visit.locator("#cost")).to_contain_text("24 evaluations")
    screenshot(visit, "hub-model")


def megabytes(hub: FakeHub) -> str:
    return f"{(hub.repositories['google/ddpm-celebahq-256'] / PICKLED).stat().st_size / 1e6:.1f} MB"


def test_one_that_is_refused_after_its_download_is_marked_at_its_field(visit: Page, hub: FakeHub) -> None:
    choose(visit, "#model", "google/ddpm-hostile")
    visit.click("#run")
    mark = visit.locator("#model .wrong")
    expect(mark).to_contain_text(f"Model google/ddpm-hostile: {PICKLED} is a pickle, and is not opened")
    expect(visit.locator("#status")).to_contain_text("is not opened")
    expect(visit.locator("#run")).to_be_visible()
    fill(visit, "steps", 3)  # the mark outlives other settings, and goes with the name
    expect(visit.locator("#cost")).to_have_text("waiting for a value")
    expect(mark).to_be_visible()
    screenshot(visit, "hub-model-refused")
    choose(visit, "#model", "tiny")
    expect(mark).to_have_count(0)
    expect(visit.locator("#cost")).to_contain_text("evaluations")
