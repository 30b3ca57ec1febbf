"""A run in the batch loop: its ticket, the networks that it asks, its rows in a call, and its end."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.sampler import Moved, Predict, Process, Query, Report, Step, Transition


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
    on_their_way: list[Step] = field(default_factory=list)
    """Steps that are told as soon as their pictures have come from the GPU."""
    turn: int = 0
    """Round in which it was last served; the smallest goes first."""

    @property
    def network(self) -> Evaluator:
        """The one that its query asks."""
        return self.networks[self.query.network if self.query else 0]


class Portion(NamedTuple):
    """Rows of one run that take part in a call."""

    ticket: Ticket
    x_t: Tensor
    t: Sequence[int]
    moves: Sequence[Transition] | None

    @property
    def kind(self) -> Hashable:
        """What portions must have in common for their rows to be advanced together; None where the run does it."""
        row = self.moves[0].row if self.moves else None
        return row and (self.x_t.dtype, row.prediction_type, row.clip_range)


class Finished(NamedTuple):
    """The last thing that a run tells: its recipe as made, or the sentence that says why it ended."""

    recipe: Any
    error: str | None = None
