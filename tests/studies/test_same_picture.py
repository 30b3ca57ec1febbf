"""Time to the same picture, on networks small enough to see that the fewest steps are found and that everybody is asked."""

import math

import pytest
import torch

from ddim_app.backends import openvino_backend
from ddim_app.diffusion import metrics
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import same_picture
from ddim_app.studies.same_picture import Near, Way, distances, least

EXACT = torch.zeros(20, 1, 2, 2)


@pytest.fixture(scope="module")
def engine(tiny_root, tmp_path_factory) -> Engine:
    return Engine([tiny_root], allow_hub=False, device=torch.device("cpu"), cache=tmp_path_factory.mktemp("cache"))


def off_by(levels, asked=None):
    """A way whose pictures are `levels(steps)` of 255 off; `asked` is told of every call."""

    def draw(steps, seeds):
        if asked is not None:
            asked.append((steps, seeds))
        return torch.full((len(seeds), 1, 2, 2), levels(steps) / 127.5)

    return Way("", draw)


def test_the_fewest_steps_are_the_first_within_the_limit_and_the_quicker_way_wins():
    slow, quick, asked = off_by(lambda steps: 248 / steps), off_by(lambda steps: 39 / steps), []
    never = off_by(lambda steps: 99, asked)
    counts = list(range(1, 101))
    assert least([slow], counts, EXACT).steps == 50
    reached = least([slow, quick, never], counts, EXACT)
    assert (reached.way, reached.steps, reached.near.is_same) == (quick, 8, True)
    assert {steps for steps, _ in asked} == {7}  # not there with fewer than the best: not looked at again
    assert least([never], counts, EXACT) is None


def test_a_hopeless_way_is_left_before_its_last_seed_and_pictures_that_are_no_numbers_are_not_near():
    asked = []
    assert distances(off_by(lambda steps: 99, asked), 3, EXACT) == Near(math.inf, math.inf)
    assert asked == [(3, range(16))]
    assert not distances(off_by(lambda steps: math.nan), 3, EXACT).is_same
    near = distances(off_by(lambda steps: 4), 3, EXACT)
    assert near == pytest.approx((4, 4), rel=1e-4)
    assert near.is_same


def test_a_few_seeds_that_change_their_mind_are_in_the_mean_alone():
    far = torch.zeros(20, 1, 2, 2)
    far[:2] = 0.9
    near = distances(Way("", lambda steps, seeds: far[seeds.start : seeds.stop]), 1, EXACT)
    assert (near.mean > metrics.SAME, near.is_same) == (True, False)


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_everybody_comes_to_the_exact_flow_of_a_small_network_and_is_timed(engine, monkeypatch, capsys):
    model = engine.model("tiny")
    exact = same_picture.exact_pictures(engine, model, 2)
    monkeypatch.setattr(same_picture, "SAME", 100.0)  # random weights are nobody's flow, and 5 would need hundreds of steps
    reached = same_picture.search(same_picture.groups(engine, model, ["torch", "openvino"]), [1, 3], exact)
    rows = same_picture.timed(reached, 1)
    backends = ["torch", "openvino"] if openvino_backend.is_here() else ["torch"]
    who = {row["who"].rsplit(",", 1)[0] for row in rows}
    assert who == {
        *(f"engine {name}, {backend}" for backend in backends for name in ("DDIM", "DPM-Solver++ (2M)")),
        "DDIMPipeline, leading", "DDIMPipeline, trailing", "DPMSolverMultistepScheduler",
    }  # fmt: skip
    for row in rows:
        assert row["mean"] <= 100
        assert row["seconds"].keys() == {1, 16}
        assert 0 < row["seconds"][16]["low"] <= row["seconds"][16]["median"]
    assert "x DDIMPipeline, leading, fp32" in capsys.readouterr().out


def test_diffusers_begins_with_our_noise_and_has_our_schedule(engine):
    model = engine.model("tiny")
    recipe = Recipe(arms=(Arm(steps=20, spacing="leading", clip="off"),), model="tiny", seed=3, pictures=2, precision="fp32")
    ours = engine.final(recipe)[0]
    theirs = same_picture.pipeline(engine, model, "leading").draw(20, range(3, 5))
    assert float(metrics.rmse(ours, theirs).max()) < 0.1


def test_exact_pictures_are_kept_and_not_taken_for_those_of_another_model(engine, tmp_path):
    model, kept = engine.model("tiny"), tmp_path / "exact.npz"
    first = same_picture.exact_pictures(engine, model, 2, kept)
    assert torch.equal(same_picture.exact_pictures(engine, model, 1, kept), first[:1])
    with pytest.raises(FieldError, match="name another file"):
        same_picture.exact_pictures(engine, model, 3, kept)
