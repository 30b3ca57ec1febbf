"""Pictures to latents and back by DDIM run backwards; what all methods of inversion have in common.

All of them are processes (see `sampler`): they ask for the network's output, tell of each transition, and return what they have
found. `levels` are those of the way down, noisiest first and ending in the clean level; the way up visits the same ones. Nothing
is clipped on either way, since a clipped step has no inverse. Symbols: ab is alpha_bar.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from ddim_app.diffusion import formulas
from ddim_app.diffusion.sampler import Draw, Process, Query, Row, relay, sample
from ddim_app.diffusion.schedule import Level
from ddim_app.lazy import Tensor

Levels = Sequence[Level]


class AskedNetwork(NamedTuple):
    """The network of the run that is asked, and what it predicts."""

    lowest: Level
    """The level of train timestep 0. It replaces the clean level, for which the network was never trained."""
    prediction_type: str = "epsilon"
    number: int = 0
    classes: Sequence[int] = ()
    """The class of each picture, for a network that has classes."""


class InversionMove(NamedTuple):
    """One transition of all pictures, up or down."""

    k: int
    """0-based number of the transition."""
    level: Level
    """The level that the pictures have come to."""
    x: Tensor
    pred_x0: Tensor
    """The clean picture that the transition was made with."""
    residual: Tensor | None = None
    """(N,): root mean square of up(x, eps(y)) - y, by which the solution y of a fixed point misses its own step."""
    noise: Tensor | None = None
    """The step noise that was solved for."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(float(self.x.sum()))


Moves = Generator[Query | InversionMove, Tensor, Tensor]


def reachable(levels: Levels, strength: float = 1.0) -> list[Level]:
    """The levels that pictures are taken up to: those with ab > 0, and of their transitions the lower part `strength`.

    strength is in (0, 1]; at least one transition is left.
    """
    usable = [level for level in levels if level.alpha_bar > 0]
    transitions = len(usable) - 1
    return usable[transitions - max(1, round(strength * transitions)) :]


def naive(x0: Tensor, levels: Levels, network: AskedNetwork, told: str = "target") -> Moves:
    """x at levels[0] by DDIM run backwards (arXiv:2010.02502, 4.3): each step takes its eps where it starts from.

    The network is `told` the timestep of that level ("source") or of the one that the step goes to ("target"). Neither eps is
    the one that the way down takes, at the other end of the step: that is where the error comes from.
    """
    x = x0
    for k, (cur, nxt) in enumerate(pairwise(reversed(levels))):
        level = nxt if told == "target" else network.lowest if cur.is_clean else cur
        x, pred_x0 = up(x, (yield from ask(x, level, network)), cur, nxt)
        yield InversionMove(k, nxt, x, pred_x0)
    return x


def down(x: Tensor, levels: Levels, network: AskedNetwork, eta: float = 0.0, draws: Sequence[Draw] = ()) -> Process:
    """The pictures that the sampler of `eta` makes of x, latents at levels[0]; `draws` is the noise of each, for eta > 0."""
    row, classes = Row(levels, eta, network=network.number, prediction_type=network.prediction_type), network.classes
    rows = [replace(row, draw=draws[i] if draws else None, classes=tuple(classes[i : i + 1])) for i in range(len(x))]
    return relay(sample(x, rows), lambda step: InversionMove(step.k, levels[step.k + 1], step.x_next, step.pred_x0))


def ask(x: Tensor, level: Level, network: AskedNetwork) -> Generator[Query, Tensor, Tensor]:
    """eps of x by the network, which is told the timestep of `level`."""
    output = yield Query(x, [level.t] * len(x), network.number, None, network.classes)
    return formulas.denoise(output.to(x.dtype), x, level.alpha_bar, network.prediction_type)[1]


def up(x: Tensor, eps: Tensor, cur: Level, nxt: Level) -> tuple[Tensor, Tensor]:
    """(x at level nxt, pred_x0) by a DDIM step from cur up to nxt with a given eps."""
    pred_x0 = formulas.predict_x0(x, eps, cur.alpha_bar)
    return formulas.ddim_step(pred_x0, eps, nxt.alpha_bar), pred_x0
