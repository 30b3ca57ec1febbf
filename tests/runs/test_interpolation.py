"""Paths of latents as runs: closed forms on Gaussian data, ends, step noise, and recipes that refuse."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from ddim_app.diffusion import latent_paths
from ddim_app.diffusion.metrics import rmse, smoothness
from ddim_app.diffusion.noise import MAX_SEED, BrownianPath, initial_noise
from ddim_app.diffusion.sampler import drive
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.models.loading import Model
from ddim_app.runs.interpolation import NOISES, MovingArm, PathRecipe
from ddim_app.runs.interpolation_plan import PathPlan
from ddim_app.runs.kinds import from_json, plan
from ddim_app.runs.path_frames import CollectedFrames, FramesStep, PathStart
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import Source, of_pixels, of_tensor
from tests.oracle import Gaussian
from tests.toys import LINEAR

CPU = torch.device("cpu")
SHAPE = (3, 4, 4)
DATA = Gaussian(0.3, 0.5)
ORACLE = Model("oracle", None, LINEAR, SHAPE, "0" * 64)  # type: ignore[arg-type]
DDIM = MovingArm(steps=7, clip="off")
DDPM = replace(DDIM, method="ddpm")
PIXEL = 2 / 255


def seeds(*numbers: int) -> tuple[Source, ...]:
    return tuple(Source(seed=number) for number in numbers)


def recipe(*arms: MovingArm, **changes: Any) -> PathRecipe:
    return PathRecipe(**{"arms": arms or (DDIM,), "ends": seeds(7, 8), "precision": "fp64"} | changes)


def on_oracle(asked: PathRecipe) -> CollectedFrames:
    """The run on the best network that there can be for DATA, in float64."""
    planned = plan(asked, lambda name: ORACLE)
    network = DATA.network(LINEAR.alphas_cumprod)
    return collected(planned, (frame for report in drive(planned.process(CPU), network) for frame in planned.frames(report)))


def collected(planned: PathPlan, frames: Iterable[Any]) -> CollectedFrames:
    collector = planned.collector()
    for frame in frames:
        collector.add(frame)
    return collector


def latents(*numbers: int) -> torch.Tensor:
    return initial_noise(numbers, SHAPE).double()


@pytest.mark.parametrize("way", latent_paths.WAYS)
def test_a_line_is_the_closed_form_of_every_point(way: str) -> None:
    got = on_oracle(recipe(way=way, frames=5, start=-0.5, stop=1.5))
    points = latent_paths.WAYS[way](*(latents(seed).expand(5, *SHAPE) for seed in (7, 8)), [-0.5, 0, 0.5, 1, 1.5])
    torch.testing.assert_close(got.latents, points)
    torch.testing.assert_close(got.pictures[0], DATA.chain(points, LINEAR.levels(7))[-1], rtol=0, atol=1e-11)
    assert torch.equal(got.ends, latents(7, 8))


@pytest.mark.parametrize("large", [False, True])
def test_ddpm_with_moving_noise_is_the_closed_form_with_every_noise_slerped(large: bool) -> None:
    got = on_oracle(recipe(replace(DDPM, variance="large" if large else "small"), frames=4))
    noise = [BrownianPath(LINEAR, SHAPE, seed) for seed in (7, 8)]
    for i, at in enumerate(latent_paths.spread(4)):
        x = latent_paths.slerp(latents(7), latents(8), [at])

        def slerped(cur: int, nxt: int, at: float = at) -> torch.Tensor:
            return latent_paths.slerp(noise[0].between(cur, nxt)[None], noise[1].between(cur, nxt)[None], [at])

        expected = DATA.chain(x, LINEAR.levels(7), eta=1.0, noise=slerped, large=large)[-1]
        torch.testing.assert_close(got.pictures[0][i : i + 1], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("arm", [DDIM, replace(DDIM, eta=0.5), DDPM])
def test_ends_are_the_pictures_of_their_own_seeds(arm: MovingArm) -> None:
    got = on_oracle(recipe(arm, frames=3)).pictures[0]
    eta = 1.0 if arm.method == "ddpm" else arm.eta
    for i, seed in ((0, 7), (2, 8)):
        own = DATA.chain(latents(seed), LINEAR.levels(7), eta=eta, noise=BrownianPath(LINEAR, SHAPE, seed).between)[-1]
        torch.testing.assert_close(got[i : i + 1], own, rtol=0, atol=1e-11)


def test_what_the_step_noise_does_from_frame_to_frame() -> None:
    """Shared: pictures differ by x_T alone, on Gaussian data by the product of gains. Fresh: a seed per frame."""
    got = dict(zip(NOISES, on_oracle(recipe(*(replace(DDPM, noise=noise) for noise in NOISES), frames=3)).pictures, strict=True))
    levels = LINEAR.levels(7)
    points = latent_paths.slerp(latents(7).expand(3, *SHAPE), latents(8).expand(3, *SHAPE), [0, 0.5, 1])
    for noise, named in (("shared", (7, 7, 7)), ("fresh", (7, 8, 9))):
        for i, seed in enumerate(named):
            path = BrownianPath(LINEAR, SHAPE, seed).between
            expected = DATA.chain(points[i : i + 1], levels, eta=1.0, noise=path)[-1]
            torch.testing.assert_close(got[noise][i : i + 1], expected, rtol=0, atol=1e-11)
    steps = {noise: sum(smoothness(pictures, [(0, 1), (1, 2)]).rmse) for noise, pictures in got.items()}
    assert steps["shared"] < steps["slerp"] < steps["fresh"]


def test_a_noise_seed_and_a_branch_rename_the_step_noise() -> None:
    plain, named, branched = (
        on_oracle(recipe(DDPM, frames=2, **more)).pictures[0] for more in ({}, {"noise_seed": 7}, {"branch": 1})
    )
    assert torch.equal(plain, named)  # noise_seed + i are the ends' own seeds here
    assert not torch.allclose(plain, branched)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (recipe(mode="grid", ends=seeds(1, 2, 3, 4), rows=3, columns=2), latent_paths.grid([0, 0.5, 1], [0, 1])),
        (recipe(mode="loop", ends=seeds(1, 2, 3), frames=6), latent_paths.loop(latents(1, 2, 3), 6)),
        (recipe(mode="loop", ends=seeds(1), frames=4), latent_paths.loop(latents(1), 4)),
        (recipe(mode="arithmetic", ends=seeds(1, 2, 3), frames=3), latent_paths.arithmetic([0, 0.5, 1])),
        (recipe(mode="variation", ends=seeds(1, 2, 3), strength=0.2), latent_paths.variations(0.2)),
        (recipe(mode="truncation", ends=seeds(1), frames=3, start=0.5, stop=1.0), latent_paths.scales([0.5, 0.75, 1])),
    ],
)
def test_each_mode_is_its_path_and_every_frame_is_its_closed_form(asked: PathRecipe, path: latent_paths.Path) -> None:
    got = on_oracle(asked)
    points = path(latents(*(end.seed or 0 for end in asked.ends)))
    torch.testing.assert_close(got.latents, points)
    assert len(points) == asked.cells == len(asked.captions)
    torch.testing.assert_close(got.pictures[0], DATA.chain(points, LINEAR.levels(7))[-1], rtol=0, atol=1e-11)
    assert {i for pair in asked.neighbours for i in pair} == set(range(asked.cells))


def test_moving_noise_goes_the_same_way_in_every_mode() -> None:
    """On a grid the noise of the corners, in a loop at the keys; of a scaled latent it stays as it is."""
    for asked in (
        recipe(DDPM, mode="grid", ends=seeds(1, 2, 3, 4), rows=2, columns=2),
        recipe(DDPM, mode="loop", ends=seeds(5, 6), frames=2),
        recipe(DDPM, mode="arithmetic", ends=seeds(5, 6, 9), frames=2, way="lerp"),
        recipe(DDPM, mode="variation", ends=seeds(5, 6), strength=0),
        recipe(DDPM, mode="truncation", ends=seeds(5), start=1, stop=1, frames=2),
    ):
        got, first = on_oracle(asked).pictures[0][:1], asked.ends[0].seed or 0
        own = DATA.chain(latents(first), LINEAR.levels(7), eta=1.0, noise=BrownianPath(LINEAR, SHAPE, first).between)[-1]
        torch.testing.assert_close(got, own, rtol=0, atol=1e-11)


def test_neighbours_of_every_mode() -> None:
    assert recipe(frames=3).neighbours == [(0, 1), (1, 2)]
    assert recipe(mode="loop", ends=seeds(1, 2), frames=3).neighbours == [(0, 1), (1, 2), (2, 0)]
    assert recipe(mode="grid", ends=seeds(1, 2, 3, 4), rows=2, columns=3).neighbours == [
        (0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5),
    ]  # fmt: skip
    assert recipe(mode="variation", ends=seeds(1, 2, 3)).neighbours == [(0, 1), (0, 2)]


def test_smoothness_of_known_pictures() -> None:
    black, grey = -torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    found = smoothness(torch.cat((black, grey, 3 * torch.ones(1, 3, 8, 8))), [(0, 1), (1, 2), (0, 2)])
    assert found.rmse == pytest.approx([127.5, 127.5, 255])
    assert (found.mean, found.largest) == (pytest.approx(170), pytest.approx(255))
    assert smoothness(torch.cat((grey, grey)), [(0, 1)]) == ([0.0], pytest.approx([1.0]))


def test_equal_ends_make_equal_frames() -> None:
    got = on_oracle(recipe(DDIM, DDPM, ends=seeds(7, 7), frames=4)).pictures
    for strip in got:
        torch.testing.assert_close(strip, strip[:1].expand_as(strip), rtol=0, atol=1e-11)


def test_latents_are_ends_like_seeds() -> None:
    """And mix with them; the step noise of a latent is named by its place."""
    by_seed = on_oracle(recipe(frames=3))
    floats = of_tensor(latents(8)[0])
    by_latent = on_oracle(recipe(frames=3, ends=(Source(seed=7), floats)))
    assert torch.equal(by_seed.pictures[0], by_latent.pictures[0])
    moving = on_oracle(recipe(DDPM, frames=2, ends=(Source(seed=7), floats), noise_seed=7))
    torch.testing.assert_close(moving.pictures[0], on_oracle(recipe(DDPM, frames=2)).pictures[0], rtol=0, atol=1e-11)


def test_pictures_are_inverted_first_and_come_back() -> None:
    """By the fixed-point method on the arms' own steps, decoded without clipping, although the arm asks for it."""
    picture = of_pixels(initial_noise([3], SHAPE)[0].clamp(-1, 1))
    arm = MovingArm(steps=40, clip="clip")
    asked = recipe(arm, replace(arm, method="ddpm", steps=30), ends=(picture, Source(seed=8), picture), mode="loop", frames=3)
    planned = plan(asked, lambda name: ORACLE)
    assert (asked.pictures, planned.before, planned.transitions, planned.nfe) == ([0, 2], 40, 80, (40,))
    assert {row.clip for row in planned.rows} == {"off"}
    assert planned.evaluations == 2 * sum(planned.allotted) + 3 * 2 * 40
    assert planned.calls(64) == sum(planned.allotted) + 40
    assert sum(planned.allotted) == 4 * 40
    network = DATA.network(LINEAR.alphas_cumprod)
    frames = [frame for report in drive(planned.process(CPU), network) for frame in planned.frames(report)]
    kinds = [type(frame).__name__ for frame in frames]
    assert kinds == ["EndInversionStep"] * 40 + ["PathStart"] + ["FramesStep"] * 80
    assert [frame.k for frame in frames] == [*range(40), 39, *(k for k in range(40, 80) for _ in range(2))]
    got = collected(planned, frames)
    back = got.pictures[0][0]
    torch.testing.assert_close(back, picture.tensor(SHAPE)[0].double(), rtol=0, atol=PIXEL)
    torch.testing.assert_close(got.ends[0], got.ends[2])
    torch.testing.assert_close(DATA.chain(got.ends[:1], LINEAR.levels(40))[-1][0], back, rtol=0, atol=1e-10)
    assert torch.equal(got.ends[1:2], latents(8))


