"""Sampling as a process that asks for the network's predictions and reports its steps.

The samplers know no network. They are generators that yield a `Query` (rows to evaluate) and are sent the network's output
for it, and in between yield a `Step` (what became of the rows). Whoever drives them decides where the rows are evaluated:
`drive` does it at once, the engine's loop together with the rows of everybody else.
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from ddim_app.diffusion import formulas
from ddim_app.diffusion.formulas import placed
from ddim_app.diffusion.guidance import guided, repeated
from ddim_app.diffusion.multistep import Earlier, carried_on
from ddim_app.diffusion.output_check import output_fault, peaks
from ddim_app.diffusion.schedule import Level
from ddim_app.errors import RunError
from ddim_app.lazy import Tensor, torch

Draw = Callable[[int, int], Tensor]
"""(cur.t, next.t) -> standard normal (C, H, W); BrownianPath.between is one."""
Predict = Callable[..., Tensor]
"""(x_t (n, C, H, W), t (n,) int64), and for a model of classes y (n,) int64 -> the network's output (n, C, H, W)."""

VARIANCES = ("small", "large", "learned", "analytic")


class Query(NamedTuple):
    """Asks for one evaluation of each row. The driver replies with the network's output, or with a Moved if `moves` is set."""

    x_t: Tensor
    t: Sequence[int]
    """Each row's timestep."""
    network: int = 0
    """Which of the run's networks is asked, where it has several."""
    moves: "Sequence[Transition | None] | None" = None
    """The transition that each row makes with its output, so that rows of many runs can be advanced at once. A None belongs to
    the row before, the same x_t once more: both outputs make one transition, so the two stay in one call."""
    classes: Sequence[int] = ()
    """Each row's class, for a model that has classes."""
    where: str = ""
    """The step that it is for, as a reader counts steps, where that is not the step after the last one reported."""


def conditions(t: Sequence[int], classes: Sequence[int]) -> tuple[Tensor, ...]:
    """Timesteps, and classes where there are any, as a Predict takes them."""
    return tuple(torch.tensor(values) for values in (t, classes) if len(values))


class Report(Protocol):
    """What a process reports between two queries; a Step is one."""

    @property
    def k(self) -> int:
        """0-based number of the step that it tells of."""

    @property
    def is_finite(self) -> bool:
        """False when a value is infinite or NaN, which ends the run."""


class Step(NamedTuple):
    """One transition of the rows that were still on their way."""

    k: int
    """0-based number of the transition; row r has len(rows[r].levels) - 1 of them."""
    rows: tuple[int, ...]
    """Which rows moved; the tensors have one entry for each."""
    x_next: Tensor
    """The rows after the transition."""
    pred_x0: Tensor
    """The clean picture predicted before it, after clipping."""
    eps: Tensor
    """The noise that (x_t, pred_x0) stands for."""
    copy: "Copy | None" = None
    """Gives the three tensors in the host's memory, where they are on a GPU and on their way from it."""

    @property
    def is_finite(self) -> bool:
        # The sum is finite unless an entry is not; four times as quick as looking at each.
        return math.isfinite(float(self.x_next.sum()))

    def on_host(self) -> "Step":
        """The same with its tensors in the host's memory; waits for those that are on their way."""
        tensors = (self.x_next, self.pred_x0, self.eps)
        x_next, pred_x0, eps = self.copy() if self.copy else (tensor.cpu() for tensor in tensors)
        return Step(self.k, self.rows, x_next, pred_x0, eps)


Copy = Callable[[], Sequence[Tensor]]


class Moved(NamedTuple):
    """Rows after one transition, each tensor (n, C, H, W); as in Step."""

    x_next: Tensor
    pred_x0: Tensor
    eps: Tensor
    copy: Copy | None = None


Process = Generator[Query | Report, Any, Any]


