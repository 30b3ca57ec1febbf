"""What a run and a visitor may take on a host, and who is taking what: judged by the engine, for page and API alike."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ddim_app.diffusion.sampler import Process
from ddim_app.engine.tickets import Halt
from ddim_app.errors import FieldError

SERVER, VISITOR = "this server", "this visitor"
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
HOSTED = Budget(max_evaluations=20_000, max_pictures=256, max_seconds=300, max_runs=4)
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


class Visitors:
    """Counts the runs under way of every visitor, and keeps them within their share."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._runs: Counter[str] = Counter()
        self._guard = threading.Lock()

    def enter(self, visitor: str | None) -> None:
        """Counts a run in; raises FieldError when the visitor has as many as one may. A run without a visitor is not counted."""
        if visitor is None:
            return
        with self._guard:
            self._budget.check_share(self._runs[visitor])
            self._runs[visitor] += 1

    def leave(self, visitor: str | None) -> None:
        with self._guard:
            if visitor is not None and self._runs[visitor] > 1:
                self._runs[visitor] -= 1
            else:
                self._runs.pop(visitor or "", None)

    def runs(self, visitor: str) -> int:
        with self._guard:
            return self._runs.get(visitor, 0)

    def __len__(self) -> int:
        return len(self._runs)

    @contextmanager
    def counted(self, visitor: str | None) -> Iterator[None]:
        """Something else that uses the machine, counted as a run."""
        self.enter(visitor)
        try:
            yield
        finally:
            self.leave(visitor)
