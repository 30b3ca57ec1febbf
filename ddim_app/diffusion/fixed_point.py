"""DDIM inverted as the fixed-point problem that it is, so that one ordinary x_T decodes to the picture.

A step up from x to y is right when y = up(x, eps(y)): then plain DDIM takes y back to x. The next y is looked for by Anderson's
method of depth 1, starting from an eps that is extrapolated along the trajectory, which costs nothing. The step next to the
clean picture has nothing to start from but the picture, in which the network finds no noise at all; Anderson's first strides
from there may end where nothing leads on, so that a few plain steps come before them.
"""

import math
from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ddim_app.diffusion.naive_inversion import AskedNetwork, InversionMove, Levels, Moves, ask, up
from ddim_app.diffusion.sampler import Query
from ddim_app.diffusion.schedule import Level

GROWTH = 2.0
"""How many times its least a picture's residual may be. Anderson's method often passes through worse places to better ones."""
PLAIN = 8
"""Plain steps from a start that is no guess, before Anderson's, at most a fifth of all. On 32 pictures with 50 evaluations the
largest residual is 5e-4 with them and 5e-3 without."""
DAMPING = 0.5
"""Part of a plain step that is taken where it is more, and again of that the next time."""


class SolvedStep(NamedTuple):
    """The y of one step."""

    y: Tensor
    eps: Tensor
    """The last that the network said, from which the next steps guess theirs."""
    pred_x0: Tensor
    residual: Tensor
    """(N,): root mean square of up(x, eps(y)) - y at the best y that was evaluated."""


def allotment(transitions: int, budget: int) -> tuple[int, ...]:
    """How many evaluations each step gets, the one next to the clean picture first; `budget` in all, at least one each.

    That first step hardly contracts and is given the most, up to 50 of them, the second up to 10; what then is left goes
    evenly to the rest, the early ones first.
    """
    spare = max(0, budget - transitions)
    first = min(spare, 49 if transitions > 1 else spare)
    second = min(spare - first, 9) if transitions > 1 else 0
    rest, steps = spare - first - second, transitions - 2
    if steps < 1:
        return (1 + first + rest * (steps < 0), 1 + second + rest)[:transitions]
    more = [rest // steps + (i < rest % steps) for i in range(steps)]
    return (1 + first, 1 + second, *(1 + each for each in more))


def fixed_point(x0: Tensor, levels: Levels, network: AskedNetwork, evaluations: Sequence[int], tolerance: float = 0.0) -> Moves:
    """x at levels[0] whose plain DDIM decode is x0, as near as `evaluations` of the network for each step bring it.

    A step ends early once no picture's residual, a root mean square, is above `tolerance`.
    """
    x, known = x0, list[tuple[float, Tensor]]()
    for k, (cur, nxt) in enumerate(pairwise(reversed(levels))):
        guess = _extrapolated(known, time(nxt))
        start, plain = (x, min(PLAIN, evaluations[k] // 5)) if guess is None else (up(x, guess, cur, nxt)[0], 0)
        found = yield from _solve(x, start, cur, nxt, network, evaluations[k], tolerance, plain)
        known = [*known[-1:], (time(nxt), found.eps)]
        x = found.y
        yield InversionMove(k, nxt, x, found.pred_x0, found.residual)
    return x


def time(level: Level) -> float:
    """sqrt((1 - ab) / ab), in which DDIM is Euler's method."""
    return math.sqrt((1 - level.alpha_bar) / level.alpha_bar)


def _extrapolated(known: Sequence[tuple[float, Tensor]], at: float) -> Tensor | None:
    """eps at a time, on the line through the two that are known last."""
    if len(known) < 2:
        return known[-1][1] if known else None
    (a, eps_a), (b, eps_b) = known
    return eps_b + (at - b) / (b - a) * (eps_b - eps_a)


def _solve(
    x: Tensor, start: Tensor, cur: Level, nxt: Level, network: AskedNetwork, evaluations: int, tolerance: float, plain: int
) -> Generator[Query, Tensor, SolvedStep]:
    """Anderson's method of depth 1 for y = up(x, eps(y)), each picture on its own, after `plain` steps unless it runs away.

    With g = up(x, eps(y)) and f = g - y the next y is g - gamma (g - g_before), where gamma takes f - gamma (f - f_before) to
    its least. A picture whose residual runs away goes back to its best y and takes half a plain step, then a quarter, and so on.
    """
    y = start
    part = torch.ones(len(x), dtype=_wide(x), device=x.device)
    best = y_best = g_best = g_before = f_before = None
    tame = _column(torch.ones(len(x), dtype=torch.bool, device=x.device), x)
    for i in range(evaluations):
        eps = yield from ask(y, nxt, network)
        g, pred_x0 = up(x, eps, cur, nxt)
        f = g - y
        size = f.to(_wide(f)).flatten(1).pow(2).mean(1).sqrt()
        if best is None or y_best is None or g_best is None:
            best, y_best, g_best, y_next = size, y, g, g
        else:
            away, worse = _column(size > GROWTH * best, y), _column(size > best, y)
            part = torch.where(size > GROWTH * best, DAMPING * part, 1.0)
            tame = tame & ~away & (i < plain)
            y_next = torch.where(tame, g, _anderson(g, f, g_before, f_before))
            y_next = torch.where(away, y_best + _column(part, y) * (g_best - y_best), y_next)
            y_best, g_best = torch.where(worse, y_best, y), torch.where(worse, g_best, g)
            best = torch.minimum(size, best)
        y, g_before, f_before = y_next, g, f
        if float(best.max()) <= tolerance:
            break
    assert best is not None
    return SolvedStep(y, eps, pred_x0, best)


def _anderson(g: Tensor, f: Tensor, g_before: Tensor | None, f_before: Tensor | None) -> Tensor:
    if g_before is None or f_before is None:
        return g
    change = (f - f_before).to(_wide(f)).flatten(1)
    gamma = (f.to(change.dtype).flatten(1) * change).sum(1) / change.pow(2).sum(1).clamp(min=torch.finfo(change.dtype).tiny)
    return g - _column(gamma, g) * (g - g_before)


def _wide(x: Tensor) -> torch.dtype:
    """What sums over a picture are taken in: Apple's GPUs have no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _column(values: Tensor, like: Tensor) -> Tensor:
    shaped = values.view(-1, *[1] * (like.ndim - 1))
    return shaped if shaped.dtype == torch.bool else shaped.to(like.dtype)
