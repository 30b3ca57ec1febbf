"""Worlds of two numbers: points in place of pictures, whose best network is exact, run by the sampler that pictures are run by.

The 400 points of a run are the positions of one picture of two channels, the coordinates. DDIM and DDPM are rows of one run, so
both see the same starts, and each point has a noise path of its own. Distances are between points of the plane.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise

from ddim_app.diffusion.fixed_point_inversion import fixed_point
from ddim_app.diffusion.gaussian_mixture import Mixture
from ddim_app.diffusion.naive_inversion import AskedNetwork, down, naive
from ddim_app.diffusion.noise import BrownianPath, Shape, initial_noise
from ddim_app.diffusion.sampler import Draw, Row, drive, sample
from ddim_app.diffusion.schedule import Level, Schedule, betas, cumulative
from ddim_app.errors import FieldError, choice, real, shown, whole
from ddim_app.lazy import Tensor, torch

SHAPE: Shape = (2, 20, 20)
STD = 0.14
"""Standard deviation of every cloud, also of the small ones that moons and ring are made of."""
REFERENCE = 250
"""Steps of the ends that others are measured to, and the most that are offered."""
LADDER = (2, 4, 8, 16, 32)
OUTSIDE = 4
"""A point so many standard deviations from every cloud belongs to none; of a cloud's own points one in 3,000 does."""
MOST_CLOUDS, FARTHEST = 8, 2.5

Points = tuple[tuple[float, float], ...]


@cache
def schedule() -> Schedule:
    """DDPM's linear one, with T = 1000."""
    return Schedule(cumulative(betas()))


