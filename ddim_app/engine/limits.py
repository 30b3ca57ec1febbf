"""What a run and a visitor may take on a host, and who is taking what: judged by the engine, for page and API alike."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from ddim_app.diffusion.sampler import Process
from ddim_app.engine.rate_shares import MINUTES, Piece, RateShares
from ddim_app.engine.tickets import Halt
from ddim_app.errors import FieldError

SERVER, VISITOR, ADDRESS = "this server", "this visitor", "this address"
"""Field names of the refusals that no value is to blame for."""


@dataclass(frozen=True)
class Budget:
    """Limits of one run, and of one visitor; None means none."""

    max_evaluations: int | None = None
    """Rows that a run's networks may evaluate in all."""
    max_pictures: int | None = None
    """Pictures that a run may sample at a time, those of all its arms."""
    max_seconds: float | None = None
    """Seconds that a run may take, from its first network call to its last."""
    max_runs: int | None = None
    """Runs that a visitor may have under way."""
    max_link_evaluations: int | None = None
    """Evaluations of a run that begins as soon as somebody opens a link to it; of a larger one the page has its settings."""
    max_evaluations_per_minute: int | None = None
    """Evaluations that a visitor's runs may take, averaged over ten minutes, whoever pressed Run for them."""
    max_address_evaluations_per_minute: int | None = None
    """The same of all visitors of an address."""

    def check(self, evaluations: int, pictures: int) -> None:
        """Raises FieldError when a run would take more than it may."""
        if self.max_evaluations is not None and evaluations > self.max_evaluations:
            raise FieldError(
                "cost",
                f"must be at most {self.max_evaluations} evaluations on this host, and this run needs {evaluations}: "
                "take fewer steps or fewer pictures",
            )
        if self.max_pictures is not None and pictures > self.max_pictures:
            raise FieldError(
                "pictures",
                f"must be at most {self.max_pictures} in a run on this host, all its samplers counted, and this run has {pictures}",
            )

    def within_time(self, process: Process) -> Process:
        """The process, ended with a sentence once its time is over."""
        return process if self.max_seconds is None else _timed(process, self.max_seconds)

    def check_share(self, runs: int) -> None:
        """Raises FieldError when a visitor who has that many runs may not have another."""
        if self.max_runs is not None and runs >= self.max_runs:
            raise FieldError(
                VISITOR,
                f"has {runs} {'run' if runs == 1 else 'runs'} under way or waiting, and may have {self.max_runs} on this host: "
                "wait until one ends, or stop it",
            )


LOCAL = Budget()
HOSTED = Budget(
    max_evaluations=20_000, max_pictures=256, max_seconds=300, max_runs=4, max_link_evaluations=2_000,
    max_evaluations_per_minute=3_000, max_address_evaluations_per_minute=20_000,
)  # fmt: skip
"""For strangers: a full chain of 16 pictures fits."""


def _timed(process: Process, seconds: float) -> Process:
    limit = time.monotonic() + seconds
    try:
        item: Any = next(process)
        while True:
            answer = yield item
            if time.monotonic() > limit:
                raise Halt(f"The run was ended after {seconds:g} s, the most that one may take on this host: take fewer steps")
            item = process.send(answer)
    except StopIteration:
        return
    finally:
        process.close()


class Visitor(NamedTuple):
    """Whose share of the machine something counts towards."""

    name: str
    address: str = ""
    """Where the visitor comes from, perhaps with others; "" is not counted."""


class Stay(NamedTuple):
    """A run that was counted in."""

    visitor: Visitor
    evaluations: int
    """What it may take."""
    pieces: list[Piece]
    """What it has taken of the visitor's share, and of the address's."""


class Visitors:
    """Counts the runs under way of every visitor, and what they take, and keeps them within their shares."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._runs: Counter[str] = Counter()
        self._shares = {
            VISITOR: RateShares(budget.max_evaluations_per_minute, clock),
            ADDRESS: RateShares(budget.max_address_evaluations_per_minute, clock),
        }
        self._guard = threading.RLock()

    def enter(self, visitor: Visitor | None, evaluations: int = 0) -> Stay | None:
        """Counts a run in; raises FieldError where it is more than the visitor may have. One without a visitor is not counted."""
        if visitor is None:
            return None
        with self._guard:
            self._budget.check_share(self._runs[visitor.name])
            self.check(visitor, evaluations)
            self._runs[visitor.name] += 1
            return Stay(visitor, evaluations, [share.take(name, evaluations) for _, share, name in self._of(visitor)])

    def check(self, visitor: Visitor, evaluations: int) -> None:
        """Raises FieldError where a run of so many evaluations does not fit into what the visitor may take."""
        with self._guard:
            for field, share, name in self._of(visitor):
                if seconds := share.wait(name, evaluations):
                    raise FieldError(
                        field,
                        f"has its share of {share.per_minute:,} evaluations a minute on this host, averaged over {MINUTES} minutes,"
                        f" and this run of {evaluations:,} does not fit in yet: try again in {_duration(seconds)}",
                    )

    def leave(self, stay: Stay | None, evaluations: int = 0) -> None:
        """Counts a run out that has made so many evaluations."""
        if stay is None:
            return
        name = stay.visitor.name
        with self._guard:
            self._runs[name] -= 1
            if not self._runs[name]:
                del self._runs[name]
            for (_, share, _), piece in zip(self._of(stay.visitor), stay.pieces, strict=True):
                share.give_back(piece, stay.evaluations - evaluations)

    def runs(self, visitor: Visitor) -> int:
        with self._guard:
            return self._runs.get(visitor.name, 0)

    def __len__(self) -> int:
        return len(self._runs)

    @contextmanager
    def counted(self, visitor: Visitor) -> Iterator[None]:
        """Something else that uses the machine, counted as a run."""
        stay = self.enter(visitor)
        try:
            yield
        finally:
            self.leave(stay)

    def _of(self, visitor: Visitor) -> list[tuple[str, RateShares, str]]:
        """The shares that a visitor's runs count towards: what they are called, they themselves, and the visitor's name there."""
        named = [(VISITOR, visitor.name), (ADDRESS, visitor.address)]
        return [(field, self._shares[field], name) for field, name in named if name]


def _duration(seconds: float) -> str:
    """Whole seconds below a minute and a half, then whole minutes, never too few."""
    return f"{math.ceil(seconds)} s" if seconds <= 90 else f"{math.ceil(seconds / 60)} minutes"