def test_pictures_need_a_network_that_can_be_inverted() -> None:
    picture = of_pixels(initial_noise([3], SHAPE)[0].clamp(-1, 1))
    with pytest.raises(FieldError, match="precision must be fp32 or fp64 where an end is a picture, which bf16 cannot invert"):
        recipe(ends=(picture, Source(seed=8)), precision="fast")


# ---- on the engine -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False, device=CPU)


def test_a_run_streams_its_frames_as_rows_of_one_batch(engine: Engine) -> None:
    asked = recipe(MovingArm(steps=3), MovingArm(method="ddpm", steps=5), model="tiny", precision="fp32", frames=4)
    planned = engine.plan(asked)
    assert isinstance(planned, PathPlan)
    assert (planned.evaluations, planned.transitions, planned.nfe) == (4 * 8, 5, (3, 5))
    assert [planned.evaluated(done) for done in range(6)] == [0, 8, 16, 24, 28, 32]
    assert (planned.calls(64), planned.calls(4)) == (5, 8)
    calls = engine.loop.calls
    laid, *frames = engine.run(asked)
    assert engine.loop.calls == calls + 5
    assert isinstance(laid, PathStart)
    assert laid.latents.shape == (4, 3, 8, 8)
    assert all(isinstance(frame, FramesStep) and frame.x.shape == (4, 3, 8, 8) for frame in frames)
    assert [(frame.arm, frame.k) for frame in frames] == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (1, 3), (1, 4)]
    assert [frame.is_last for frame in frames] == [False] * 4 + [True, False, False, True]


