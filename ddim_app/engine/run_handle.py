"""A run under way: what the engine holds of it, and the handle that page, API, command line and notebooks read."""

import queue
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import Finished, Ticket
from ddim_app.errors import RunError
from ddim_app.runs.base import Plan

Arrived = queue.SimpleQueue[list[Any] | Finished | None]


class UnderWay(Protocol):
    """A run that has been started, wherever its network calls are made."""

    @property
    def evaluations(self) -> int:
        """Rows evaluated for it so far."""

    def advance(self) -> None:
        """Makes its next network call, where no thread does it."""

    def leave(self) -> None:
        """Ends it; nothing happens to one that has ended."""


@dataclass(eq=False)
class InLoop:
    """A run in this process's batch loop."""

    loop: BatchLoop
    ticket: Ticket

    @property
    def evaluations(self) -> int:
        return self.ticket.evaluations

    def advance(self) -> None:
        self.loop.round()

    def leave(self) -> None:
        self.loop.leave(self.ticket)


class RunHandle(Iterator[Any]):
    """An iterator of a run's events as they are made, and then its result.

    One thread reads it; `advance`, where the engine has no thread of its own, is called by the reader until something has
    arrived. `stop` may be called by any thread, and a handle that nobody holds stops its run. Iterating raises RunError when
    the run has to end early.
    """

    def __init__(self, plan: Plan, arrived: Arrived, leave: Callable[[], None], advance: Callable[[], None] | None = None) -> None:
        self.plan = plan
        self.recipe: Any = None
        """The recipe as made; known once the run has ended."""
        self.error: str | None = None
        """Why the run had to end early, in one sentence."""
        self._arrived, self._leave, self._advance = arrived, leave, advance
        self._waiting: deque[Any] = deque()
        self._collector = plan.collector()
        self._is_over = False

    def read(self) -> list[Any] | None:
        """The next events, those of one network call together; None when there are no more, with `error` set or not."""
        if not self._is_over:
            while self._advance is not None and self._arrived.empty() and not self._is_over:
                self._advance()
            item = self._arrived.get()
            if isinstance(item, list):
                for event in item:
                    self._collector.add(event)
                return item
            if item is not None:
                self.recipe, self.error = item
        self.stop()
        return None

    def __next__(self) -> Any:
        while not self._waiting:
            events = self.read()
            if events is None:
                if self.error:
                    raise RunError(self.error)
                raise StopIteration
            self._waiting.extend(events)
        return self._waiting.popleft()

    def stop(self) -> None:
        """Ends the run: at most the network call under way is finished. One that has ended is left as it is."""
        self._is_over = True
        self._leave()
        self._arrived.put(None)

    def __del__(self) -> None:
        self._leave()

    @property
    def result(self) -> Any:
        """What the run comes to, a type of its kind's own: see `collector` of its plan. Reads what is left of the run."""
        for _ in self:
            continue
        if self.recipe is None:
            raise RunError("The run was stopped before its end")
        return self._collector.result
