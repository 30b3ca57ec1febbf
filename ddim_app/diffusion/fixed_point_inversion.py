"""DDIM inverted as the fixed-point problem that it is, so that one ordinary x_T decodes to the picture.

A step up from x to y is right when y = up(x, eps(y)): then plain DDIM takes y back to x. The next y is looked for by Anderson's
method of depth 1, starting from an eps that is extrapolated along the trajectory, which costs nothing. The step next to the
clean picture has nothing to start from but the picture, in which the network finds no noise at all; Anderson's first strides
from there may end where nothing leads on, so that a few plain steps come before them.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from ddim_app.diffusion.naive_inversion import AskedNetwork, InversionMove, Levels, Moves, ask, up
from ddim_app.diffusion.schedule import Level
from ddim_app.lazy import Tensor, torch

GROWTH = 2.0
"""A picture goes back to its best y when its residual exceeds this many times its smallest so far; Anderson's method often passes
through worse places to better ones."""
PLAIN = 8
"""Plain steps from a start that is no guess, before Anderson's, at most a fifth of all. On 32 pictures with 50 evaluations the
largest residual is 5e-4 with them and 5e-3 without."""
DAMPING = 0.5
"""After a picture has run away, this fraction of a plain step is taken; it is applied again each further time."""


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
        search = Search(x, min(PLAIN, evaluations[k] // 5)) if guess is None else Search(up(x, guess, cur, nxt)[0])
        for _ in range(evaluations[k]):
            eps = yield from ask(search.y, nxt, network)
            mapped, pred_x0 = up(x, eps, cur, nxt)
            search.advance(mapped)
            if float(search.best.residual.max()) <= tolerance:
                break
        known = [*known[-1:], (time(nxt), eps)]
        x = search.y
        yield InversionMove(k, nxt, x, pred_x0, search.best.residual)
    return x


def time(level: Level) -> float:
    """sqrt((1 - ab) / ab), in which DDIM is Euler's method."""
    return math.sqrt((1 - level.alpha_bar) / level.alpha_bar)


def _extrapolated(known: Sequence[tuple[float, Tensor]], wanted: float) -> Tensor | None:
    """eps at a time, on the line through the two that are known last."""
    if len(known) < 2:
        return known[-1][1] if known else None
    (a, eps_a), (b, eps_b) = known
    return eps_b + (wanted - b) / (b - a) * (eps_b - eps_a)


class Trial(NamedTuple):
    """One y that was tried for a step."""

    y: Tensor
    mapped: Tensor
    """g = up(x, eps(y)), which is y where the step is right."""
    residual: Tensor
    """(N,): root mean square of f = g - y, for each picture."""


class Search:
    """Looks for the y of one step, y = up(x, eps(y)), by Anderson's method of depth 1, for each picture on its own.

    With g = up(x, eps(y)) and f = g - y the next y is g - gamma (g - g_before), where gamma takes f - gamma (f - f_before) to
    its least. The first `plain` trials go on to g itself, unless a picture runs away. A picture whose residual runs away goes
    back to its best y and takes half a plain step, then a quarter, and so on.
    """

    def __init__(self, start: Tensor, plain: int = 0) -> None:
        self.y = start
        """The y to be tried next."""
        self._trials, self._plain = 0, plain
        self._before: Trial | None = None
        self._best: Trial | None = None
        self._part = torch.ones(len(start), dtype=_wide(start), device=start.device)
        """The part of a plain step that a picture takes once its residual has run away."""
        self._is_tame = _column(torch.ones(len(start), dtype=torch.bool, device=start.device), start)

    @property
    def best(self) -> Trial:
        """For each picture the trial with the smallest residual so far; there must have been one."""
        if self._best is None:
            raise ValueError("nothing has been tried yet")
        return self._best

    def advance(self, mapped: Tensor) -> None:
        """Notes that y was mapped to this, and moves on to the next y."""
        trial = Trial(self.y, mapped, _rms(mapped - self.y))
        if self._best is None or self._before is None:
            self._best, self.y = trial, mapped
        else:
            self.y = self._next(trial, self._before, self._best)
            self._best = _better(trial, self._best)
        self._before = trial
        self._trials += 1

    def _next(self, trial: Trial, before: Trial, best: Trial) -> Tensor:
        runs_away = trial.residual > GROWTH * best.residual
        away = _column(runs_away, trial.y)
        self._part = torch.where(runs_away, DAMPING * self._part, 1.0)
        self._is_tame = self._is_tame & ~away & (self._trials < self._plain)
        following = torch.where(self._is_tame, trial.mapped, _anderson(trial, before))
        return torch.where(away, best.y + _column(self._part, trial.y) * (best.mapped - best.y), following)


def _better(trial: Trial, best: Trial) -> Trial:
    """The better one of two trials, for each picture."""
    worse = _column(trial.residual > best.residual, trial.y)
    y, mapped = torch.where(worse, best.y, trial.y), torch.where(worse, best.mapped, trial.mapped)
    return Trial(y, mapped, torch.minimum(trial.residual, best.residual))


def _anderson(trial: Trial, before: Trial) -> Tensor:
    f = trial.mapped - trial.y
    change = (f - (before.mapped - before.y)).to(_wide(f)).flatten(1)
    gamma = (f.to(change.dtype).flatten(1) * change).sum(1) / change.pow(2).sum(1).clamp(min=torch.finfo(change.dtype).tiny)
    return trial.mapped - _column(gamma, trial.mapped) * (trial.mapped - before.mapped)


def _rms(x: Tensor) -> Tensor:
    return x.to(_wide(x)).flatten(1).pow(2).mean(1).sqrt()


def _wide(x: Tensor) -> "torch.dtype":
    """What sums over a picture are taken in: Apple's GPUs have no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _column(values: Tensor, like: Tensor) -> Tensor:
    shaped = values.view(-1, *[1] * (like.ndim - 1))
    return shaped if shaped.dtype == torch.bool else shaped.to(like.dtype)
