"""What the stage is sent of a run: bounded, evenly thinned, with numbers that are right, and files made of it."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.media import animation
from ddim_app.media.animation import text_inside
from ddim_app.media.images import data_uri, to_pil, to_pixels
from ddim_app.runs import codecs
from ddim_app.runs.kinds import from_json
from ddim_app.ui import run_films
from ddim_app.ui.components.stage import FEWEST_FRAMES, FINAL_BYTES, REPLAY_BYTES, StageFrames, stored_run, unique
from ddim_app.ui.run_films import make, moments, sheet
from tests.ui.stages import frames_of, plan_of

VISITOR = 24_000_000


def reel_of(plan, picture=None):
    reel = StageFrames(plan, "a run")
    noise = torch.randn(plan.recipe.pictures, *plan.model.shape, generator=torch.Generator().manual_seed(0))
    reel.add(list(frames_of(plan, noise if picture is None else picture)))
    return reel


def steps_of(tape, arm):
    return [frame["k"] for frame in tape["frames"] if frame["arm"] == arm]


def picture_of(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


# ---- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "steps", "pictures", "side"),
    [(2, 1000, 4, 32), (8, 1000, 1, 32), (1, 1000, 16, 32), (2, 40, 16, 128), (64, 4, 16, 32), (2, 10, 4, 32)],
)
def test_noise_of_every_run_fits_a_visitors_share(arms, steps, pictures, side):
    """PNG cannot make noise smaller, so no run takes more."""
    plan = plan_of(*[steps] * arms, pictures=pictures, side=side)
    reel = reel_of(plan)
    tape = reel.complete(plan.recipe)
    assert len(json.dumps(tape)) < (REPLAY_BYTES + FINAL_BYTES) * 1.1 < VISITOR
    for arm in range(arms):
        kept = steps_of(tape, arm)
        assert (kept[0], kept[-1]) == (0, steps - 1)
        assert len(kept) >= min(steps, FEWEST_FRAMES)
        assert len(set(np.diff(kept)[:-1])) <= 1  # evenly, and the last one whatever its distance
    whole = len(kept) == steps and picture_of(tape["frames"][0]["x_t"]).shape == (side, pictures * side, 3)
    assert whole == (tape["hint"] == "")


def test_what_a_replay_leaves_out_is_said():
    thinned = StageFrames(plan_of(1000, pictures=4, side=32), "a")
    assert thinned.tape["hint"] == "A long run: the replay has every 4th step, the first and the last."
    large = StageFrames(plan_of(50, 50, pictures=4, side=256), "b")
    assert "Pictures on the way are kept at 1/4 of their size, the last ones whole." in large.tape["hint"]
    assert StageFrames(plan_of(200, 200), "c").tape["hint"] == ""


def test_arms_of_other_lengths_are_thinned_each_for_itself():
    tape = reel_of(plan_of(1000, 10, pictures=16, side=16)).tape
    assert steps_of(tape, 1) == list(range(10))
    assert len(steps_of(tape, 0)) < 1000


def test_an_update_brings_the_newest_frame_of_each_arm_and_no_old_ones():
    plan = plan_of(100, 100, pictures=16, side=32)
    reel, sent = StageFrames(plan, "a run"), []
    for frame in frames_of(plan, torch.zeros(16, 3, 32, 32)):
        sent.append([(entry["arm"], entry["k"]) for entry in reel.add([frame])["frames"]])
    assert sent == [[(arm, k)] for k in range(100) for arm in (0, 1)]
    assert len(steps_of(reel.tape, 0)) < 100


def test_the_bytes_sent_grow_no_faster_than_the_steps():
    """Twice the steps, twice the bytes: an update carries what is new, and the whole run is sent once."""
    sizes = []
    for steps in (50, 100):
        plan, size = plan_of(steps, steps, side=8), 0
        reel = StageFrames(plan, "a run")
        for frame in frames_of(plan, lambda k: torch.full((1, 1, 1, 1), k / 100)):
            size += len(json.dumps(reel.add([frame])["frames"]))
        sizes.append(size + len(json.dumps(reel.complete(plan.recipe))))
    assert sizes[1] < 2.05 * sizes[0]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_the_charts_numbers():
    """pred_x0 that rises by 0.1 a step; the PSNR is of the 8-bit pictures."""
    plan = plan_of(3, 2)
    rows = reel_of(plan, lambda k: torch.full((1, 1, 1, 1), 0.1 * k)).curves()
    assert [(row["arm"], row["step"], row["t"]) for row in rows] == [
        ("DDIM(η = 0)", 1, 999), ("DDIM(η = 0)", 2, 666), ("DDIM(η = 0)", 3, 332), ("DDIM(η = 0) (2)", 1, 999),
        ("DDIM(η = 0) (2)", 2, 499),
    ]  # fmt: skip
    levels = [int(to_pixels(torch.full((1, 1, 1, 1), 0.1 * k)).item()) for k in range(3)]
    assert [row["change"] for row in rows[:3]] == [None, pytest.approx(0.1), pytest.approx(0.1)]
    assert [row["eps"] for row in rows[:3]] == [0, pytest.approx(0.1), pytest.approx(0.2)]
    expected = [20 * np.log10(255 / (levels[2] - levels[k])) for k in (0, 1)]
    assert [row["psnr"] for row in rows[:3]] == [*map(pytest.approx, expected), None]


def test_labels_of_many_arms_differ():
    labels = unique(["DDPM", "DDIM", "DDPM", "DDPM"])
    assert labels == ["DDPM", "DDIM", "DDPM (2)", "DDPM (3)"]


def test_each_arm_is_compared_with_the_first():
    plan = plan_of(1, 1, 1)
    reel = StageFrames(plan, "a run")
    for frame, level in zip(frames_of(plan, torch.zeros(2, 3, 8, 8)), (0.0, 0.2, 0.0), strict=True):
        reel.add([frame._replace(x_t=torch.full((2, 3, 8, 8), level))])
    scores = reel.complete(plan.recipe)["scores"]
    assert scores["1"]["psnr"] == pytest.approx([20.0, 20.0])  # 0.2 of 2
    assert scores["2"]["psnr"] == [None, None]


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["gif", "webp", "sheet"])
@pytest.mark.parametrize("view", ["pred_x0", "x_t", "both"])
def test_the_stored_run_as_a_file_with_its_recipe(form, view):
    run = stored_run()
    data = make(run, form, view)
    assert text_inside(data) == run["recipe_json"]
    image = Image.open(io.BytesIO(data))
    assert (getattr(image, "n_frames", 1), image.format) == {"gif": (10, "GIF"), "webp": (10, "WEBP"), "sheet": (1, "PNG")}[form]


def test_the_stored_run_as_mp4():
    assert text_inside(make(stored_run(), "mp4", "both")) == stored_run()["recipe_json"]


@pytest.mark.parametrize("form", ["gif", "webp", "mp4", "sheet"])
def test_a_link_inside_a_file_is_beside_the_recipe_which_is_read_as_ever(form):
    run = stored_run()
    data = make(run, form, "pred_x0", link="http://here/?v=1&seed=7")
    text = text_inside(data)
    assert json.loads(text)["link"] == "http://here/?v=1&seed=7"
    assert from_json(text) == from_json(run["recipe_json"])
    assert codecs.read_json(text) == (from_json(text), ())
    if form == "sheet":
        assert codecs.read_file(data) == (from_json(text), ())


@pytest.mark.parametrize(("pictures", "arms"), [(1, 2), (4, 2), (9, 2), (9, 3), (16, 4)])
def test_the_pictures_of_a_film_are_512_pixels_across_or_more(pictures, arms):
    run = stored_run()
    strip = data_uri(to_pil(np.zeros((32, 32 * pictures, 3), np.uint8)))
    shown = {
        **run, "seeds": list(range(pictures)), "arms": (run["arms"] * 2)[:arms],
        "frames": [{"arm": arm, "k": 9, "t": 0, "pred_x0": strip} for arm in range(arms)],
    }  # fmt: skip
    [picture] = run_films.film(shown, "pred_x0")
    assert 512 <= picture.width - 2 * animation.MARGIN - animation.GAP * (arms - 1) < 1024


def test_the_sheet_shows_the_runs_own_pixels():
    run = stored_run()
    whole = np.asarray(sheet(run, "pred_x0"))
    strip = picture_of(run["frames"][-1]["pred_x0"])[:, :32]  # seed 7 of the last arm, in the right bottom corner
    scale, gap = run_films._scale(run, 2), animation.MARGIN
    block = strip.repeat(scale, 0).repeat(scale, 1)
    bottom, right = whole.shape[0] - gap - 2 * 32 * scale, whole.shape[1] - gap - 2 * 32 * scale
    assert (whole[bottom : bottom + 32 * scale, right : right + 32 * scale] == block).all()


def test_a_long_run_is_few_frames_evenly_apart_with_its_first_and_last():
    tape = reel_of(plan_of(1000, 250)).tape
    shown = moments(tape, 12)
    assert [moment[0]["k"] for moment in (shown[0], shown[-1])] == [0, 999]
    assert [moment[1]["k"] for moment in (shown[0], shown[-1])] == [0, 249]
    assert len(shown) == 12
    steps = np.diff([moment[0]["k"] for moment in shown])
    assert steps.max() - steps.min() <= 2
    assert Image.open(io.BytesIO(make(tape, "webp", "x_t"))).n_frames == run_films.MAX_FRAMES


def test_a_stopped_run_says_so():
    plan = plan_of(10, 10)
    reel = StageFrames(plan, "a run")
    reel.add([frame for frame in frames_of(plan, torch.zeros(2, 3, 8, 8)) if frame.k < 4])
    recipe = json.loads(text_inside(make(reel.tape, "gif", "pred_x0")))
    assert (recipe["interrupted"], recipe["executed_steps"]) == (True, 4)
    assert "interrupted" not in text_inside(make(stored_run(), "gif", "pred_x0"))


def test_a_shrunken_frame_fills_its_place():
    run = reel_of(plan_of(4, pictures=2, side=512), torch.zeros(2, 3, 512, 512)).tape
    assert picture_of(run["frames"][0]["x_t"]).shape[0] < 512
    small, large = (run_films._picture(run, run["frames"][at], "x_t") for at in (0, -1))
    assert small.size == large.size == (1024, 512)