def _arc(x: float, y: float, radius: float, first: float, last: float, count: int) -> Points:
    """`count` points of an arc, from one angle to another, in degrees."""
    angles = (math.radians(first + (last - first) * i / (count - 1)) for i in range(count))
    return tuple((x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles)


@dataclass(frozen=True)
class PointWorld:
    """A mixture of equal round clouds."""

    name: str
    centres: Points
    groups: tuple[int, ...]
    """Which part of the world each cloud belongs to."""
    part: str
    """What a part is called."""

    @cached_property
    def mixture(self) -> Mixture:
        return Mixture.round(torch.tensor(self.centres, dtype=torch.float64), STD)

    def parts(self, points: Tensor) -> Tensor:
        """Number of the part that each of points (2, ...) is nearest to."""
        return torch.tensor(self.groups)[self.mixture.nearest(points)[0]]

    def elsewhere(self, points: Tensor, others: Tensor) -> float:
        """The share of points (2, P) that are in another part of the world than others, each than its own."""
        return float((self.parts(points) != self.parts(others)).double().mean())

    def outside(self, points: Tensor) -> float:
        """The share of points (2, ...) that belong to no cloud, being more than OUTSIDE standard deviations from all."""
        return float((self.mixture.nearest(points)[1] > OUTSIDE).double().mean())


def own(centres: object) -> PointWorld:
    """A world of clouds that somebody put there, one or more pairs of coordinates; raises FieldError."""
    if not isinstance(centres, Sequence) or not 1 <= len(centres) <= MOST_CLOUDS:
        raise FieldError("clouds", f"must be 1 to {MOST_CLOUDS} places; got {shown(centres)}")
    if not all(isinstance(centre, Sequence) and not isinstance(centre, str) and len(centre) == 2 for centre in centres):
        raise FieldError("clouds", f"must be pairs of coordinates; got {shown(centres)}")
    placed = tuple((_coordinate(x), _coordinate(y)) for x, y in centres)
    return PointWorld("own", placed, tuple(range(len(placed))), "cloud")


def _coordinate(value: object) -> float:
    return round(real("clouds", value, -FARTHEST, FARTHEST), 2)


WORLDS = {
    world.name: world
    for world in (
        PointWorld("clouds", ((-1.5, 0.85), (1.5, 0.65), (0.0, -1.45)), (0, 1, 2), "cloud"),
        PointWorld(
            "moons", (*_arc(-0.6, -0.3, 1.2, 0, 180, 14), *_arc(0.6, 0.3, 1.2, 180, 360, 14)), (0,) * 14 + (1,) * 14, "moon"
        ),
        PointWorld("ring", _arc(0, 0, 1.5, 7.5, 352.5, 24), tuple(i // 6 for i in range(24)), "quarter of the ring"),
    )
}


@dataclass(frozen=True)
class PointRun:
    """What became of the starts in so many steps: by DDIM, by DDPM, and by DDPM with another draw of noise."""

    world: PointWorld
    levels: tuple[Level, ...]
    paths: Tensor
    """(3, levels, 2, 400), float64."""

    @property
    def ends(self) -> Tensor:
        """(3, 2, 400)."""
        return self.paths[:, -1]

    def straightness(self, row: int) -> float:
        """How many times the direct way the paths of a row are long, in the median."""
        path = self.paths[row]
        length = (path[1:] - path[:-1]).norm(dim=1).sum(0)
        return float((length / (path[-1] - path[0]).norm(dim=0)).median())

    @property
    def changed(self) -> float:
        """The share of points that the other draw of noise brings to another part of the world."""
        return self.world.elsewhere(self.ends[1], self.ends[2])


@lru_cache(maxsize=12)
def run(world: PointWorld, steps: int, starts: int, noise: int) -> PointRun:
    """A run by the seeds of its starts and of its step noise; raises FieldError for values that there are not."""
    whole("steps", steps, 1, REFERENCE)
    levels = schedule().levels(steps)
    rows = [Row(levels), *(Row(levels, eta=1.0, draw=noises(noise, branch, steps)) for branch in (0, 1))]
    x = started(starts).expand(len(rows), -1, -1, -1)
    visited = [x, *(step.x_next for step in drive(sample(x, rows), world.mixture.network(schedule())))]
    return PointRun(world, tuple(levels), torch.stack(visited, 1).flatten(3))


@lru_cache(maxsize=24)
def ladder(world: PointWorld, starts: int, noise: int) -> Tensor:
    """Ends (2, columns, 2, 400) of DDIM and DDPM after each of LADDER's steps, and after REFERENCE; all rows of one run."""
    columns = (*LADDER, REFERENCE)
    rows = [Row(schedule().levels(steps)) for steps in columns]
    rows += [Row(schedule().levels(steps), eta=1.0, draw=noises(noise, 0, steps)) for steps in columns]
    x = started(starts).expand(len(rows), -1, -1, -1).clone()
    for step in drive(sample(x, rows), world.mixture.network(schedule())):
        x[list(step.rows)] = step.x_next  # a row that has left keeps what it had last
    return x.view(2, len(columns), 2, -1)


def started(seed: int) -> Tensor:
    """The starts (1, 2, 20, 20) of a seed, float64."""
    return initial_noise([whole("starts", seed, 0, 999)], SHAPE).double()


@lru_cache(maxsize=24)
def noises(seed: int, branch: int, steps: int) -> Draw:
    """The step noise of a run, drawn once: worlds and starts may change while it stays."""
    path = BrownianPath(schedule(), SHAPE, whole("noise", seed, 0, 999), branch)
    moves = [(cur.t, nxt.t) for cur, nxt in pairwise(schedule().levels(steps)) if not nxt.is_clean]
    drawn = {move: path.between(*move) for move in moves}
    return lambda cur, nxt: drawn[cur, nxt]


@dataclass(frozen=True)
class RoundTrip:
    """Points of the data taken up to noise in so many steps, by DDIM run backwards, and down again by DDIM."""

    visited: Tensor
    """(levels, 2, 400), where they were on their way up, the data first."""
    back: Tensor
    """(2, 400), where they came to."""


@lru_cache(maxsize=32)
def round_trip(world: PointWorld, steps: int, evaluations: int = 1) -> RoundTrip:
    """By the naive way up, or with more than one evaluation of each step by its fixed point."""
    x0 = world.mixture.draw(SHAPE[1] * SHAPE[2], torch.Generator().manual_seed(0)).view(1, *SHAPE)
    levels, asked = schedule().levels(steps), AskedNetwork(schedule().level(0))
    way = naive(x0, levels, asked) if evaluations == 1 else fixed_point(x0, levels, asked, [evaluations] * steps)
    network = world.mixture.network(schedule())
    visited = [x0, *(move.x for move in drive(way, network))]
    *_, last = drive(down(visited[-1], levels, asked), network)
    return RoundTrip(torch.cat(visited).flatten(2), last.x.view(2, -1))


def apart(ends: Tensor, others: Tensor) -> float:
    """Distance of points (2, P) from others, each from its own, in the median."""
    return float((ends - others).norm(dim=0).median())


def named(name: object, centres: object = None) -> PointWorld:
    """A world by its name, with its clouds if it is somebody's own; raises FieldError."""
    return own(centres) if name == "own" else WORLDS[choice("world", name, (*WORLDS, "own"))]
