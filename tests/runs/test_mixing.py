"""DDPM's mixes of noised pictures: levels, closed forms on Gaussian data, Fig. 9's edges, and recipes that refuse."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from ddim_app.diffusion.noise import FORWARD_NOISE, BrownianPath, initial_noise, keyed_noise, noise_key
from ddim_app.diffusion.sampler import drive
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.media.images import to_pixels
from ddim_app.models.loading import Model
from ddim_app.runs.kinds import from_json, plan
from ddim_app.runs.mixing import FIG_9, MixRecipe, MixSourceStep, levels_from
from ddim_app.runs.path_frames import FramesStep, MixStart
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_tensor
from tests.oracle import Gaussian
from tests.toys import LINEAR

CPU = torch.device("cpu")
SHAPE = (3, 4, 4)
DATA = Gaussian(0.3, 0.5)
ORACLE = Model("oracle", None, LINEAR, SHAPE, "0" * 64)  # type: ignore[arg-type]
CHAIN = Arm(method="ddpm", steps=20, clip="off")
A, B = (initial_noise([seed], SHAPE)[0].clamp(-1, 1) for seed in (1, 2))
PICTURES = of_tensor(A), of_tensor(B)
NOISE = [keyed_noise(noise_key(0, 0, FORWARD_NOISE), i, SHAPE).double() for i in (0, 1)]


def recipe(**changes: Any) -> MixRecipe:
    return MixRecipe(**{"ends": PICTURES, "chain": CHAIN, "precision": "fp64"} | changes)


def on_oracle(asked: MixRecipe) -> tuple[MixStart, dict[int, torch.Tensor]]:
    """What the run was noised from, and each level's finished mixes."""
    planned = plan(asked, lambda name: ORACLE)
    network = DATA.network(LINEAR.alphas_cumprod)
    frames = [frame for report in drive(planned.process(CPU), network) for frame in planned.frames(report)]
    laid = next(frame for frame in frames if isinstance(frame, MixStart))
    return laid, {frame.arm: frame.x for frame in frames if isinstance(frame, FramesStep) and frame.is_last}


@pytest.mark.parametrize("level", [1, 2, 10, 250, 999, 1000])
@pytest.mark.parametrize("steps", [1, 20, 300, 1000])
def test_level_k_is_after_k_forward_steps(level: int, steps: int) -> None:
    levels = levels_from(LINEAR, level, steps)
    assert levels[0].alpha_bar == LINEAR.alphas_cumprod[level - 1]
    assert levels[0].t == level - 1
    assert levels[-1].is_clean
    assert len(levels) - 1 == max(1, round(steps * level / 1000))
    if steps == 1000:
        assert [lv.t for lv in levels[:-1]] == list(range(level - 1, -1, -1))


@pytest.mark.parametrize("q_noise", ["independent", "shared"])
def test_mixes_are_the_closed_form(q_noise: str) -> None:
    """Eq. 4 forward, a straight mix of the two, and DDPM's chain from that level; the mixes share the step noise."""
    laid, got = on_oracle(recipe(levels=(500, 100), frames=3, q_noise=q_noise))
    eps = NOISE if q_noise == "independent" else [NOISE[0]] * 2
    for row, level in enumerate((500, 100)):
        ab = float(LINEAR.alphas_cumprod[level - 1])
        x, y = (math.sqrt(ab) * x0.double() + math.sqrt(1 - ab) * z for x0, z in zip((A, B), eps, strict=True))
        for i, at in enumerate((0, 0.5, 1)):
            levels = levels_from(LINEAR, level, 20)
            mix = (1 - at) * x + at * y
            expected = DATA.chain(mix[None], levels, eta=1.0, noise=BrownianPath(LINEAR, SHAPE, 0).between)[-1]
            torch.testing.assert_close(got[row][i : i + 1], expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(laid.ends, torch.stack((A, B)).double())


def test_level_0_is_the_mix_of_the_pixels() -> None:
    """Fig. 9's last row, which takes no network call."""
    laid, got = on_oracle(recipe(levels=(10, 0), frames=5))
    expected = torch.stack([(1 - at) * A + at * B for at in (0, 0.25, 0.5, 0.75, 1)]).double()
    torch.testing.assert_close(laid.pixels, expected)
    assert set(got) == {0}
    assert (to_pixels(laid.pixels) == to_pixels(expected)).all()
    planned = plan(recipe(levels=(0,), frames=5), lambda name: ORACLE)
    assert (planned.evaluations, planned.transitions, planned.calls(64), planned.nfe) == (0, 0, 0, (0,))


def test_independent_noise_shrinks_in_the_middle_and_one_noise_does_not() -> None:
    """The deviation of the mix's noise is sqrt(1/2) of its level's for the paper's independent noises."""
    for q_noise, shrunk in (("independent", math.sqrt(0.5)), ("shared", 1.0)):
        ends = (of_tensor(torch.zeros(3, 64, 64)),) * 2
        big = Model("big", None, LINEAR, (3, 64, 64), "0" * 64)  # type: ignore[arg-type]
        planned = plan(recipe(levels=(1000,), frames=3, ends=ends, q_noise=q_noise), lambda name, model=big: model)
        process = planned.process(CPU)
        next(process)
        query = next(process)
        deviation = [float(x.std()) for x in query.x_t]  # type: ignore[union-attr]
        assert deviation == pytest.approx([1, shrunk, 1], rel=0.02)
        assert query.t == [999] * 3  # type: ignore[union-attr]


def test_at_the_last_level_nothing_of_the_pictures_is_left() -> None:
    """sqrt(alpha_bar_T) is 0.6 per cent, so level T gives new pictures, whatever the ends."""
    _, one = on_oracle(recipe(levels=(1000, 10), frames=2))
    _, other = on_oracle(recipe(levels=(1000, 10), frames=2, ends=PICTURES[::-1]))
    apart = [float((one[row] - other[row]).abs().max()) for row in (0, 1)]
    assert apart[0] < 0.05 < 0.5 < apart[1]


def test_fresh_step_noise_is_another_for_each_mix() -> None:
    same, fresh = (on_oracle(recipe(ends=PICTURES[:1] * 2, levels=(500,), frames=3, q_noise="shared", step_noise=noise))[1][0]
                   for noise in ("shared", "fresh"))  # fmt: skip
    torch.testing.assert_close(same, same[:1].expand_as(same), rtol=0, atol=1e-11)
    torch.testing.assert_close(fresh[0], same[0])
    assert not torch.allclose(fresh[1], fresh[0], atol=0.01)


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False, device=CPU)


