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
from ddim_app.ui import build_ui, first_run
from ddim_app.ui.interpolate.stored_path import LOOP
from ddim_app.ui.invert import stored_trip
from ddim_app.ui.matrix.stored_matrix import stored_matrix
from ddim_app.ui.matrix.tab import MatrixTab
from ddim_app.ui.recipe_bar import RecipeBar
from ddim_app.ui.share_texts import FORMS, text_of
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
    how = bar._opened(query, None, "Link", {"address": "http://here/"}, request)[-1]
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


def copied(bar: RecipeBar, form: str = "Link", **here: Any) -> str:
    """What a page copies of what the open tab shows."""
    request = gr.Request(session_hash="other page", headers={}, client=SimpleNamespace(host="here"))
    return bar._copied(form, {"address": "http://here/", **here}, request)


OPENS_ON = {
    "compare": first_run.RECIPE, "matrix": stored_matrix().recipe, "interpolate": LOOP,
    "invert": stored_trip.recipe(),
}  # fmt: skip
"""What the tabs show before anything was run."""


@pytest.mark.parametrize("tab", OPENS_ON)
def test_before_any_run_a_tab_gives_what_it_opens_with_and_the_link_opens_there(bar: RecipeBar, tab: str) -> None:
    link = copied(bar, tab=tab)
    assert read_text(link).recipe == OPENS_ON[tab]
    told = opened(bar, link.partition("?")[2])
    assert told is not None
    assert told["tab"] == tab
    for form in FORMS:
        assert copied(bar, form, tab=tab)


def test_a_run_of_one_tab_is_not_what_another_copies(bar: RecipeBar) -> None:
    kept, table = bar.runs.run_history, Recipe(arms=(Arm(steps=2), Arm(steps=4)), model="tiny")
    kept.choose("other page", table, MatrixTab.title)
    try:
        assert json.loads(copied(bar, "JSON", tab="matrix")) == json.loads(table.to_json())
        for tab in OPENS_ON.keys() - {"matrix"}:
            assert json.loads(copied(bar, "JSON", tab=tab)) == json.loads(OPENS_ON[tab].to_json())
    finally:
        kept.forget("other page")


def test_after_a_reload_compare_alone_shows_its_run_of_before(bar: RecipeBar) -> None:
    request = gr.Request(session_hash="other page", headers={}, client=SimpleNamespace(host="here"))
    before = Recipe(arms=(Arm(steps=3), Arm(method="ddpm", steps=3)), model="tiny", seed=5)
    try:
        copy = bar._opened("", {"again": True, "recipe": before.to_json()}, "JSON", {"tab": "compare"}, request)[-2]
        assert copy == copied(bar, "JSON", tab="compare") == before.to_json()
        assert copied(bar, "JSON", tab="matrix") == stored_matrix().recipe.to_json()
    finally:
        bar.runs.run_history.forget("other page")


def test_stored_pictures_of_compare_are_copied_by_their_settings(bar: RecipeBar) -> None:
    compare = next(tab for tab in bar.tabs if tab.name == "compare")
    named = {name: field.value for name, field in zip([*compare.settings.fields, "more_arms"], compare.inputs, strict=True)}
    shown = {**named, "steps": 20, "eta": 0.5, "variance": "large"}
    recipe = read_text(copied(bar, stored=shown)).recipe
    assert recipe.arms == (Arm(steps=20, eta=0.5), Arm(method="ddpm", steps=20, variance="large"))
    assert (recipe.seed, recipe.pictures, recipe.precision) == (7, 4, "fp32")
    assert copied(bar, stored=shown, tab="matrix") == copied(bar, tab="matrix")


def test_learn_gives_a_link_to_its_chapter(bar: RecipeBar) -> None:
    assert copied(bar, tab="learn") == "http://here/#learn-noise-comes-in"
    assert copied(bar, tab="learn", chapter="family") == "http://here/#learn-the-family-eta"
    assert copied(bar, "Python", tab="learn") == "# There is no run of Learn yet: press Run there first."


@pytest.mark.parametrize("here", [None, 7, [], {"tab": []}, {"stored": {"steps": "x"}}, {"stored": 7}, {"address": {}}])
def test_whatever_a_page_says_is_open_something_is_copied(bar: RecipeBar, here: Any) -> None:
    request = gr.Request(session_hash="other page", headers={}, client=SimpleNamespace(host="here"))
    assert read_text(bar._copied("Link", here, request)).recipe.arms == first_run.RECIPE.arms
    chapter = {"tab": "learn", "chapter": here, "address": here}
    assert bar._copied("Link", chapter, request) == "http://127.0.0.1:7860/#learn-noise-comes-in"


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
