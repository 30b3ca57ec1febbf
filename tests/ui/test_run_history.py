"""Past runs: bounded memory, and what the browser's store may hold."""

import math
from typing import Any

import numpy as np
import pytest

from ddim_app.engine import Engine
from ddim_app.runs import codecs
from ddim_app.runs.codecs import StoppedRun
from ddim_app.runs.interpolation import MovingArm, PathRecipe
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source
from ddim_app.ui import build_ui, run_history
from ddim_app.ui import controls as settings
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.components import history
from ddim_app.ui.last_visit import remembered
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.recipe_bar import RecipeBar, ShareButtons
from ddim_app.ui.run_history import RunHistory
from ddim_app.ui.share_texts import link, text_of

RECIPE = Recipe(arms=(Arm(steps=2), Arm(method="ddpm", steps=3)), model="tiny", pictures=2)
ENDS = (Source(seed=7), Source(seed=8))


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False, threaded=False)


@pytest.fixture(scope="module")
def ran(engine) -> tuple[Any, list[Any]]:
    return engine.plan(RECIPE), list(engine.run(RECIPE))


def newest(frames):
    return {frame.arm: frame for frame in frames}


def test_a_finished_run_keeps_its_pictures_and_a_stopped_one_says_how_far_it_came(engine, ran):
    plan, frames = ran
    kept = RunHistory()
    kept.add("me", plan, newest(frames), finished=True)
    kept.add("me", plan, newest(frames[:3]), finished=False)
    stopped, whole = kept.runs("me")
    assert (whole.number, whole.stopped, stopped.number, stopped.stopped) == (1, None, 2, StoppedRun(2, 3))
    assert stopped.recipe.weights == engine.model("tiny").sha256
    assert [label for label, _ in whole.arms] == ["DDIM(η = 0)", "DDPM"]
    assert kept.runs("somebody else") == []
    assert kept.run("me", 2) is stopped
    assert kept.run("me", [2]) is None
    kept.forget("me")
    assert kept.runs("me") == []
    assert kept.current("me", "") is None


def test_a_run_without_pictures_can_be_copied_once_it_is_through(ran):
    kept, plan = RunHistory(), ran[0]
    kept.add("me", plan, {}, finished=False, tab="Learn")
    assert kept.current("me", "Learn") is None
    kept.add("me", plan, {}, finished=True, tab="Learn")
    assert (kept.current("me", "Learn"), kept.current("me", "Compare"), kept.runs("me")) == (plan.recipe, None, [])


def test_a_page_has_twelve_runs_and_a_host_a_hundred_pages(ran):
    plan, frames = ran
    kept = RunHistory()
    for _ in range(run_history.MAX_RUNS + 3):
        kept.add("me", plan, newest(frames), finished=True)
    assert [run.number for run in kept.runs("me")] == list(range(15, 3, -1))
    for page in range(120):
        kept.add(str(page), plan, newest(frames), finished=True)
    assert len(kept._pages) == len(kept._current) == run_history.MAX_PAGES
    assert kept.runs("me") == kept.runs("19") == []
    assert len(kept.runs("20")) == 1


@pytest.mark.parametrize(("arms", "pictures", "side"), [(2, 16, 32), (64, 16, 64), (64, 1, 256), (1, 16, 512), (64, 16, 512)])
def test_no_run_takes_more_than_its_share(arms, pictures, side):
    found = [("x", np.zeros((pictures, side, side, 3), np.uint8))] * arms
    cut = run_history._cut(found)
    assert sum(pixels.nbytes for _, pixels in cut) <= run_history.MAX_RUN_BYTES
    assert len(cut) >= 1
    assert all(1 <= len(pixels) <= pictures for _, pixels in cut)


def test_comparison_of_two_runs(ran):
    plan, frames = ran
    kept = RunHistory()
    kept.add("me", plan, newest(frames), finished=True)
    kept.add("me", plan, newest(frames), finished=True)
    found = history.value(kept.runs("me"), 1, 2)["versus"]
    assert [row["psnr"] for row in found["rows"]] == [None, None]
    assert [row["ssim"] for row in found["rows"]] == pytest.approx([1, 1])
    black, grey = (np.full((1, 8, 8, 3), value, np.uint8) for value in (0, 51))
    assert history._row("a", black, "b", grey)["psnr"] == pytest.approx(-20 * math.log10(0.2))
    assert history.heat(black, black).reshape(-1, 3).tolist() == [[24, 16, 48]] * 64
    assert history.heat(black, black + 255).reshape(-1, 3).tolist() == [[255, 240, 190]] * 64


def test_captions_are_short_and_differ_where_runs_differ():
    def past(number, line, **changed):
        arms = tuple(Arm(method=method, **changed) for method in ("ddim", "ddpm"))
        return run_history.PastRun(number, Recipe(arms=arms, model="tiny", seed=7), line, (), tab="Compare")

    runs = [
        past(3, "tiny · both, 10 steps · seed 7 · x₀ clipped", steps=10),
        past(2, "tiny · both, 10 steps · seed 7 · x₀ not clipped", steps=10),
        past(1, "tiny · both, 20 steps · seed 7 · x₀ clipped", steps=20, eta=0.5),
    ]
    assert history.captions(runs) == ["10 steps, seed 7, x₀ clipped", "10 steps, seed 7, x₀ not clipped", "η 0.5, 20 steps, seed 7"]
    equal = [runs[0], runs[0]]
    assert history.captions(equal) == ["10 steps, seed 7"] * 2


