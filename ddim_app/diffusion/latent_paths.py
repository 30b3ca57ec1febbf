"""Ways between latents: great circles and straight lines, then the lines, grids, loops and sums that are built of them.

DDIM (arXiv:2010.02502) interpolates in x_T: section 5.3 and Fig. 6 on a line, D.5 and Figs 11-13 on a grid. A latent drawn from
N(0, I) has a norm close to sqrt(D), D its number of values, so a network has only ever seen noise of that norm. A straight line
between two latents, nearly at right angles to each other, dips to 0.71 of it in the middle; a great circle keeps it.

Latents are tensors (N, C, H, W), of which each picture is one vector. Angles and norms are taken in float64 and the result is in
the latents' dtype. A place s says how far along: 0 is `a` and 1 is `b`, to the last bit; below 0 and above 1 the way goes on.
"""

import math
from collections.abc import Callable, Sequence

from ddim_app.lazy import Tensor, torch

Way = Callable[[Tensor, Tensor, Sequence[float]], Tensor]
"""(a (N, ...), b (N, ...), N places) -> the latents at these places, one for each row."""
Path = Callable[[Tensor], Tensor]
"""(ends, C, H, W) -> (frames, C, H, W). The noise of a step can be moved along the same path as x_T."""

PARALLEL = 1e-10
"""Sine of an angle below which two directions are taken as equal or opposite."""


def slerp(a: Tensor, b: Tensor, places: Sequence[float], *, long_way: bool = False) -> Tensor:
    """Spherical interpolation: the direction turns at constant speed on the great circle, the norm goes linearly.

    sin((1 - s) theta) / sin(theta) a + sin(s theta) / sin(theta) b for ends of equal norm (Shoemake 1985; DDIM D.5), written as
    a turn in the plane of the two, which stays exact at every angle. Equal ends give themselves. Between opposite ends, where any
    plane would do, it is the plane of a and `quarter_turn(a)`. `long_way` goes round the other side, through 2 pi - theta; with
    equal ends that is the whole circle in the same plane.
    """
    u, v = _directions(a, b)
    cosine = (u * v).sum(1, keepdim=True)
    w = v - cosine * u
    w = w - (w * u).sum(1, keepdim=True) * u
    sine = _length(w)
    parallel = sine < PARALLEL
    w = torch.where(parallel, quarter_turn(u), w / sine.clamp(min=PARALLEL))
    theta = torch.atan2(torch.where(parallel, 0.0, sine), cosine)
    if long_way:
        w, theta = -w, math.tau - theta
    angle = _column(places) * theta
    return _between(_norm(a, b, places) * (angle.cos() * u + angle.sin() * w), a, b, places)


def lerp(a: Tensor, b: Tensor, places: Sequence[float]) -> Tensor:
    """The straight line, a + s (b - a); its norm dips between ends that are not parallel."""
    return _between(_straight(a, b, places), a, b, places)


def restored(a: Tensor, b: Tensor, places: Sequence[float]) -> Tensor:
    """The straight line, scaled to a norm that goes linearly from a's to b's; where it meets the origin, slerp's point."""
    point = _straight(a, b, places)
    length = _length(point)
    norm = _norm(a, b, places)
    lost = length <= PARALLEL * norm
    scaled = point * (norm / torch.where(lost, 1.0, length))
    return _between(torch.where(lost, slerp(a, b, places).double().flatten(1), scaled), a, b, places)


WAYS: dict[str, Way] = {"slerp": slerp, "lerp": lerp, "restored": restored}


