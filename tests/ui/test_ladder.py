"""The ladder's values: rows measured to their own references, and which columns carry a verdict."""

import asyncio
import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from ddim_app.diffusion.metrics import rmse
from ddim_app.engine import Engine
from ddim_app.engine.limits import LOCAL, Budget, Visitor
from ddim_app.engine.zero_gpu import ZeroEngine
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import stored_sets
from ddim_app.ui import build_ui
from ddim_app.ui.assets import FOLDER, asset
from ddim_app.ui.bundled import STORED
from ddim_app.ui.compare import ladder
from ddim_app.ui.compare.known_pictures import KnownPictures
from ddim_app.ui.compare.ladder import COLUMNS, Ladder, LadderRow, LiveLadder
from ddim_app.ui.compare.model_sets import ModelSets
from tests.zero import Lender


def row_of(*levels, columns=COLUMNS, spot=None):
    """A row whose picture at each column is grey and so many levels above the last."""
    row = LadderRow(Arm(), columns)
    for steps, level in zip(columns, levels, strict=True):
        row.pixels[steps] = np.full((1, 8, 8, 3), 100 + level, np.uint8)
    if spot is not None:
        row.pixels[columns[spot]][0, :2, :2] = 160
    return row


def test_a_row_is_measured_to_its_own_reference():
    row = row_of(40, 20, 9, 4, 1, 0)
    value = row.value(row.pixels[100], True)
    assert [cell["rmse"] for cell in value["cells"]] == [40, 20, 9, 4, 1, 0]
    assert value["within"] == 3
    assert all(cell["picture"].startswith("data:image/png") for cell in value["cells"])


@pytest.mark.parametrize(
    ("levels", "spot", "whole", "within"),
    [
        ((40, 20, 9, 4, 1, 0), None, False, 3),  # 20 steps, measured to 100
        ((40, 20, 9, 6, 1, 0), None, False, None),  # 50 steps: the reference itself moves as much
        ((40, 20, 9, 6, 1, 0), None, True, 4),  # measured to all T
        ((40, 20, 9, 4, 1, 0), 3, True, 4),  # an eye is wrong at 20
    ],
)
def test_a_verdict_needs_a_reference_that_stands(levels, spot, whole, within):
    row = row_of(*levels, spot=spot)
    assert row.value(row.pixels[100], whole)["within"] == within


def test_a_row_without_its_reference_has_pictures_and_no_numbers():
    row = row_of(40, 20, 9, 4, 1, 0)
    del row.pixels[100]
    value = row.value(None, False)
    assert value["within"] is None
    assert [set(cell) for cell in value["cells"]] == [{"picture"}] * 6
    assert value["cells"][-1]["picture"] is None


def test_a_live_ladder_is_the_arms_at_each_column_and_draws_nothing_twice(tiny_root):
    engine, known = Engine([tiny_root], allow_hub=False), KnownPictures()
    recipe = Recipe(arms=(Arm(steps=7), Arm(method="ddpm", steps=9)), model="tiny", seed=3, pictures=4, precision="fp32")
    live = LiveLadder(recipe, (3, 5), known, "these weights")
    asked = live.recipe
    assert [(arm.method, arm.steps) for arm in asked.arms] == [("ddim", 3), ("ddim", 5), ("ddpm", 3), ("ddpm", 5)]
    assert asked.pictures == 1
    before = live.value(4)
    assert (before["serial"], before["reference"], before["stored"], before["complete"]) == (4, 5, False, False)
    for frame in engine.run(asked):
        live.add(frame)
    value = live.value(4)
    assert value["complete"]
    assert [row["name"] for row in value["rows"]] == ["DDIM", "DDPM"]
    assert [row["cells"][-1]["rmse"] for row in value["rows"]] == [0, 0]
    alone = engine.final(Recipe(arms=(Arm(method="ddpm", steps=3),), model="tiny", seed=3, precision="fp32"))[0]
    assert np.abs(live.rows[1].pixels[3].astype(int) - to_pixels(alone)).max() <= 1

    again = LiveLadder(recipe.with_arms(Arm(steps=2)), (3, 5), known, "these weights")
    assert again.recipe is None
    assert again.value(5)["rows"][0] == value["rows"][0]
    wider = LiveLadder(recipe, (3, 5, 10), known, "these weights")
    assert [(arm.method, arm.steps) for arm in wider.recipe.arms] == [("ddim", 10), ("ddpm", 10)]
    for changes in ({"seed": 4}, {"precision": "fast"}, {"branch": 1}, {"noise_seed": 3}):
        assert len(LiveLadder(replace(recipe, **changes), (3, 5), known, "these weights").recipe.arms) == 4
    assert len(LiveLadder(recipe, (3, 5), known, "others").recipe.arms) == 4


def ladder_of(engine, monkeypatch, is_live=True):
    """The ladder of a page over the engine."""
    kept, connect = [], Ladder.connect
    monkeypatch.setattr(Ladder, "connect", lambda self: kept.append(self) or connect(self))
    build_ui(engine, live=is_live)
    return kept[0]


