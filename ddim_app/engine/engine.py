"""The engine: recipes in, frames out. It owns device, models and batch loop; it keeps nothing of a run after its end."""

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ddim_app import backends
from ddim_app.diffusion.sampler import Predict, Report
from ddim_app.engine.backend_choice import BackendChoice
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.evaluators import Evaluators
from ddim_app.engine.limits import LOCAL, SERVER, Budget, Visitor, Visitors
from ddim_app.engine.request_log import DONE, STOPPED, LoggedRun, RequestLog
from ddim_app.engine.run_handle import Arrived, InLoop, RunHandle, UnderWay
from ddim_app.engine.tickets import End, Finished
from ddim_app.errors import FieldError, RunError, choice
from ddim_app.lazy import Tensor, torch
from ddim_app.models.cache import ModelCache
from ddim_app.models.catalogue import ROOT, Catalogue
from ddim_app.models.loading import Model
from ddim_app.runs import kinds  # noqa: F401  (the plans of all kinds)
from ddim_app.runs.base import BACKENDS, BaseRecipe, Plan
from ddim_app.runs.kinds import plan
from ddim_app.runs.sampling import Arm, Recipe

log = logging.getLogger(__name__)

Emit = Callable[[list[Any] | Finished], None]
"""Told of each network call's frames together, then once of the end; on the loop's thread."""