def spread(count: int, first: float = 0.0, last: float = 1.0) -> list[float]:
    """`count` places at equal distances, both ends among them; the middle one alone where there is but one.

    >>> spread(5)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if count == 1:
        return [(first + last) / 2]
    return [(first * (count - 1 - i) + last * i) / (count - 1) for i in range(count)]


def line(places: Sequence[float], way: str = "slerp") -> Path:
    """The path from the first of two ends to the second (DDIM Fig. 6)."""
    return lambda ends: WAYS[way](_repeat(ends[0], len(places)), _repeat(ends[1], len(places)), places)


def grid(rows: Sequence[float], columns: Sequence[float], way: str = "slerp") -> Path:
    """The grid between four corners (top left, top right, bottom left, bottom right), row by row: DDIM D.5, Figs 11-13.

    The two pairs of a side each, left and right, are interpolated with the row's coefficient, and then across the two with the
    column's. The order matters a little where norms or angles differ: going across first gives another inside, not other edges.
    """

    def walk(corners: Tensor) -> Tensor:
        left, right = (line(rows, way)(corners[side::2]).repeat_interleave(len(columns), 0) for side in (0, 1))
        return WAYS[way](left, right, list(columns) * len(rows))

    return walk


def loop(keys: Tensor, count: int) -> Path:
    """A closed path of `count` frames through the keys and back, at constant angular speed; the last frame comes before the first.

    Frame 0 is the first key; the others meet the frames only where the angles say so. Three keys and more are joined by the shorter
    arcs. Two go once round their common great circle, and one round the circle in the plane of `quarter_turn`. Keys that are all
    equal make a path that stands still, unless there is but one.
    """
    legs = [(i, (i + 1) % len(keys), len(keys) < 3 and i == len(keys) - 1) for i in range(len(keys))]
    arcs = [math.tau - _angle(keys, i, j) if far else _angle(keys, i, j) for i, j, far in legs]
    if len(keys) == 2 and arcs[0] == 0:
        arcs = [0.0, 0.0]
    places = [_place(arcs, sum(arcs) * k / count) for k in range(count)]

    def walk(ends: Tensor) -> Tensor:
        frames = []
        for leg, place in places:
            i, j, far = legs[leg]
            frames.append(slerp(ends[i : i + 1], ends[j : j + 1], [place], long_way=far))
        return torch.cat(frames)

    return walk


def arithmetic(places: Sequence[float], way: str = "slerp") -> Path:
    """a + s (b - c) for three ends. Plain with "lerp", where its norm grows to 1.73 at 1; else scaled back to the norm of a."""

    def walk(ends: Tensor) -> Tensor:
        a, b, c = (_repeat(end, len(places)) for end in ends)
        total = a.double() + _lift(_column(places), a) * (b.double() - c.double())
        if way != "lerp":
            total *= _lift(norms(a) / norms(total).clamp(min=PARALLEL), a)
        return total.to(ends.dtype)

    return walk


def variations(strength: float, way: str = "slerp") -> Path:
    """The first end, then it moved by `strength` towards each of the others."""

    def walk(ends: Tensor) -> Tensor:
        others = ends[1:]
        return torch.cat((ends[:1], WAYS[way](_repeat(ends[0], len(others)), others, [strength] * len(others))))

    return walk


def scales(factors: Sequence[float]) -> Path:
    """One latent times each factor: what GANs call truncation, here of a norm that the network has never seen."""
    return lambda ends: _repeat(ends[0], len(factors)) * torch.tensor(factors, dtype=ends.dtype).view(-1, *[1] * (ends.ndim - 1))


def norms(x: Tensor) -> Tensor:
    """|x| / sqrt(D) for each latent, float64 (N,): 1 within a few per cent for noise drawn from N(0, I)."""
    flat = x.double().flatten(1)
    return _length(flat)[:, 0] / math.sqrt(flat.shape[1])


def quarter_turn(x: Tensor) -> Tensor:
    """A fixed unit vector at right angles to each of x (N, D): values 2i and 2i + 1 become minus the second and the first.

    A turn of all pairs by 90 degrees, so that of noise it is noise. Where that leaves nearly nothing, since D is odd and x points
    along its last value, the first coordinate axis takes its place, made orthogonal. With D = 1 there is none, and it is 0.
    """
    even = x.shape[1] // 2 * 2
    turned = torch.zeros_like(x)
    turned[:, 0:even:2], turned[:, 1:even:2] = -x[:, 1:even:2], x[:, 0:even:2]
    axis = torch.zeros_like(x)
    axis[:, 0] = 1
    axis = axis - x[:, :1] * x / (x * x).sum(1, keepdim=True).clamp(min=PARALLEL)
    short = _length(turned) < _length(x) / 2
    chosen = torch.where(short, axis, turned)
    return chosen / _length(chosen).clamp(min=PARALLEL)


def _directions(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors float64 (N, D); an end without a direction has the other's."""
    flat_a, flat_b = a.double().flatten(1), b.double().flatten(1)
    norm_a, norm_b = (_length(x) for x in (flat_a, flat_b))
    u, v = (x / torch.where(norm > 0, norm, 1.0) for x, norm in ((flat_a, norm_a), (flat_b, norm_b)))
    return torch.where(norm_a > 0, u, v), torch.where(norm_b > 0, v, u)


def _norm(a: Tensor, b: Tensor, places: Sequence[float]) -> Tensor:
    """The norm that goes linearly, (N, 1); beyond the ends it stops at 0."""
    norm_a, norm_b = (_length(x.double().flatten(1)) for x in (a, b))
    return (norm_a + _column(places) * (norm_b - norm_a)).clamp(min=0)


def _straight(a: Tensor, b: Tensor, places: Sequence[float]) -> Tensor:
    flat_a, flat_b = a.double().flatten(1), b.double().flatten(1)
    return flat_a + _column(places) * (flat_b - flat_a)


def _between(point: Tensor, a: Tensor, b: Tensor, places: Sequence[float]) -> Tensor:
    """The point as a latent, and the ends themselves where the place is 0 or 1."""
    place = _lift(_column(places), a)
    return torch.where(place == 0, a, torch.where(place == 1, b, point.view_as(a).to(a.dtype)))


def _length(flat: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return length


def _column(places: Sequence[float]) -> Tensor:
    return torch.tensor(places, dtype=torch.float64).view(-1, 1)


def _lift(values: Tensor, x: Tensor) -> Tensor:
    """One value per latent, so shaped that it multiplies x."""
    return values.view(-1, *[1] * (x.ndim - 1))


def _repeat(end: Tensor, count: int) -> Tensor:
    return end.expand(count, *end.shape)


def _angle(keys: Tensor, i: int, j: int) -> float:
    u, v = _directions(keys[i : i + 1], keys[j : j + 1])
    # Twice the arc tangent of half the chord: exact for equal and for opposite ones, where an arc cosine is not.
    angle = 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))
    return 0.0 if math.sin(angle) < PARALLEL and angle < 1 else angle


def _place(arcs: Sequence[float], distance: float) -> tuple[int, float]:
    """(leg, how far along it) of a distance from the first key."""
    for leg, arc in enumerate(arcs):
        if distance < arc:
            return leg, distance / arc
        distance -= arc
    return 0, 0.0
