"""What a page that was opened by a link begins with, and what a link says."""

import json
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ddim_app.engine import Engine
from ddim_app.engine.limits import Budget
from ddim_app.engine.options import read
from ddim_app.engine.zero_gpu import ZeroEngine
from ddim_app.runs.codecs import read_text
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.recipe_bar import RecipeBar
from ddim_app.ui.share_texts import text_of
from tests.wire import served
from tests.zero import Lender

COMPARED = "v=1&model=tiny&seed=3&pictures=2&steps=4&arm=method:ddpm"
"""16 evaluations."""


@pytest.fixture(scope="module")
def bar(tiny_root: Path) -> RecipeBar:
    """The recipe bar of a page."""
    kept: list[RecipeBar] = []
    connect = RecipeBar.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecipeBar, "connect", lambda self, demo: kept.append(self) or connect(self, demo))
        build_ui(Engine([tiny_root], allow_hub=False))
    return kept[0]


def opened(bar: RecipeBar, query: str) -> dict[str, Any] | None:
    """What the script of a page is told that has this query in its address."""
    request = gr.Request(session_hash="page", headers={}, client=SimpleNamespace(host="here"))
    how = bar._opened(query, None, "Link", "http://here/", request)[-1]
    return json.loads(how) if how else None


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (COMPARED, {"tab": "compare", "press": "run"}),
        ("model=tiny&steps=2&arm=steps:4&arm=steps:2,eta:1&arm=steps:4", {"tab": "matrix", "press": "run-matrix"}),
        ("model=tiny&steps=2", {"tab": "compare", "press": "run-exactly"}),
        ("model=elsewhere/faces&steps=2&arm=method:ddpm", {"tab": "compare", "press": None}),  # not here
        ("steps=0", None),
        ("utm_source=x", None),
        ("", None),
    ],
)
def test_a_link_opens_its_tab_and_runs_what_the_fields_or_the_recipe_say(bar: RecipeBar, query: str, told: Any) -> None:
    assert opened(bar, query) == told
    assert bar.runs.engine.loop.calls == 0


@pytest.mark.parametrize(("most", "press"), [(None, "run"), (16, "run"), (15, None)])
def test_the_hosts_budget_for_links_decides(
    bar: RecipeBar, monkeypatch: pytest.MonkeyPatch, most: int | None, press: str | None
) -> None:
    monkeypatch.setattr(bar.runs.engine, "budget", Budget(max_link_evaluations=most))
    assert opened(bar, COMPARED) == {"tab": "compare", "press": press}


def test_where_nothing_runs_unasked_no_link_does(bar: RecipeBar, tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, lender = {"tab": "compare", "press": None}, Lender()
    monkeypatch.setattr(bar.runs, "is_live", False)
    assert opened(bar, COMPARED) == settings
    monkeypatch.setattr(bar.runs, "is_live", True)
    monkeypatch.setattr(bar.runs, "engine", ZeroEngine([tiny_root], allow_hub=False, gpu=lender.GPU))
    assert opened(bar, COMPARED) == settings
    assert lender.asked == []


def test_the_budget_for_links_is_an_option() -> None:
    assert read([], {}).budget.max_link_evaluations is None
    assert read(["--hosted"], {}).budget.max_link_evaluations == 2000
    assert read(["--max-link-evaluations", "50"], {}).budget.max_link_evaluations == 50


def test_who_only_fetches_the_address_has_nothing_run(tiny_root: Path) -> None:
    """As those do who show a preview of a link."""
    engine = Engine([tiny_root], allow_hub=False)
    with served(engine) as address:
        for method in ("HEAD", "GET"):
            request = urllib.request.Request(f"{address}/?{COMPARED}", method=method, headers={"User-Agent": "Slackbot 1.0"})
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 200
                answer.read()
        assert (engine.loop.calls, engine.request_log.counters.total()) == (0, 0)


def test_a_link_names_version_model_and_the_start_of_the_hash(tiny_root: Path) -> None:
    engine = Engine([tiny_root], allow_hub=False)
    recipe = Recipe(arms=(Arm(steps=4), Arm(method="ddpm", steps=4)), model="tiny", seed=3, pictures=2)
    sha256 = engine.model("tiny").sha256
    address = text_of(engine, recipe, "Link", "http://here/")
    assert address == f"http://here/?{COMPARED}&weights={sha256[:8]}"
    assert text_of(engine, recipe.made({"tiny": sha256}), "Link", "http://here/") == address
    assert read_text(address).recipe == recipe.made({"tiny": sha256[:8]})
    other = Recipe(arms=(Arm(), Arm(model="tiny")), weights="a" * 64)
    assert text_of(engine, other, "Link", "http://here/") == (
        f"http://here/?v=1&model=avatars-32&arm=model:tiny,weights:{sha256[:8]}&weights={'a' * 8}"
    )


def test_links_of_before_open_as_ever(tiny_root: Path) -> None:
    recipe = Recipe(arms=(Arm(steps=4), Arm(method="ddpm", steps=4)), model="tiny", seed=3, pictures=2)
    sha256 = Engine([tiny_root], allow_hub=False).model("tiny").sha256
    assert read_text(f"http://here/?{COMPARED}").recipe == recipe
    assert read_text(f"http://here/?{COMPARED}&weights={sha256}").recipe == recipe.made({"tiny": sha256})