@dataclass(frozen=True)
class Row:
    """How one picture is sampled.

    eta = 0 is deterministic DDIM; eta = 1 has DDPM's posterior variance, with variance "large" DDPM's larger noise (sigma-hat)
    instead, with "learned" or "learned_range" the network's own, and at any eta with "analytic" that of the T `residuals` (see
    `formulas`). `multistep`, with eta = 0, makes all steps but the first and the last DPM-Solver++'s of second order.

    `clip` treats pred_x0: "clip" to [-1, 1], "dynamic" threshold, or "off"; eps is derived again from what comes out. `draw` is
    needed as soon as noise is added. `network` is the one of the run's networks that is asked, which gives out
    `prediction_type`. Of a model with classes, it is asked for the one in `classes`; or for two, of which the second is the null
    class, and its output is guided (see `guidance`), with two evaluations for each transition.
    """

    levels: Sequence[Level]
    eta: float = 0.0
    variance: str = "small"
    clip: str = "off"
    draw: Draw | None = None
    network: int = 0
    prediction_type: str = "epsilon"
    clip_range: float = 1.0
    classes: tuple[int, ...] = ()
    guidance: float = 1.0
    start: tuple[int, int] | None = None
    """(row, n): begins where that earlier row is after n transitions, in place of its own x."""
    multistep: bool = False
    residuals: Sequence[float] = ()

    @property
    def transitions(self) -> int:
        return len(self.levels) - 1

    @property
    def width(self) -> int:
        """Evaluations of each transition."""
        return max(1, len(self.classes))

    @property
    def nfe(self) -> int:
        """How many evaluations the row needs."""
        return self.transitions * self.width

    @property
    def is_capped(self) -> bool:
        """Whether eta asks some transition for more noise than its level has room for."""
        return any(formulas.ddim_sigma_is_capped(cur.alpha_bar, nxt.alpha_bar, self.eta) for cur, nxt in pairwise(self.levels))

    @property
    def adds_noise(self) -> bool:
        return self.eta > 0 or self.variance == "analytic"

    def noise(self, cur: Level, nxt: Level) -> tuple[float, float]:
        """(sigma of Eq. 12's direction term, standard deviation of the noise added, learned parts aside) for one transition."""
        sigma = formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, self.eta)
        if self.variance == "analytic":
            return sigma, formulas.analytic_std(cur.alpha_bar, nxt.alpha_bar, sigma, self.residuals[cur.t])
        return sigma, formulas.sigma_hat(cur.alpha_bar, nxt.alpha_bar) if self.variance == "large" else sigma


def sample(x: Tensor, rows: Sequence[Row]) -> Process:
    """Advances each row of x (N, C, H, W) along its own levels, in the dtype and on the device of x; returns the last x.

    Every round asks for one evaluation of all rows that are on their way, whatever their timesteps, or one for each network
    that they ask; a row whose levels are used up leaves, and one that starts from another joins when that is so far. Steps of
    one round have its number as k; a row's last one holds its picture.
    """
    plans, first = [[Transition(row, *move) for move in pairwise(row.levels)] for row in rows], first_rounds(rows)
    last = [start + len(plan) for start, plan in zip(first, plans, strict=True)]
    starts = {r: row.start for r, row in enumerate(rows) if row.start}
    networks = sorted({row.network for row in rows})
    earlier: dict[int, Earlier] = {}
    for k in range(max(last, default=0)):
        for r in sorted(r for r in starts if first[r] == k):  # in turn, since one may start where another does that just joined
            x = x.index_copy(0, placed(torch.tensor([r]), x.device), x[starts[r][0]].unsqueeze(0))
            if rows[r].multistep and starts[r][0] in earlier:
                earlier[r] = earlier[starts[r][0]]
        for network in networks:
            live = tuple(r for r, row in enumerate(rows) if first[r] <= k < last[r] and row.network == network)
            if not live:
                continue
            moves = [plans[r][k - first[r]]._replace(earlier=earlier.get(r)) for r in live]
            index = None if len(live) == len(rows) else placed(torch.tensor(live), x.device)
            moved: Moved = yield asked(x if index is None else x.index_select(0, index), moves, network)
            x = moved.x_next if index is None else x.index_copy(0, index, moved.x_next)
            earlier |= {r: Earlier(moves[i].cur, moved.pred_x0[i]) for i, r in enumerate(live) if rows[r].multistep}
            yield Step(k, live, *moved)
    return x


def asked(x_t: Tensor, moves: "Sequence[Transition]", network: int) -> Query:
    """The query of a transition of each row of x_t, in which a guided row stands twice."""
    widths = [move.row.width for move in moves]
    marked = [other for move in moves for other in (move, *[None] * (move.row.width - 1))]
    t = [move.cur.t for move in moves for _ in range(move.row.width)]
    return Query(repeated(x_t, widths), t, network, marked, [y for move in moves for y in move.row.classes])


