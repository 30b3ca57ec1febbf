"""The engine on a host that lends a GPU per request and forks for it: Hugging Face's ZeroGPU.

There a decorated function runs in a forked worker that has the GPU for some seconds. Its arguments and all that it yields
are pickled, a coroutine is refused, and between two yields it can be told to stop. So a run goes over as the JSON of its
recipe, and comes back as frames, a list per step.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ddim_app.engine import Emit, Engine, Finished
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import Ticket
from ddim_app.errors import FieldError
from ddim_app.models import memory
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.runs.kinds import from_json

MAX_SECONDS = 120
"""Seconds of GPU time that one run may ask for."""
START_SECONDS, SECONDS_PER_CALL = 5, 0.05
"""Generous for UNets of 32 to 64 pixels: a shorter lease than the run needs would end it."""


class ZeroEngine(Engine):
    """An Engine whose runs go through `gpu(duration=...)(function)`, which is `spaces.GPU`; all is checked before the call."""

    def __init__(self, roots: list[Path] | None = None, *, gpu: Callable[..., Any], **settings: Any) -> None:
        super().__init__(roots, threaded=False, **settings)
        self._lease = gpu(duration=self.lease_seconds)(self.in_worker)
        self._driving: set[Ticket] = set()
        self._pid = os.getpid()

    def plan(self, recipe: BaseRecipe, notify: Callable[[str], None] = lambda message: None) -> Any:
        planned = super().plan(recipe, notify)
        if _seconds(planned) > MAX_SECONDS:
            raise FieldError("cost", f"must be at most {MAX_SECONDS} s of GPU time on this host: take fewer steps")
        return planned

    def calls(self, planned: Plan) -> int:
        return _calls(planned)

    def lease_seconds(self, recipe_json: str) -> int:
        """How long the GPU is asked for; a visitor with less than that left today is refused before anything runs."""
        return _seconds(self.plan(from_json(recipe_json)))

    def warm_up(self) -> None:
        """Puts the models on the device before the first fork; nothing may be computed in this process."""
        for name in self.catalogue.folders():
            try:
                self.model(name).unet.to(self.device)
            except FieldError:  # said to whoever names it
                continue

    def in_worker(self, recipe_json: str) -> Iterator[tuple[int, list[Any] | Finished]]:
        """A whole run, in the forked worker: (rows evaluated so far, what has happened), one item per step."""
        torch.set_num_threads(1)  # the threads of the parent's arithmetic are not here, and would be waited for
        if self._pid != os.getpid():
            self._renew_locks()
        news: deque[list[Any] | Finished] = deque()
        ticket = super()._join(self.plan(from_json(recipe_json)), news.append)
        try:
            while True:
                while not news:
                    self.loop.round()
                item = news.popleft()
                yield ticket.evaluations, item
                if isinstance(item, Finished):
                    return
        finally:
            self.loop.leave(ticket)

    def advance(self, ticket: Ticket) -> None:
        """The next of what the worker tells."""
        try:
            ticket.evaluations, item = next(ticket.process)  # type: ignore[misc]
        except StopIteration:
            item = Finished(None, "The GPU was taken back before the run was through")
        except Exception as error:  # the host's refusals among them, which are sentences: no quota left, for one
            item = Finished(None, str(getattr(error, "message", error)) or type(error).__name__)
        if isinstance(item, Finished):
            self._driving.discard(ticket)
        ticket.emit(item)

    def stop(self, ticket: Ticket) -> None:
        super().stop(ticket)
        self._driving.discard(ticket)
        _close(ticket)

    def drive(self, ticket: Ticket, is_over: Callable[[], bool]) -> None:
        try:
            super().drive(ticket, is_over)
        finally:
            _close(ticket)
            self._driving.discard(ticket)

    @property
    def running(self) -> int:
        return len(self._driving)

    def _join(self, planned: Plan, tell: Emit) -> Ticket:
        def hand_on(item: Any) -> None:
            ended_early = isinstance(item, Finished) and item.recipe is None
            tell(item._replace(recipe=planned.recipe) if ended_early else item)

        ticket = Ticket(self._lease(planned.recipe.to_json()), (), hand_on)
        self._driving.add(ticket)
        return ticket

    def _renew_locks(self) -> None:
        """Makes new locks: one that another thread held at the moment of the fork would stay locked."""
        self._pid = os.getpid()
        self.loop = BatchLoop(threaded=False)
        self._model_cache = self._model_cache.renewed()
        self._evaluators = self._evaluators.renewed(self.loop, self._model_cache)


def _calls(planned: Plan) -> int:
    return planned.calls(planned.recipe.bucket or memory.GPU_ROWS)


def _close(ticket: Ticket) -> None:
    """Gives the worker back. Whoever reads or closes the ticket at this moment does it instead, as soon as it may."""
    with contextlib.suppress(ValueError):  # generator already executing
        ticket.process.close()


def _seconds(planned: Plan) -> int:
    return round(START_SECONDS + SECONDS_PER_CALL * _calls(planned))