def test_seeds_become_the_pictures_of_the_source_sampler_first(engine: Engine) -> None:
    source = Arm(steps=3)
    ends = Source(seed=7), of_tensor(torch.zeros(3, 8, 8)), Source(seed=8)
    own = engine.final(Recipe(arms=(source,), model="tiny", precision="fp32", seed=7, pictures=2))[0].clamp(-1, 1)
    for pair, expected in (((ends[0], ends[2]), own), ((ends[1], ends[0]), torch.stack((torch.zeros(3, 8, 8), own[0])))):
        asked = recipe(model="tiny", precision="fp32", ends=pair, source=source, levels=(100, 0), frames=2)
        planned = engine.plan(asked)
        seeds = len(asked.seeds)
        assert (planned.before, planned.transitions, planned.evaluations) == (3, 5, 3 * seeds + 2 * 2)
        assert [planned.evaluated(done) for done in range(6)] == [seeds * min(k, 3) + 2 * max(k - 3, 0) for k in range(6)]
        frames = list(engine.run(asked))
        assert [type(frame) for frame in frames] == [MixSourceStep] * 3 + [MixStart] + [FramesStep] * 2
        assert [frame.k for frame in frames] == [0, 1, 2, 2, 3, 4]
        torch.testing.assert_close(frames[3].ends, expected, rtol=0, atol=2 / 255)


def test_a_recipe_is_its_json() -> None:
    for asked in (recipe(), recipe(ends=(Source(seed=1), PICTURES[0]), levels=FIG_9, q_noise="shared", branch=3)):
        assert from_json(asked.to_json()) == asked


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"levels": (1001,)}, "level must be a whole number from 0 to 1000; got 1001"),
        ({"levels": (-1,)}, "level must be a whole number 0 or more; got -1"),
        ({"levels": (5, 5)}, "level must not be named twice"),
        ({"levels": ()}, "level must be 1 to 11 levels"),
        ({"frames": 1}, "frames must be a whole number from 2 to 33; got 1"),
        ({"frames": 1000}, "frames must be a whole number from 2 to 33; got 1000"),
        ({"ends": PICTURES[:1]}, "ends must be two pictures or seeds; got 1"),
        ({"q_noise": "none"}, "q_noise must be one of independent, shared; got 'none'"),
        ({"chain": Arm()}, "chain must be DDPM with trailing spacing, which enters at the very level"),
        ({"chain": replace(CHAIN, steps=1001)}, "steps must be a whole number from 1 to 1000; got 1001"),
    ],
)
def test_what_it_refuses(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        plan(recipe(**changes), lambda name: ORACLE)
    assert str(caught.value) == sentence


def test_on_the_bundled_model_the_ends_come_back_the_better_the_less_they_were_noised() -> None:
    """Fig. 9's reconstruction columns, by the whole chain."""
    chain = Arm(method="ddpm", steps=1000)
    asked = MixRecipe(ends=(Source(seed=7), Source(seed=8)), source=Arm(steps=10), levels=(10, 50), frames=2, chain=chain)
    bundled = Engine(allow_hub=False, device=CPU)
    for slightly, more in zip(*bundled.run(asked).result.reconstructions(), strict=True):
        assert slightly < 5
        assert slightly < more
