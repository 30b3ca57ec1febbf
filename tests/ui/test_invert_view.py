"""What the Invert tab is told of its runs."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.runs import latent_files
from ddim_app.runs.decoding import of_file
from ddim_app.runs.inversion import METHODS, InversionArm
from ddim_app.runs.sources import of_pixels
from ddim_app.ui import build_ui
from ddim_app.ui.invert import reading, view, ways
from ddim_app.ui.invert.view import PAPER, InversionView
from tests.inversions import asked


def board_of(engine, recipe):
    board = InversionView(engine.plan(recipe))
    return board, board.complete(list(engine.run(recipe)), None)


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_a_run_is_shown_with_its_verdict_its_way_and_its_numbers(engine):
    board, value = board_of(engine, asked(InversionArm(method="fixed-point", steps=5)))
    assert value["complete"]
    assert value["verdict"]["first"]
    assert [(frame["phase"], frame["k"]) for frame in value["frames"]] == [(p, k) for p in ("up", "down") for k in range(1, 6)]
    assert pixels(value["back"]).shape == pixels(value["original"]).shape == (8, 8, 3)
    assert [row[0] for row in board.tables()["rows"] if row][0::7] == ["Round trip", "Its noise"]
    (residuals,) = board.plot()["series"]
    assert [step for step, _ in residuals["points"]] == [1, 2, 3, 4, 5]
    assert reading.single_latent(latent_files.save(noise_like(board)))


def noise_like(board):
    """The latent that a board has found, as wide as noise: that of a random network is not."""
    latent = latent_files.load(board.latent)
    return replace(latent, x=latent.x / latent.x.std(correction=0))


@pytest.mark.parametrize("steps", [1, 3, 10, 11, 50, 999])
def test_of_many_steps_a_few_are_shown_and_the_last_always(steps):
    kept = [step for step in range(steps) if view.is_kept(step, steps)]
    assert len(kept) == min(steps, view.FRAMES)
    assert kept[-1] == steps - 1


def test_a_new_run_begins_with_its_own_picture_and_nothing_of_the_one_before(engine):
    plan = engine.plan(replace(asked(InversionArm(steps=5)), sources=(of_pixels(torch.zeros(3, 8, 8)),)))
    value = InversionView(plan).add([])
    assert value["fresh"]
    assert (pixels(value["original"]) == 128).all()


def test_a_curve_has_the_papers_points_behind_it(engine):
    recipe = asked(*(InversionArm(method=method, steps=steps) for steps in (5, 10) for method in ("ddim-target", "o-belm")))
    found = dict(enumerate(engine.run(recipe).result))
    table, plot = view.curve_of(recipe.arms, found)
    assert [row[1] for row in table["rows"]] == ["5", "5", "10", "10"]
    assert [(line["name"], [steps for steps, _ in line["points"]]) for line in plot["series"]] == [
        (METHODS["ddim-target"], [5, 10]), (METHODS["o-belm"], [5, 10]), (PAPER, [10]),
    ]  # fmt: skip


def test_ways_are_known_once_they_were_gone_and_o_belm_comes_first(engine):
    known, recipe = ways.KnownWays(), asked(InversionArm(method="fixed-point", steps=3))
    board = ways.WaysBoard(recipe, ["hash"], known)
    assert [[arm.method for arm in missing.arms] for missing in board.missing()][:2] == [["o-belm"], ["fixed-point"]]
    assert sum(len(missing.arms) for missing in board.missing()) == len(METHODS) == len(board.value()["rows"])
    for missing in board.missing():
        for arm, result in zip(missing.arms, engine.run(missing).result, strict=True):
            board.add(arm, result)
    rows = {row["method"]: row for row in board.value()["rows"]}
    assert rows["o-belm"]["equal"]
    assert rows["o-belm"]["evaluations"] == "3 + 2"
    assert rows["sdedit"]["shown"] > 1
    # Another method of the same picture has the same card, other weights have another.
    other = ways.WaysBoard(asked(InversionArm(method="sdedit", steps=3)), ["hash"], known)
    assert (other.key, other.missing()) == (board.key, [])
    assert ways.WaysBoard(recipe, ["other"], known).missing()


def test_of_one_step_there_is_no_o_belm(engine):
    board = ways.WaysBoard(asked(InversionArm(method="fixed-point", steps=1)), ["hash"], ways.KnownWays())
    assert {"o-belm", "o-belm-single"} == set(METHODS) - {row["method"] for row in board.value()["rows"]}


def test_a_latent_that_is_drawn_another_way_says_how_far_it_is(engine):
    source = of_pixels(torch.linspace(-1, 1, 192).view(3, 8, 8))
    board, _ = board_of(engine, replace(asked(InversionArm(method="fixed-point", steps=5)), sources=(source,)))
    _, value = board_of(engine, of_file(board.latent, model="a", eta=0.5))
    assert value["verdict"]["first"].startswith("Drawn with η = 0.5: ")
    assert value["verdict"]["first"].endswith(" dB from your picture.")
    assert (pixels(value["original"]) == pixels(f"data:image/png;base64,{source.png}")).all()


def test_a_pair_is_not_sent_on(engine):
    board, _ = board_of(engine, asked(InversionArm(method="o-belm", steps=5)))
    with pytest.raises(ValueError, match="it holds a pair latent"):
        reading.single_latent(board.latent)
    with pytest.raises(ValueError, match="must be found or loaded first"):
        reading.single_latent(None)


def test_where_a_host_lets_nothing_run_unasked_a_picture_waits_for_run(engine):
    computing = [
        sum(fn.validator is not None for fn in build_ui(engine, live=live).fns.values()) for live in (True, False)
    ]  # fmt: skip
    assert computing[0] - computing[1] == 10  # of Invert, and of Interpolate


def test_the_error_map_has_a_fixed_scale():
    x = torch.zeros(1, 3, 1, 4)
    back = x.clone()
    back[0, 1, 0] = torch.tensor([0, 2e-6, 2e-3, 2.0])
    colours = pixels(view.error_map(x, back))[0].tolist()
    assert colours == [[24, 16, 48], [24, 16, 48], [190, 70, 60], [255, 240, 190]]