def filled(engine, monkeypatch, asked=False, is_live=True, **changed):
    """All that the page is told while the ladder of its settings, changed by name, is filled, and the runs that this takes."""
    runs, start, one = [], engine.start, ladder_of(engine, monkeypatch, is_live)
    monkeypatch.setattr(engine, "start", lambda *given: runs.append(given) or start(*given))
    tab = one.tab
    names = [*tab.settings.fields, "more_arms"]
    values = [changed.get(name, field.value) for name, field in zip(names, tab.inputs, strict=True)]
    request = gr.Request(session_hash="page", headers={}, client=SimpleNamespace(host="here"))
    event = gr.EventData(None, {"serial": 1, "picture": 0, "asked": asked})
    return asyncio.run(collected(one.run(request, event, *values))), runs


async def collected(items):
    return [item async for item in items]


def test_the_ladder_and_its_references_are_made_in_the_background(tiny_root, monkeypatch):
    told, runs = filled(Engine([tiny_root]), monkeypatch, pictures=1)
    assert told[-1]["complete"]
    assert len(told[-1]["references"]) == 2
    assert [(planned.evaluations, background) for planned, _, _, background in runs] == [(376, True), (200, True)]
    assert all(visitor.name == "address here" for _, _, visitor, _ in runs)


@pytest.mark.parametrize("asked", [False, True])
def test_where_live_is_off_the_ladder_waits_for_a_press(tiny_root, monkeypatch, asked):
    told, runs = filled(Engine([tiny_root]), monkeypatch, asked, is_live=False)
    assert [planned.evaluations for planned, *_ in runs] == [376] * asked
    assert (told[-1].get("costly"), told[-1]["complete"], "references" in told[-1]) == (None if asked else 0, asked, False)


@pytest.mark.parametrize("asked", [False, True])
def test_a_ladder_that_the_share_has_no_room_for_waits_for_a_press_which_hears_why(tiny_root, monkeypatch, asked):
    engine = Engine([tiny_root], budget=Budget(max_evaluations_per_minute=40))
    engine.visitors.enter(Visitor("address here"), 100)
    if asked:
        with pytest.raises(gr.Error, match="this visitor has its share of 40 evaluations a minute"):
            filled(engine, monkeypatch, asked)
    else:
        told, runs = filled(engine, monkeypatch)
        assert ("costly" in told[-1], told[-1]["complete"], runs) == (True, False, [])
    assert engine.loop.calls == 0


def test_on_zero_gpu_no_ladder_takes_a_lease_unasked(tiny_root, monkeypatch):
    lender = Lender()
    told, runs = filled(ZeroEngine([tiny_root], allow_hub=False, gpu=lender.GPU), monkeypatch)
    assert (told[-1]["costly"], runs, lender.asked) == (0, [], [])


def test_a_ladder_beyond_the_hosts_budget_is_not_begun(tiny_root, monkeypatch):
    assert filled(Engine([tiny_root], max_evaluations=375), monkeypatch) == ([], [])


def test_the_line_of_costs_names_what_follows_in_the_background(tiny_root, monkeypatch):
    """Six columns of one picture by two samplers, 2 x 188, and four pictures of each at the last one, 800."""
    engine = Engine([tiny_root], allow_hub=False)
    one = ladder_of(engine, monkeypatch)
    recipe = Recipe(arms=(Arm(steps=10), Arm(method="ddpm", steps=10)), model="tiny", pictures=4)
    assert one.evaluations(recipe) == 1176
    one._known.put((one.of(recipe)[0].made_with, one._referred(recipe)[0].recipe), np.zeros(1, np.uint8))
    assert one.evaluations(recipe) == 376
    fields = one.tab.inputs
    values = [4 if field.elem_id == "pictures" else 2 if field.elem_id == "steps" else field.value for field in fields]
    assert one.tab.cost_line(*values).split("\n")[0] == "16 evaluations (+1,176 in the background)"
    monkeypatch.setattr(ladder, "LADDER_SECONDS", 1)
    monkeypatch.setattr(engine, "seconds", lambda planned: planned.evaluations / 400)
    assert one.evaluations(replace(recipe, seed=8)) == 376  # the references take two seconds
    monkeypatch.setattr(engine, "seconds", lambda planned: planned.evaluations / 300)
    assert one.evaluations(recipe) == 0
    monkeypatch.setattr(engine, "seconds", lambda planned: 0)
    assert one.evaluations(replace(recipe, seed=8)) == 1176
    engine.budget = Budget(max_evaluations=300)
    assert one.evaluations(recipe) == 0
    engine.budget, one.tab.runs.is_live = LOCAL, False
    assert one.evaluations(recipe) == 0


