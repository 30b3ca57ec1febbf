"""Worlds of two numbers against a script that shares no code with them but the noise."""

import math

import numpy as np
import pytest
import torch

from ddim_app.diffusion.noise import BrownianPath, initial_noise
from ddim_app.errors import FieldError
from ddim_app.studies import point_worlds
from ddim_app.studies.point_worlds import LADDER, REFERENCE, SHAPE, STD, WORLDS, apart, ladder, named
from tests.toys import LINEAR

BETAS = np.linspace(1e-4, 0.02, 1000)
ALPHA_BARS = np.cumprod(1 - BETAS)


def scripts_ends(centres, steps, starts, noise, branch=None):
    """Ends (400, 2) by DDIM, or with a `branch` by DDPM's posterior (DDPM Eq. 7) from pred_x0, in NumPy, point by point."""
    x = initial_noise([starts], SHAPE).double().numpy().reshape(2, -1).T
    path = BrownianPath(LINEAR, SHAPE, noise, branch or 0)
    visited = [round(1000 - i * 1000 / steps) - 1 for i in range(steps)]
    for t, s in zip(visited, [*visited[1:], None], strict=True):
        a, b = ALPHA_BARS[t], 1.0 if s is None else ALPHA_BARS[s]
        variance = a * STD**2 + 1 - a
        toward = x[:, None] - math.sqrt(a) * np.array(centres)
        share = np.exp(-(toward**2).sum(-1) / (2 * variance))
        share /= share.sum(1, keepdims=True)
        eps = math.sqrt(1 - a) * (share[:, :, None] * toward).sum(1) / variance
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        if branch is None:
            x = math.sqrt(b) * x0 + math.sqrt(1 - b) * eps
        else:
            ratio = a / b
            x = (math.sqrt(b) * (1 - ratio) * x0 + math.sqrt(ratio) * (1 - b) * x) / (1 - a)
            if s is not None:
                x += math.sqrt((1 - b) / (1 - a) * (1 - ratio)) * path.between(t, s).numpy().reshape(2, -1).T
    return x


def cloud(points, centres):
    return ((points[:, None] - np.array(centres)) ** 2).sum(-1).argmin(1)


@pytest.mark.parametrize(("name", "steps"), [("clouds", 8), ("clouds", 40), ("ring", 12)])
def test_ends_and_the_share_that_changes_place_are_an_independent_scripts(name, steps):
    world = WORLDS[name]
    found = point_worlds.run(world, steps, 7, 3)
    scripts = [scripts_ends(world.centres, steps, 7, 3, branch) for branch in (None, 0, 1)]
    np.testing.assert_allclose(found.ends.permute(0, 2, 1).numpy(), np.stack(scripts), atol=1e-8)
    groups = np.array(world.groups)
    first, second = (groups[cloud(points, world.centres)] for points in scripts[1:])
    assert found.changed == pytest.approx((first != second).mean(), abs=1e-12)
    assert 0.3 < found.changed < 0.9


def test_the_ladder_has_the_ends_of_each_run_alone():
    world = WORLDS["moons"]
    ends = ladder(world, 2, 4)
    for column, steps in enumerate((*LADDER, REFERENCE)):
        if steps in (2, 16):
            torch.testing.assert_close(ends[:, column], point_worlds.run(world, steps, 2, 4).ends[:2], rtol=0, atol=1e-10)
    away = [apart(ends[0, column], ends[0, -1]) for column in range(len(LADDER))]
    assert away == sorted(away, reverse=True)


def test_ddims_paths_are_near_the_direct_way_and_ddpms_are_not():
    found = point_worlds.run(WORLDS["clouds"], 8, 7, 3)
    path = found.paths[1].numpy()
    lengths = np.sqrt((np.diff(path, axis=0) ** 2).sum(1)).sum(0) / np.sqrt(((path[-1] - path[0]) ** 2).sum(0))
    assert found.straightness(1) == pytest.approx(np.sort(lengths)[199], abs=1e-9)
    assert 1 <= found.straightness(0) < 1.2 < 2 < found.straightness(1)


def test_a_point_far_from_every_cloud_is_between_them():
    world = named("own", [[0, 0], [2, 0]])
    assert world.outside(torch.tensor([[0.0, 1.0, 2.0, 0.5], [0.0, 0.0, 0.6, 0.0]])) == 0.5
    assert world.parts(torch.tensor([[0.9, 1.1], [3.0, 3.0]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("desert",), "world must be one of clouds, moons, ring, own; got 'desert'"),
        (("own", []), "clouds must be 1 to 8 places"),
        (("own", [[0, 0]] * 9), "clouds must be 1 to 8 places"),
        (("own", ["ab"]), "clouds must be pairs of coordinates"),
        (("own", [[0, math.nan]]), "clouds must be a number from -2.5 to 2.5"),
        (("own", [[0, 9]]), "clouds must be a number from -2.5 to 2.5; got 9"),
    ],
)
def test_what_a_world_cannot_be_is_said(values, sentence):
    with pytest.raises(FieldError, match=sentence.replace("(", r"\(")):
        named(*values)


@pytest.mark.parametrize(
    ("values", "field"), [((0, 1, 1), "steps"), ((251, 1, 1), "steps"), ((8, -1, 1), "starts"), ((8, 1, 1000), "noise")]
)
def test_what_a_run_cannot_be_is_said(values, field):
    with pytest.raises(FieldError, match=f"{field} must be a whole number"):
        point_worlds.run(WORLDS["clouds"], *values)
