"""A run in the batch loop: its ticket, the networks that it asks, its rows in a call, and its end."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.output_check import output_fault
from ddim_app.diffusion.sampler import Moved, Predict, Process, Query, Report, Step, Transition
from ddim_app.lazy import Tensor


class Halt(Exception):  # noqa: N818
    """Raised by a process that has to end; the message is a sentence for the user."""


class End(NamedTuple):
    """The last thing that a run emits: done when `error` is None."""

    error: str | None = None
    sizes: frozenset[int] = frozenset()
    """Sizes, in rows, of the network calls that served the run."""
    shared: bool = False
    """Whether a call also held rows of another run."""


class Evaluator(NamedTuple):
    """A network that a run asks."""

    predict: Predict
    max_rows: int = BUCKETS[-1]
    """Rows that one call may have."""
    observe: Callable[[float, int], None] = lambda seconds, rows: None
    """Told how long a call took, its rows' updates included, and how many rows it had."""
    group: Hashable = None
    """What runs must have in common to share its calls: model, precision."""


Emit = Callable[[Report | End], None]
"""Called on the loop's thread, so it must be quick; raising ends the run."""


@dataclass(eq=False)
class Ticket:
    """One run in the loop, from `join` to its End."""

    process: Process
    networks: Sequence[Evaluator]
    emit: Emit
    sizes: set[int] = field(default_factory=set)
    shared: bool = False
    evaluations: int = 0
    """Rows evaluated for it so far."""
    query: Query | None = None
    outputs: list[Tensor | Moved] = field(default_factory=list)
    asked: int = 0
    """Rows of the query that are still to be evaluated."""
    peaks: list[Callable[[], float]] = field(default_factory=list)
    """The largest absolute value of what the network gave out for each of `outputs`."""
    unread: list[Callable[[], float]] = field(default_factory=list)
    """The same of the answers that the process has got, until they are looked at."""
    step: int = 1
    """The step, from 1, that it is at."""
    on_their_way: list[Step] = field(default_factory=list)
    """Steps that are told as soon as their pictures have come from the GPU."""
    turn: int = 0
    """Round in which it was last served; the smallest goes first."""
    background: bool = False
    """Whether nobody waits for it: its rows come after those of others."""
    since: float = math.inf
    """When it was last served, or begun to wait, on the clock of `Turns`."""

    def fault(self, report: Report | None = None) -> str | None:
        """The sentence that ends the run when what it got for the step that it is at, or reports of it, is no prediction."""
        self.step = self.step if report is None else report.k + 1
        unread, self.unread = self.unread, []
        where = (self.query and self.query.where) or f"step {self.step}"
        fault = next((fault for peak in unread if (fault := output_fault(peak(), where))), None)
        if fault is None and report is not None:
            if not report.is_finite:
                return f"The run became non-finite at {where}, so it was ended"
            self.step += 1
        return fault

    @property
    def network(self) -> Evaluator:
        """The one that its query asks."""
        return self.networks[self.query.network if self.query else 0]


class Portion(NamedTuple):
    """Rows of one run that take part in a call."""

    ticket: Ticket
    x_t: Tensor
    t: Sequence[int]
    moves: Sequence[Transition | None] | None
    classes: Sequence[int] = ()

    @property
    def least(self) -> int:
        """How many of its rows stay together."""
        return 1 + (self.moves is not None and None in self.moves[1:2])

    @property
    def transitions(self) -> int:
        return sum(move is not None for move in self.moves or ())

    @property
    def kind(self) -> Hashable:
        """What portions must have in common for their rows to be advanced together; None where the run does it."""
        row = self.moves[0].row if self.moves and self.moves[0] else None
        return row and (self.x_t.dtype, row.prediction_type, row.clip_range)


class Finished(NamedTuple):
    """The last thing that a run tells: its recipe as made, or the sentence that says why it ended."""

    recipe: Any
    error: str | None = None