def test_ends_on_a_network_are_the_pictures_of_their_seeds_to_one_level(engine: Engine) -> None:
    arms = MovingArm(steps=4), MovingArm(method="ddpm", steps=4)
    asked = recipe(*arms, model="tiny", precision="fp32", ends=seeds(3, 9), frames=5)
    for strip, arm in zip(engine.run(asked).result.pictures, (Arm(steps=4), Arm(method="ddpm", steps=4)), strict=True):
        for i, seed in ((0, 3), (-1, 9)):
            own = engine.final(Recipe(arms=(arm,), model="tiny", precision="fp32", seed=seed))[0][0]
            assert float((strip[i] - own).abs().max()) <= PIXEL


def test_a_recipe_is_its_json(engine: Engine) -> None:
    for asked in (
        recipe(),
        recipe(DDIM, replace(DDPM, noise="fresh"), mode="grid", ends=seeds(0, 1, 2, MAX_SEED), rows=11, columns=11, way="restored"),
        recipe(ends=(Source(seed=1), of_tensor(latents(2)[0])), noise_seed=3, branch=2, start=-0.25),
    ):
        assert from_json(asked.to_json()) == asked
    made = engine.plan(recipe(model="tiny")).recipe.made({"tiny": "a" * 64})
    assert from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"frames": 1}, "frames must be a whole number from 2 to 121; got 1"),
        ({"frames": 1000}, "frames must be a whole number from 2 to 121; got 1000"),
        ({"mode": "spiral"}, "mode must be one of line, grid, loop, arithmetic, variation, truncation; got 'spiral'"),
        ({"mode": "grid"}, "ends must be 4 for a grid; got 2"),
        ({"mode": "loop", "ends": ()}, "ends must be 1 to 16 for a loop; got 0"),
        ({"mode": "grid", "ends": seeds(1, 2, 3, 4), "rows": 12}, "rows must be a whole number from 2 to 11; got 12"),
        ({"start": -1.5}, "start must be a number from -1 to 2; got -1.5"),
        ({"stop": float("nan")}, "stop must be a number from -1 to 2; got nan"),
        ({"strength": 2}, "strength must be a number from 0 to 1; got 2"),
        ({"way": "direct"}, "way must be one of slerp, lerp, restored; got 'direct'"),
        ({"arms": ()}, "arms must be 1 to 4 arms; got 0"),
        ({"noise_seed": -1}, f"noise_seed must be a whole number from 0 to {MAX_SEED}; got -1"),
        ({"model": ""}, "model must be the name of a model; got ''"),
    ],
)
def test_what_a_recipe_refuses(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        recipe(**changes)
    assert str(caught.value) == sentence


def test_what_a_model_or_a_host_refuses(tiny_root) -> None:
    capped = Engine([tiny_root], allow_hub=False, device=CPU, max_evaluations=500)
    with pytest.raises(FieldError, match="cost must be at most 500 evaluations on this host, and this run needs 847"):
        capped.plan(recipe(model="tiny", mode="grid", ends=seeds(1, 2, 3, 4), rows=11, columns=11))
    with pytest.raises(FieldError, match=r"it is 3x4x4 .*, not 3x8x8"):
        capped.plan(recipe(model="tiny", ends=(Source(seed=1), of_tensor(latents(2)[0]))))
    with pytest.raises(FieldError, match="noise must be one of slerp, shared, fresh; got 'some'"):
        MovingArm(noise="some")
    with pytest.raises(FieldError, match="seed is the recipe's for all arms of a path"):
        MovingArm(seed=3)


def test_labels_say_what_the_noise_does() -> None:
    arms = DDIM, replace(DDIM, eta=0.5), replace(DDPM, noise="shared"), replace(DDPM, noise="fresh", variance="large")
    assert [arm.label for arm in arms] == [
        "DDIM(η = 0)", "DDIM(η = 0.5), noise moves along", "DDPM, one noise for all", "DDPM(σ̂), fresh noise",
    ]  # fmt: skip


def test_smaller_steps_are_smoother() -> None:
    """Neighbours of a path of twice as many frames are about half as far apart, on a map that is linear."""
    coarse, fine = (smoothness(on_oracle(recipe(frames=n)).pictures[0], recipe(frames=n).neighbours).mean for n in (5, 9))
    assert fine == pytest.approx(coarse / 2, rel=0.1)
    ends = on_oracle(recipe(frames=5)).pictures[0][[0, -1]]
    assert coarse < float(rmse(ends[:1], ends[1:]))
    assert all(a < b for a, b in pairwise(recipe(frames=9).at))


@pytest.mark.parametrize(
    ("changes", "count"),
    [({"frames": 32}, 2), ({"frames": 33, "start": -0.5}, 9), ({"frames": 5}, None),
     ({"mode": "loop", "frames": 32, "ends": seeds(7, 8, 9)}, 8), ({"mode": "grid", "ends": seeds(1, 2, 3, 4)}, None)],
)  # fmt: skip
def test_a_coarser_path_has_some_of_the_same_frames(changes: dict[str, Any], count: int | None) -> None:
    fine = recipe(**changes)
    coarse = fine.coarser()
    assert (coarse and coarse.frames) == count
    if coarse is None:
        return
    keys = initial_noise([end.seed for end in fine.ends if end.seed is not None], SHAPE)
    stride = (fine.frames - (fine.mode == "line")) // (coarse.frames - (fine.mode == "line"))
    torch.testing.assert_close(coarse.path(keys)(keys), fine.path(keys)(keys)[::stride], rtol=0, atol=1e-6)
