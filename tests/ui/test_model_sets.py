"""Sets of models other than the bundled one: made in the background while a page shows them, kept, and only where they may be."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import gradio as gr
import pytest

from ddim_app.engine import Engine
from ddim_app.engine.limits import Budget
from ddim_app.engine.options import read
from ddim_app.engine.zero_gpu import ZeroEngine
from ddim_app.media.images import to_pixels
from ddim_app.models.catalogue import ROOT
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies.set_cache import SetCache
from ddim_app.studies.stored_sets import KEYS
from ddim_app.ui import build_ui
from ddim_app.ui.compare import model_sets
from ddim_app.ui.compare.ladder import Ladder
from ddim_app.ui.compare.model_sets import FEW, ModelSets
from tests.server import get
from tests.toys import save_tiny
from tests.wire import served, wait_for
from tests.zero import Lender

ROOM = 10**7
WHOLE = 24 * (1 + 2 + 3 + 5 + 7 + 10)
"""Evaluations of the set of a model of ten timesteps; a trial of ten steps of four pictures comes before."""
TRIAL = 40


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no waiting."""
    monkeypatch.setenv("DDIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_sets, "PAUSE", 0)
    monkeypatch.setattr(model_sets, "LINGER", 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_tiny(tmp_path / "models" / "ten", scheduler={"num_train_timesteps": 10})
    return tmp_path / "models"


def page(name: str = "page") -> Any:
    return SimpleNamespace(session_hash=name)


def finished(sets: ModelSets) -> None:
    wait_for(lambda: sets._thread is None)


def evaluations(engine: Engine) -> int:
    return int(engine.request_log.counters["evaluations"])


def test_it_is_made_once_and_found_by_the_next_page_and_after_a_restart(root: Path) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    assert sets.asked(page(), "ten") == gr.skip()
    finished(sets)
    assert evaluations(engine) == TRIAL + WHOLE
    again = Engine([root])
    for later in (sets, ModelSets(again, ROOM, makes=True), ModelSets(again, ROOM)):
        told = later.asked(page("another"), "ten")["stored"]
        assert (told["model"], told["columns"], told["arms"], told["shape"][2]) == ("ten", [1, 2, 3, 5, 7, 10], list(KEYS), 4)
        assert later._thread is None
    assert (evaluations(engine), evaluations(again)) == (TRIAL + WHOLE, 0)
    assert {path.suffix for path in SetCache().folder.glob("*.*")} == {".json", ".png"}


def test_what_is_in_it_asks_for_no_ladder(root: Path) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    recipe = Recipe(arms=(Arm(steps=4), Arm(method="ddpm", steps=4)), model="ten", seed=7, pictures=4)
    sets.asked(page(), "ten")
    finished(sets)
    assert not sets.has(recipe)  # no page has been told
    sets.asked(page(), "ten")
    assert sets.has(recipe)
    found = sets.find(recipe)
    assert found is not None
    (alone,) = engine.final(replace(recipe, arms=(Arm(steps=3),), precision="fp32"))
    assert (found.pixels[found.keys.index("0"), found.columns.index(3)] == to_pixels(alone)).all()
    for other in (Arm(method="ddpm", steps=4, variance="learned"), Arm(method="ddpm", steps=4, clip="off")):
        assert sets.find(recipe.with_arms(recipe.arms[0], other)) is None


def test_it_stops_within_a_call_when_nobody_shows_the_model_and_goes_on_later(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    left, keep = threading.Event(), SetCache.keep_piece

    def third(self: SetCache, *given: Any) -> None:
        keep(self, *given)
        if len(list(self.folder.glob("*.npz"))) == 3:
            sets.leave(page())
            left.set()

    monkeypatch.setattr(SetCache, "keep_piece", third)
    sets.asked(page(), "ten")
    finished(sets)
    assert left.is_set()
    made = evaluations(engine)
    assert made <= TRIAL + 24 * (1 + 2 + 3 + 1)
    monkeypatch.undo()
    monkeypatch.setattr(model_sets, "PAUSE", 0)
    again = Engine([root])
    other = ModelSets(again, ROOM, makes=True)
    other._cache = sets._cache
    other.asked(page(), "ten")
    finished(other)
    assert evaluations(again) == 24 * (5 + 7 + 10)
    assert other.asked(page(), "ten")["stored"]["columns"][-1] == 10


def test_a_page_that_is_loaded_anew_still_counts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_sets, "LINGER", 1000)
    sets = ModelSets(Engine([root]), ROOM, makes=True)
    sets.asked(page(), "ten")
    sets.leave(page())
    finished(sets)
    assert "stored" in sets.asked(page("again"), "ten")


def test_two_pages_of_two_models_have_both_made(root: Path) -> None:
    save_tiny(root / "nine", scheduler={"num_train_timesteps": 9})
    sets = ModelSets(Engine([root]), ROOM, makes=True)
    for name in ("ten", "nine"):
        sets.asked(page(name), name)
    finished(sets)
    assert ["stored" in sets.asked(page(), name) for name in ("ten", "nine")] == [True, True]


def test_other_weights_of_the_same_name_are_another_set(root: Path) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    sets.asked(page(), "ten")
    finished(sets)
    save_tiny(root / "ten", seed=1, scheduler={"num_train_timesteps": 10})
    assert sets.asked(page(), "ten") == gr.skip()
    assert not sets.has(Recipe(arms=(Arm(steps=4), Arm(method="ddpm", steps=4)), model="ten", seed=7))
    finished(sets)
    assert "stored" in sets.asked(page(), "ten")


def test_a_damaged_one_is_made_anew(root: Path) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    sets.asked(page(), "ten")
    finished(sets)
    (sheet,) = SetCache().folder.glob("*.png")
    sheet.write_bytes(sheet.read_bytes()[:100])
    assert sets.asked(page(), "ten") == gr.skip()
    finished(sets)
    assert "stored" in sets.asked(page(), "ten")
    assert evaluations(engine) == 2 * (TRIAL + WHOLE)


def test_while_another_process_makes_it_this_one_waits_and_then_has_it(root: Path) -> None:
    engine, other = Engine([root]), Engine([root])
    sets, theirs = ModelSets(engine, ROOM, makes=True), ModelSets(other, ROOM, makes=True)
    key = SetCache().key(engine.model("ten"))
    with SetCache().lock(key):
        sets.asked(page(), "ten")
        wait_for(lambda: sets._thread is not None)
        assert evaluations(engine) == 0
    theirs.asked(page(), "ten")
    finished(sets)
    finished(theirs)
    assert sorted([evaluations(engine), evaluations(other)]) == [0, TRIAL + WHOLE]


@pytest.mark.parametrize("limit", ["seconds", "bytes", "evaluations", "pictures"])
def test_a_set_that_would_be_too_much_is_smaller(root: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    engine = Engine([root])
    if limit == "seconds":
        monkeypatch.setattr(engine, "seconds", lambda plan: plan.evaluations)
        monkeypatch.setattr(model_sets, "MOST_SECONDS", WHOLE - 1)
    elif limit == "bytes":
        monkeypatch.setattr(model_sets, "MOST_BYTES", 24 * 6 * 192 - 1)
    elif limit == "evaluations":
        engine.budget = Budget(max_evaluations=239)
    else:
        engine.budget = Budget(max_pictures=23)
    sets = ModelSets(engine, ROOM, makes=True)
    sets.asked(page(), "ten")
    finished(sets)
    told = sets.asked(page(), "ten")["stored"]
    assert (told["arms"], told["shape"][:3]) == (list(FEW), [3, 6, 4])


def test_where_even_the_least_is_too_much_there_is_none_and_no_second_try(root: Path, monkeypatch: Any, caplog: Any) -> None:
    engine = Engine([root])
    monkeypatch.setattr(engine, "seconds", lambda plan: 1e6)
    sets = ModelSets(engine, ROOM, makes=True)
    for _ in range(2):
        sets.asked(page(), "ten")
        finished(sets)
    assert evaluations(engine) == TRIAL
    assert "the stored set of ten is not made: it would be too large for this host, or take too long" in caplog.text


def test_a_run_of_the_host_itself_has_the_time_that_it_needs(root: Path) -> None:
    engine = Engine([root], budget=Budget(max_seconds=0))
    recipe = Recipe(arms=(Arm(steps=3),), model="ten")
    with pytest.raises(Exception, match="was ended after 0 s"):
        _ = engine.run(recipe).result
    assert len(engine.run(recipe, background=True).result) == 1


def test_a_server_that_ends_leaves_it_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    keep = SetCache.keep_piece

    def close(self: SetCache, *given: Any) -> None:
        keep(self, *given)
        engine.closing = True

    monkeypatch.setattr(SetCache, "keep_piece", close)
    sets.asked(page(), "ten")
    finished(sets)
    assert evaluations(engine) <= TRIAL + 24 * 3
    assert len(list(SetCache().folder.glob("*.npz"))) == 1


def sets_of(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> ModelSets:
    """The sets of the page that `make` builds."""
    kept, connect = list[Ladder](), Ladder.connect
    monkeypatch.setattr(Ladder, "connect", lambda self: kept.append(self) or connect(self))
    make()
    return kept[0].sets


@pytest.mark.parametrize("how", [{"live": False}, {"classroom": True}, {"set_bytes": 0}, "zero"])
def test_none_is_made_where_nothing_is_made_unasked(root: Path, monkeypatch: pytest.MonkeyPatch, how: Any) -> None:
    monkeypatch.setattr("ddim_app.ui.compare.class_ladders.ClassLadders.begin", lambda self: None)
    lender = Lender()
    engine = ZeroEngine([root], allow_hub=False, gpu=lender.GPU) if how == "zero" else Engine([root])
    options = {"set_bytes": ROOM} | ({} if how == "zero" else how)
    sets = sets_of(monkeypatch, lambda: build_ui(engine, **options))
    assert sets.asked(page(), "ten") == gr.skip()
    assert (sets._thread, sets._pages) == (None, {})
    if options["set_bytes"]:  # what is there is shown all the same
        others = ModelSets(Engine([root]), ROOM, makes=True)
        others.asked(page(), "ten")
        finished(others)
        assert "stored" in sets.asked(page(), "ten")


def test_a_page_makes_sets_where_it_may(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = sets_of(monkeypatch, lambda: build_ui(Engine([root]), set_bytes=ROOM))
    sets.asked(page(), "ten")
    finished(sets)
    assert "stored" in sets.asked(page(), "ten")


def test_the_bundled_models_weights_by_another_name_have_its_set(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "copy").symlink_to(ROOT / "weights" / "avatars-32")
    engine = Engine([tmp_path / "models"], allow_hub=False)
    sets = ModelSets(engine, ROOM, makes=True)
    told = sets.asked(page(), "copy")["stored"]
    assert (told["model"], told["columns"][-1], sets._thread) == ("copy", 1000, None)


@pytest.mark.parametrize("name", ["avatars-32", "none", "some/model", None, 7, ["ten"]])
def test_of_what_is_no_other_model_here_nothing_is_made(root: Path, name: Any) -> None:
    sets = ModelSets(Engine([root], allow_hub=False), ROOM, makes=True)
    assert sets.asked(page(), name) == gr.skip()
    assert sets._thread is None


def test_its_sheet_may_be_kept_for_ever(root: Path) -> None:
    engine = Engine([root])
    sets = ModelSets(engine, ROOM, makes=True)
    sets.asked(page(), "ten")
    finished(sets)
    sheet = sets.asked(page(), "ten")["stored"]["sheet"]
    with served(engine) as url:
        with urlopen(f"{url}/stored/{sheet}") as answer:
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.read() == SetCache().sheet(sheet).read_bytes()
        for other in (sheet.replace(".png", ".json"), f"..%2F{sheet}", "0" + sheet[1:]):
            assert get(url, f"/stored/{other}")[0] == 404


def test_the_option_says_how_much_disk_they_may_have() -> None:
    assert read([], {}).stored_sets == 500
    assert read(["--stored-sets", "0"], {}).stored_sets == 0
    assert read([], {"DDIM_STORED_SETS": "20"}).stored_sets == 20
    with pytest.raises(SystemExit):
        read(["--stored-sets", "much"], {})