@pytest.mark.parametrize(
    ("arms", "changes", "stored"),
    [
        ({"steps": 10}, {}, True),
        ({"steps": 8}, {"pictures": 9}, True),  # the ladder of the page as it opens, whatever the arms' steps
        ({"steps": 10, "eta": 0.25, "variance": "large"}, {}, True),
        ({"steps": 8, "eta": 0.25}, {}, True),
        ({"steps": 10, "eta": 0.3}, {}, False),
        ({"steps": 10, "eta": 0.25}, {"pictures": 9}, True),
        ({"steps": 10}, {"seed": 8}, False),
        ({"steps": 10}, {"precision": "fp32"}, True),
        ({"steps": 8}, {"precision": "fp32"}, True),
        ({"steps": 10}, {"precision": "fp64"}, False),
        ({"steps": 10, "clip": "off"}, {}, False),
    ],
)
def test_nothing_follows_what_is_stored(arms, changes, stored):
    eta, variance = arms.pop("eta", 0), arms.pop("variance", "small")
    both = Arm(eta=eta, **arms), Arm(method="ddpm", variance=variance, **arms)
    sets = ModelSets(Engine(allow_hub=False))
    assert sets.has(Recipe(arms=both, **{"seed": 7, "pictures": 4} | changes)) is stored


def test_a_solver_of_ddims_flow_is_measured_to_ddims_last_picture(tiny_root):
    """It is a row's own where DDIM(0) is in the ladder, else it is drawn beside; DDIM with another eta is another flow."""
    engine = Engine([tiny_root], allow_hub=False)
    recipe = Recipe(arms=(Arm(eta=0.5), Arm(method="2m")), model="tiny", seed=3, precision="fp32")
    live = LiveLadder(recipe, (3, 5), KnownPictures())
    assert [(arm.label, arm.steps) for arm in live.recipe.arms[2:]] == [
        ("DPM-Solver++ (2M)", 3), ("DPM-Solver++ (2M)", 5), ("DDIM(η = 0)", 5),
    ]  # fmt: skip
    for frame in engine.run(live.recipe):
        live.add(frame)
    value = live.value(1)
    assert value["complete"]
    assert [row["limit"] for row in value["rows"]] == ["", "DDIM(η = 0)"]
    assert [row["name"] for row in value["rows"]] == ["η 0.5", "2M"]
    both = engine.final(recipe.with_arms(Arm(steps=5), Arm(method="2m", steps=3), Arm(method="2m", steps=5)))
    reference, *solved = (from_pixels(to_pixels(pictures)) for pictures in both)
    found = [cell["rmse"] for cell in value["rows"][1]["cells"]]
    assert found == pytest.approx([float(rmse(x, reference)) for x in solved], abs=0.06)
    beside_ddim = LiveLadder(recipe.with_arms(Arm(), Arm(method="2m")), (3, 5), KnownPictures())
    assert len(beside_ddim.recipe.arms) == 4


def test_known_pictures_keep_within_their_bytes():
    known, picture = KnownPictures(most_bytes=3 * 192), np.zeros((1, 8, 8, 3), np.uint8)
    for key in "abc":
        known.put(key, picture)
    assert known.get("a") is not None
    known.put("d", picture)
    known.put("d", picture)
    assert [key for key in "abcd" if known.get(key) is not None] == ["a", "c", "d"]


def test_the_second_picture_of_a_recipe_alone():
    recipe = Recipe(arms=(Arm(),), seed=2**32 - 1, pictures=4, noise_seed=5)
    assert (ladder._of_picture(recipe, 1).seed, ladder._of_picture(recipe, 1).noise_seed) == (0, 6)
    assert ladder._of_picture(recipe, 9) == recipe


def test_the_page_opens_on_the_stored_set_of_the_bundled_model():
    about = json.loads(asset(f"stored/{STORED}.json"))
    stored = stored_sets.StoredSet.load(FOLDER / "stored", STORED)
    assert stored.weights == about["weights"] == Engine(allow_hub=False).model(STORED).sha256
    assert about["columns"] == [*stored_sets.STEPS, 1000]
    value = ladder.stored_ladder()
    assert value["columns"] == list(COLUMNS)
    assert [row["name"] for row in value["rows"]] == ["DDIM", "DDPM"]
    numbers = [[cell["rmse"] for cell in row["cells"]] for row in value["rows"]]
    assert all(ddim < ddpm for ddim, ddpm in zip(*numbers, strict=True))
    assert numbers[0] == sorted(numbers[0], reverse=True)


def test_a_sample_of_the_stored_set_is_drawn_again():
    """Within a level, since other machines round otherwise; DDIM and DDPM with the large variance at a few steps."""
    stored = stored_sets.StoredSet.load(FOLDER / "stored", STORED)
    engine = Engine(allow_hub=False)
    for steps in (3, 10):
        column = stored.columns.index(steps)
        drawn = engine.final(Recipe(arms=stored_sets.arms(steps), seed=stored_sets.SEED, pictures=2, precision="fp32"))
        for row in (0, 2, 5):
            assert np.abs(stored.pixels[row, column, :2].astype(int) - to_pixels(drawn[row])).max() <= 1