@pytest.mark.parametrize("sent", [None, "x", {}, {"act": "a"}, {"act": "rm", "number": 1}])
def test_what_no_button_sends_picks_nothing(ran, sent):
    plan, frames = ran
    kept = RunHistory()
    kept.add("me", plan, newest(frames), finished=True)
    assert history.picked(kept, "me", sent) is None
    assert history.picked(kept, "me", {"act": "a", "number": 1})[0].number == 1
    assert history.picked(kept, "you", {"act": "a", "number": 1}) is None


@pytest.mark.parametrize(
    ("recipe", "words", "arms"),
    [
        (PathRecipe(mode="line", ends=ENDS, frames=5, arms=(MovingArm(steps=2),), model="tiny"), "line 7, 8", [5]),
        (
            InvertRecipe(sources=ENDS[:1], arms=(InversionArm(method="fixed-point", steps=2),), model="tiny"),
            "fixed-point, 2 steps, seed 7",
            [1, 1],
        ),
    ],
)
def test_paths_and_inversions_are_kept_too(engine, recipe, words, arms):
    kept, frames = RunHistory(), [frame for frame in engine.run(recipe) if isinstance(frame, run_history.Drawn)]
    kept.add("me", engine.plan(recipe), newest(frames), finished=True, tab="Interpolate")
    [run] = kept.runs("me")
    assert [len(pixels) for _, pixels in run.arms] == arms
    assert run.stopped is None
    [entry] = history.value([run])["runs"]
    assert entry["words"] == words
    assert codecs.read_json(entry["recipe"]).recipe == recipe
    assert kept.current("me", "Interpolate") == recipe
    assert kept.current("me", "Compare") is None


@pytest.mark.parametrize("sent", [None, 1, {}, {"act": "a", "recipe": "{}"}, {"act": "restore", "recipe": 1}])
def test_only_a_restored_run_brings_its_recipe(sent):
    assert history.kept_recipe(sent) == ""
    assert history.kept_recipe({"act": "restore", "recipe": "{}"}) == "{}"


# What the browser remembers is anybody's.


@pytest.fixture
def bar(engine):
    import gradio as gr

    with gr.Blocks(analytics_enabled=False):
        runs = PageRuns(engine)
        controls = settings.build(engine)
        return RecipeBar(runs, controls, [CompareTab(runs, controls)], ShareButtons())


GOOD = {
    "model": "tiny", "steps": 17, "eta": 0.5, "seed": 42, "pictures": 3, "ddpm_steps": 0, "spacing": "leading", "variance": "large",
    "clip": "off", "precision": "fp32", "noise_seed": "", "branch": 0, "second_model": "",
}  # fmt: skip


def test_settings_are_remembered(bar, engine):
    found, settings = remembered(engine, bar.settings, GOOD | {"extra": 1, "steps_invert": 33}), bar.settings
    assert {name: found[field] for name, field in settings.fields.items() if field in found} == GOOD  # those of classes stay
    of_class = remembered(engine, settings, GOOD | {"class_label": "dog", "guidance": 2.5})
    assert [of_class[settings.fields[name]] for name in ("class_label", "guidance")] == ["dog", 2.5]
    assert (found[settings.own["invert"]["steps"]], found[settings.own["interpolate"]["steps"]]) == (33, 17)


@pytest.mark.parametrize(
    "memory",
    [
        None, [], "x", 7, {}, {"steps": 5}, GOOD | {"steps": "<img src=x>"}, GOOD | {"seed": -1}, GOOD | {"model": "../../etc"},
        GOOD | {"model": None}, GOOD | {"eta": [1]}, GOOD | {"noise_seed": {"a": 1}}, GOOD | {"pictures": 10**400},
        GOOD | {"branch": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_settings_is_forgotten(bar, engine, memory):
    assert remembered(engine, bar.settings, memory) == {}


# Links.


def test_on_a_space_the_link_is_the_spaces(monkeypatch):
    assert link(RECIPE, "http://localhost:7860/sub/").startswith("http://localhost:7860/sub/?v=1&model=tiny&")
    monkeypatch.setenv("SPACE_ID", "somebody/explorer")
    assert link(RECIPE, "https://somebody-explorer.hf.space/").startswith("https://huggingface.co/spaces/somebody/explorer?v=1&")


def test_a_recipe_too_long_for_a_link_says_so():
    arms = tuple(Arm(steps=i, model=f"{i}" * 60) for i in range(10, 74))
    assert link(RECIPE.with_arms(*arms), "http://localhost/").startswith("# Too long for a link (")


@pytest.mark.parametrize("address", ["javascript:alert(1)//", "", "x" * 9000, "http://h/" + "x" * 9000])
def test_no_address_becomes_more_than_text(engine, address):
    for form in ("Link", "curl"):
        text = text_of(engine, RECIPE, form, address)
        assert "javascript:" not in text
        assert len(text) < 2000


def test_the_page_holds_one_bar(engine):
    ids = [block.elem_id for block in build_ui(engine).blocks.values() if getattr(block, "elem_id", None)]
    assert [ids.count(name) for name in ("recipe-bar", "history", "restore-note")] == [1, 1, 1]