def relay(process: Process, report: Callable[[Any], Any], asked: Callable[[Query], Query] = lambda query: query) -> Process:
    """Passes on what `asked` makes of a process's queries and `report` of its reports; returns what the process returns."""
    reply: Any = None
    while True:
        try:
            item = process.send(reply)
        except StopIteration as end:
            return end.value
        if isinstance(item, Query):
            reply = yield asked(item)
        else:
            reply = None
            yield report(item)


def first_rounds(rows: Sequence[Row]) -> list[int]:
    """The round in which each row makes its first transition: 0, or later where it starts from another row."""
    first: list[int] = []
    for row in rows:
        first.append(first[row.start[0]] + row.start[1] if row.start else 0)
    return first


def drive(process: Process, *networks: Predict) -> Iterator[Any]:
    """The reports of a process, its queries answered at once by its networks. Raises RunError when one gives out no prediction."""
    step = 1
    try:
        item = next(process)
        while True:
            if isinstance(item, Query):
                output = networks[item.network](item.x_t, *conditions(item.t, item.classes))
                if fault := output_fault(float(peaks(output).max()), item.where or f"step {step}"):
                    raise RunError(fault)
                item = process.send(answer(item, output))
            else:
                step = item.k + 2
                yield item
                item = next(process)
    except StopIteration:
        return
    finally:
        process.close()


class Transition(NamedTuple):
    """One transition of a row, from level `cur` to level `nxt`."""

    row: Row
    cur: Level
    nxt: Level
    earlier: Earlier | None = None


def answer(query: Query, output: Tensor) -> Tensor | Moved:
    """What is sent for a query, given the network's output for its rows."""
    return output if query.moves is None else advance(query.x_t, output, query.moves)


def advance(x_t: Tensor, output: Tensor, moves: Sequence[Transition | None]) -> Moved:
    """One transition of every row; all are of one dtype and of networks with one prediction type and clip range."""
    moving = [move for move in moves if move is not None]
    x_t, output = guided(x_t, output, [move.row.width for move in moving], [move.row.guidance for move in moving])
    row = moving[0].row
    noise = [move.row.noise(move.cur, move.nxt) for move in moving]
    columns = [[move.cur.alpha_bar for move in moving], [move.nxt.alpha_bar for move in moving], [sigma for sigma, _ in noise]]
    level, level_next = formulas.roots(torch.tensor(columns, dtype=torch.float64), x_t)
    pred_x0, eps = formulas.denoise(output.to(x_t.dtype), x_t, level, row.prediction_type)
    pred_x0, eps = formulas.clipped_rows(pred_x0, eps, x_t, level, [move.row.clip for move in moving], row.clip_range)
    steps = carried_on(pred_x0, eps, x_t, level, [move.earlier for move in moving], [(move.cur, move.nxt) for move in moving])
    x_next = formulas.ddim_step(*steps, level_next)
    learned = output[:, x_t.shape[1] :].to(x_t.dtype)
    return Moved(_add_noise(x_next, moving, [std for _, std in noise], learned), pred_x0, eps)


def _add_noise(x: Tensor, moving: Sequence[Transition], stds: Sequence[float], learned: Tensor) -> Tensor:
    """x with the noise of each row's own source; `learned` (N, C, H, W) is what the network says of its variance, or empty."""
    noisy = [i for i, std in enumerate(stds) if std > 0]
    if not noisy:
        return x
    drawn, parts = [], []
    for i in noisy:
        row, cur, nxt, _ = moving[i]
        if row.draw is None:
            raise ValueError(f"row {i} adds noise (eta {row.eta}, variance {row.variance!r}) but has no draw")
        drawn.append(stds[i] * row.draw(cur.t, nxt.t).double())
        parts.append(formulas.learned_exponents(row.variance, cur.alpha_bar, nxt.alpha_bar))
    index, noise = placed(torch.tensor(noisy), x.device), placed(torch.stack(drawn).to(x.dtype), x.device)
    if any(scale for _, scale in parts):
        shift, scale = placed(torch.tensor(parts, dtype=x.dtype), x.device).T.reshape(2, -1, 1, 1, 1).unbind()
        noise = noise * (shift + scale * learned.index_select(0, index)).exp()  # times exactly 1 for rows of a fixed variance
    return x.index_add(0, index, noise)