class Engine:
    """Runs recipes on one device.

    `budget` caps runs and visitors (`max_evaluations` alone: a run's evaluations). Hub ids are taken where `allow_hub` is true,
    or those that it names; a `catalogue` takes the place of all that is said of models. Without `threaded`, network calls are made
    by whoever reads the frames of `run`, as a forked process needs it. Models are loaded when first named and the last few are
    kept. `backend` is "torch", "openvino" (prepared before a model's first run), or "auto": torch at once, and OpenVINO for new
    "fast" runs as soon as it is converted, in the background, and measured faster. What is converted is kept in `cache`.
    """

    def __init__(
        self,
        roots: list[Path] | None = None,
        *,
        allow_hub: bool | Collection[str] = True,
        device: "torch.device | None" = None,
        max_evaluations: int | None = None,
        budget: Budget = LOCAL,
        first_model: str | None = None,
        threaded: bool = True,
        backend: str = "torch",
        cache: Path | None = None,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.catalogue = catalogue or Catalogue(roots or [ROOT / "weights", ROOT / "runs"], allow_hub, first_model)
        self.budget = budget if max_evaluations is None else replace(budget, max_evaluations=max_evaluations)
        self.visitors = Visitors(self.budget)
        self.request_log = RequestLog()
        self.loop = BatchLoop(threaded=threaded, prepare=backends.use_cores)
        self._model_cache = ModelCache(self.catalogue, backends.on_one_core)
        self._step_seconds: dict[tuple[object, ...], tuple[float, bool]] = {}
        self._wanted = choice("backend", backend, (*BACKENDS, "auto")), device, cache
        self._making = threading.Lock()
        self._open: weakref.WeakKeyDictionary[UnderWay, Callable[[str], None]] = weakref.WeakKeyDictionary()
        self.is_starting = False
        """Whether a server that answers already is still importing torch."""
        self.closing = False
        """Whether new runs are refused, since the server is about to end."""

    @cached_property
    def _evaluators(self) -> Evaluators:
        """Made when it is first asked for, once: it needs torch, which the page does not wait for."""
        with self._making:  # from Python 3.12 on cached_property has no lock of its own
            if "_evaluators" not in vars(self):
                backend, wanted, cache = self._wanted
                device = wanted or backends.best_device()
                chosen = BackendChoice(backend, device, self.loop, cache)
                self._evaluators = Evaluators(device, self.loop, self._model_cache, chosen)
            made: Evaluators = vars(self)["_evaluators"]
            return made

    @property
    def device(self) -> "torch.device":
        return self._evaluators.device

    @property
    def _backends(self) -> BackendChoice:
        return self._evaluators.backends

    def model(self, name: str, notify: Callable[[str], None] = lambda message: None) -> Model:
        """The model of that name, loaded if need be; raises FieldError when it cannot be used."""
        return self._model_cache.get(name, notify)

    def is_here(self, name: str) -> bool:
        """Whether a model can be had without a download."""
        return self._model_cache.has(name)

    def refusal(self, name: str) -> FieldError | None:
        """Why a model that is not here could not be used when it was last fetched; None where nothing speaks against a try."""
        return None if self.is_here(name) else self._model_cache.refusal(name)

    def plan(self, recipe: BaseRecipe, notify: Callable[[str], None] = lambda message: None) -> Any:
        """The recipe's Plan, checked against its models and this host's budget; raises FieldError."""
        planned = plan(recipe, lambda name: self.model(name, notify))
        self.budget.check(self.cost(planned), planned.at_once)
        return planned

    def cost(self, planned: Plan) -> int:
        """Evaluations that a run counts as: rows that only fill up a bucket which its recipe pins cost what others do."""
        bucket = planned.recipe.bucket or 0
        return max(planned.evaluations, planned.calls(bucket) * bucket if bucket else 0)

    def seconds(self, planned: Plan) -> float | None:
        """How long a run is going to take as far as this machine has been timed; None before its first run."""
        paces = [self._evaluators.pace(key) for key in self._evaluators.keys(planned)]
        if any(pace.seconds(1) is None for pace in paces):
            return None
        sizes = planned.call_sizes(self._max_rows(planned))
        return sum(calls * (paces[network].seconds(rows) or 0) for (network, rows), calls in sizes.items())

    def gpu_seconds(self, planned: Plan) -> int | None:
        """Seconds of a lent GPU that a run asks for; None where none is lent."""
        return None

    def calls(self, planned: Plan) -> int:
        """Network calls that a run needs when it is alone."""
        return planned.calls(self._max_rows(planned))

    def _max_rows(self, planned: Plan) -> int:
        return min(network.max_rows for network in self._evaluators.of(planned))

    def number_format(self, precision: str) -> str:
        """What the network computes in for a recipe's precision: "bf16", "fp16" or "fp32"."""
        return self._backends.number_format(precision)

    def made_with(self, planned: Plan, asked: str | None = None) -> str:
        """Backend and number format of a run, and how far its pictures are from fp32 as far as that was measured.

        Where its recipe `asked` for a backend that this host has not, it says why.
        """
        key = self._evaluators.keys(planned)[0]
        words = self._backends.words(key)
        if asked in (None, key.backend):
            return words
        why = self._backends.sentence(planned.models[0], key.number_format) or "it is not here"
        return f"{words}, although the recipe names {asked}: {why}"

    def served_by(self) -> tuple[str, str]:
        """(what evaluates new "fast" runs of the first model, how that came about), for the page."""
        model = next((self._model_cache.loaded(name) for name in self.catalogue.names()[:1]), None)
        if model is None:
            return f"{self.device.type.upper()} · {self.number_format('fast')}", ""
        return f"{self.device.type.upper()} · {self._backends.words(self._backends.key(model, 'fast'))}", self._backends.sentence(
            model, self.number_format("fast")
        )

    def prepare(self, name: str, precision: str) -> bool:
        """Makes OpenVINO ready for runs that ask for it, which takes seconds; whether it could."""
        self._backends.ask(self.model(name), precision, "openvino")
        return self._backends.key(self.model(name), precision, "openvino").backend == "openvino"

    def evaluator(self, model: Model, precision: str, backend: str | None = None) -> Predict:
        """The model's network as runs of that precision have it evaluated."""
        return self._backends.evaluator(self._backends.key(model, precision, backend), model)

    def keep(self, model: Model) -> Model:
        """Puts a model that is in no folder into the cache, under its own name."""
        return self._model_cache.put(model)

    def start(self, planned: Plan, emit: Emit, visitor: Visitor | None = None, background: bool = False) -> UnderWay:
        """Starts a run on the loop. `emit` gets its frames and then one Finished. In the `background` it delays no other.

        Raises FieldError when it is more than the visitor may have here, or when the server is about to end.
        """
        if self.closing:
            raise FieldError(SERVER, "is about to be restarted, and takes no new runs: try again in a minute")
        cost = self.cost(planned)
        stay = self.visitors.enter(visitor, cost)
        entry = LoggedRun(self.request_log, planned)
        started: list[UnderWay] = []

        def close(outcome: str) -> None:
            made = started[0].evaluations if started else 0
            if entry.close(made, outcome):
                self.visitors.leave(stay, cost * made // max(planned.evaluations, 1))
            for run in started:
                self._open.pop(run, None)

        def tell(item: list[Any] | Finished) -> None:
            if isinstance(item, Finished):
                close(item.error or DONE)
            emit(item)

        try:
            run = self._join(planned, tell, background, visitor)
        except BaseException:
            close("could not start")
            raise
        started.append(run)
        self._open[run] = close
        if not entry.is_open:  # it has ended already
            self._open.pop(run, None)
        return run

    def _join(self, planned: Plan, tell: Emit, background: bool, visitor: Visitor | None) -> UnderWay:
        for model in planned.models:
            self._backends.ask(model, planned.recipe.precision, planned.recipe.backend)
        keys = self._evaluators.keys(planned)

        def hand_on(item: Report | End) -> None:
            if isinstance(item, End):
                return tell(Finished(self._evaluators.made(planned, keys, item), item.error))
            tell(list(planned.frames(item)))

        process = planned.process(self.device)
        if visitor is not None or not background:  # what a host makes for all waits for everybody, and as long as it has to
            process = self.budget.within_time(process)
        return InLoop(self.loop, self.loop.join(process, self._evaluators.of(planned, keys), hand_on, background))

    def stop(self, run: UnderWay) -> None:
        """Ends a run early: at most the network call under way is finished. One that has ended is left as it is."""
        run.leave()
        close = self._open.pop(run, None)
        if close is not None:
            close(STOPPED)

    @property
    def running(self) -> int:
        """Runs that are going on."""
        return self.loop.runs

    def close(self, seconds: float) -> None:
        """Takes no new runs, gives those under way that long to end, and ends the others with a sentence."""
        self.closing = True
        limit = time.monotonic() + seconds
        while self.running and time.monotonic() < limit:
            time.sleep(0.05)
        self.loop.close()

    def run(self, recipe: BaseRecipe | Plan, visitor: Visitor | None = None, background: bool = False) -> RunHandle:
        """Starts the run of a recipe, or of its plan; raises FieldError."""
        planned = recipe if isinstance(recipe, Plan) else self.plan(recipe)
        arrived: Arrived = queue.SimpleQueue()
        run = self.start(planned, arrived.put, visitor, background)
        return RunHandle(planned, arrived, partial(self.stop, run), None if self.loop.threaded else run.advance)

    def final(self, recipe: Recipe) -> list[Tensor]:
        """The finished pictures of each arm, (pictures, C, H, W) before any clamping to [-1, 1]."""
        pictures: list[Tensor] = self.run(recipe).result
        return pictures

    def step_seconds(self, recipe: Recipe) -> float:
        """What one step of the recipe's only arm takes on this machine when it runs alone; measured once for its like.

        What was measured while others ran holds until nobody does.
        """
        planned = self.plan(recipe)
        like = (*self._evaluators.keys(planned), recipe.pictures, planned.rows[0].adds_noise)
        seconds, shared = self._step_seconds.get(like, (0.0, True))
        if not seconds or (shared and not self.loop.runs):
            steps = min(8, planned.model.schedule.num_train_timesteps)
            short = recipe.with_arms(replace(recipe.arms[0], steps=steps, timesteps=None))
            taken, others = [], self.loop.runs
            for _ in range(3):
                began = time.perf_counter()
                self.final(short)
                taken.append((time.perf_counter() - began) / steps)
                others += self.loop.runs
            seconds = min(taken)
            self._step_seconds[like] = seconds, others > 0
        return seconds

    def check_buckets(self, name: str, precision: str) -> list[set[int]]:
        """Measures in which buckets a row has the same bits whatever its place and neighbours; takes seconds."""
        return self._backends.check_buckets(self.model(name), precision)

    def warm_up(self) -> None:
        """Loads the first model and draws two short runs, so that the first visitor waits for neither and costs are known.

        Then, as soon as nobody uses the device, finds out what serves that model best.
        """
        for name in self.catalogue.names()[:1]:
            try:
                model = self.model(name)
                self._backends.begin(model)
                arm = Arm(steps=min(2, model.schedule.num_train_timesteps), spacing=model.schedule.usual_spacing)
                for _ in range(2):
                    self.final(Recipe(arms=(arm,), model=name, pictures=4))
                self._backends.improve(model)
            except (FieldError, RunError) as error:
                log.warning("warm-up: %s", error)
