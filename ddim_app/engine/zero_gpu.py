"""The engine on a host that lends a GPU per request and forks for it: Hugging Face's ZeroGPU.

There a decorated function runs in a forked worker that has the GPU for some seconds. Its arguments and all that it yields
are pickled, a coroutine is refused, and between two yields it can be told to stop. So a run goes over as the JSON of its
recipe, and comes back as frames, a list per step.
"""

import contextlib
import math
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ddim_app.diffusion.batch_sizes import bucket_of
from ddim_app.engine import Emit, Engine, Finished
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.limits import Visitor
from ddim_app.engine.run_handle import UnderWay
from ddim_app.errors import FieldError
from ddim_app.lazy import torch
from ddim_app.models import memory
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.runs.kinds import from_json

MAX_SECONDS = 120
"""Seconds of GPU time that one run may ask for."""
GUESS = 5.0, 0.05
"""Seconds until a worker's first step, and seconds of a network call, while none of the like has been timed: generous for UNets
of 32 to 64 pixels, since a shorter lease than the run needs would end it."""
MARGIN = 2
"""How many times what was measured is asked for."""
TIMED_RUNS = 8
"""Runs of which the slowest counts."""


Told = Generator[tuple[int, float, list[Any] | Finished]]
"""What a worker tells of a run: (rows evaluated so far, seconds since its start, events or the end), one item per step."""


class Speeds:
    """How long workers took, by what was run."""

    def __init__(self) -> None:
        self._runs: defaultdict[Hashable, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=TIMED_RUNS))

    def note(self, like: Hashable, calls: int, seconds: Sequence[float]) -> None:
        """Takes a run that came to its end: how many calls it had, and when, since its start, each of its items was there."""
        if len(seconds) > 1:
            self._runs[like].append((seconds[0], (seconds[-1] - seconds[0]) / max(calls - 1, 1)))

    def lease(self, like: Hashable, calls: int) -> int:
        """Seconds to ask for, at least one: MARGIN times the slowest start and the slowest call of its like, or GUESS."""
        start, call = GUESS
        if known := self._runs.get(like):
            start, call = (MARGIN * max(run[i] for run in known) for i in (0, 1))
        return max(1, math.ceil(start + call * calls))


@dataclass(eq=False)
class Lease:
    """A run in a forked worker that has the GPU for a while; whoever reads it makes it go on."""

    told: Told
    recipe: BaseRecipe
    emit: Emit
    give_back: Callable[["Lease"], object]
    """Called once the worker is no longer needed."""
    timed: Callable[[list[float]], object] = lambda seconds: None
    """Told, after a run that came to its end, when each of its items was there."""
    evaluations: int = 0
    seconds: list[float] = field(default_factory=list)

    def advance(self) -> None:
        """Hands on the next that the worker tells."""
        try:
            self.evaluations, seconds, item = next(self.told)
            self.seconds.append(seconds)
        except StopIteration:
            item = Finished(None, "The GPU was taken back before the run was through")
        except Exception as error:  # the host's refusals among them, which are sentences: no quota left, for one
            item = Finished(None, str(getattr(error, "message", error)) or type(error).__name__)
        if isinstance(item, Finished):
            self.give_back(self)
            if item.error is None:
                self.timed(self.seconds)
            item = item if item.recipe is not None else item._replace(recipe=self.recipe)
        self.emit(item)

    def leave(self) -> None:
        """Ends the worker; where its reader is waiting for it at this moment, the reader does so as soon as it has read."""
        self.give_back(self)
        with contextlib.suppress(ValueError):  # generator already executing
            self.told.close()


class ZeroEngine(Engine):
    """An Engine whose runs go through `gpu(duration=...)(function)`, which is `spaces.GPU`; all is checked before the call."""

    def __init__(self, roots: list[Path] | None = None, *, gpu: Callable[..., Any], **settings: Any) -> None:
        super().__init__(roots, threaded=False, **settings)
        self._lease = gpu(duration=self.lease_seconds)(self.in_worker)
        self._leases: set[Lease] = set()
        self._speeds = Speeds()
        self._pid = os.getpid()

    def plan(self, recipe: BaseRecipe, notify: Callable[[str], None] = lambda message: None) -> Any:
        planned = super().plan(recipe, notify)
        if (seconds := self.gpu_seconds(planned)) > MAX_SECONDS:
            raise FieldError(
                "cost",
                f"must be at most {MAX_SECONDS} s of GPU time on this host, and this run asks for {seconds} s: take fewer steps",
            )
        return planned

    def gpu_seconds(self, planned: Plan) -> int:
        return self._speeds.lease(_like(planned), _calls(planned))

    def calls(self, planned: Plan) -> int:
        return _calls(planned)

    def lease_seconds(self, recipe_json: str) -> int:
        """How long the GPU is asked for; a visitor with less than that left today is refused before anything runs."""
        return self.gpu_seconds(self.plan(from_json(recipe_json)))

    def warm_up(self) -> None:
        """Puts the models on the device before the first fork; nothing may be computed in this process."""
        for name in self.catalogue.folders():
            try:
                self.model(name).unet.to(self.device)
            except FieldError:  # said to whoever names it
                continue

    def in_worker(self, recipe_json: str) -> Told:
        """A whole run, in the forked worker, one item per step."""
        began = time.perf_counter()
        torch.set_num_threads(1)  # the threads of the parent's arithmetic are not here, and would be waited for
        if self._pid != os.getpid():
            self._renew_locks()
        news: deque[list[Any] | Finished] = deque()
        run = super()._join(self.plan(from_json(recipe_json)), news.append, False, None)
        try:
            while True:
                while not news:
                    run.advance()
                item = news.popleft()
                yield run.evaluations, time.perf_counter() - began, item
                if isinstance(item, Finished):
                    return
        finally:
            run.leave()

    @property
    def running(self) -> int:
        return len(self._leases)

    def _join(self, planned: Plan, tell: Emit, background: bool, visitor: Visitor | None) -> UnderWay:
        timed = partial(self._speeds.note, _like(planned), _calls(planned))
        lease = Lease(self._lease(planned.recipe.to_json()), planned.recipe, tell, self._leases.discard, timed)
        self._leases.add(lease)
        return lease

    def _renew_locks(self) -> None:
        """Makes new locks: one that another thread held at the moment of the fork would stay locked."""
        self._pid = os.getpid()
        self.loop = BatchLoop(threaded=False)
        self._model_cache = self._model_cache.renewed()
        self._evaluators = self._evaluators.renewed(self.loop, self._model_cache)


def _calls(planned: Plan) -> int:
    return planned.calls(planned.recipe.bucket or memory.GPU_ROWS)


def _like(planned: Plan) -> Hashable:
    """What runs must have in common to take as long a call: their models, the arithmetic, and the rows of a call."""
    rows = planned.recipe.bucket or min(bucket_of(planned.at_once), memory.GPU_ROWS)
    return tuple(model.sha256 for model in planned.models), planned.recipe.precision, rows
