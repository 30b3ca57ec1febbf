"""The engine: recipes in, frames out. It owns device, models and batch loop; it keeps nothing of a run after its end."""

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ddim_app import backends, memory
from ddim_app.buckets import bucket_of
from ddim_app.latents import NoisePath, initial_noise, picture_seed
from ddim_app.loop import BatchLoop, End, Ticket
from ddim_app.model import Catalogue, Model, ModelError
from ddim_app.recipe import Arm, FieldError, Recipe, whole
from ddim_app.sample import Predict, Process, Row, Step, sample
from ddim_app.schedule import Level, Schedule

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
MODELS_KEPT = 4


class RunError(RuntimeError):
    """A run that had to end; the message is a sentence for the user."""


class Frame(NamedTuple):
    """One arm after one transition, for all its pictures."""

    arm: int
    k: int
    """0-based number of the transition."""
    steps: int
    """How many transitions the arm has, which is also its NFE."""
    level: Level
    """The level that the network was asked at."""
    sigma: float
    """Standard deviation of the noise that was added."""
    x_t: Tensor
    """(pictures, C, H, W), float, on the CPU: the pictures after the transition; of the last frame the final ones."""
    pred_x0: Tensor
    """The clean pictures predicted before the transition."""

    @property
    def is_last(self) -> bool:
        return self.k == self.steps - 1


class Plan(NamedTuple):
    """A checked recipe with everything that sampling it needs."""

    recipe: Recipe
    model: Model
    rows: list[Row]
    """How each arm samples one picture, its noise left out."""

    @property
    def evaluations(self) -> int:
        return self.recipe.pictures * sum(row.transitions for row in self.rows)

    @property
    def calls(self) -> int:
        return max(row.transitions for row in self.rows)


EmitFrames = Callable[[list[Frame] | End], None]
"""Told of each network call's frames together, then once of the end."""


@dataclass
class Pace:
    """Measured speed of one model in one number format: a running mean, since machines are shared."""

    seconds_per_row: float | None = None

    def observe(self, seconds: float, rows: int) -> None:
        measured = seconds / rows
        self.seconds_per_row = measured if self.seconds_per_row is None else 0.7 * self.seconds_per_row + 0.3 * measured


class Key(NamedTuple):
    """What runs must have in common to share a network call."""

    model: str
    number_format: str
    bucket: int | None


class Engine:
    """Runs recipes on one device.

    `max_evaluations` caps a single run (None: no cap). Without `threaded`, network calls are made by whoever reads
    the frames of `run`, as a forked process needs it. Models are loaded when first named and the last few are kept.
    """

    def __init__(
        self,
        roots: list[Path] | None = None,
        *,
        allow_hub: bool = True,
        device: torch.device | None = None,
        max_evaluations: int | None = None,
        threaded: bool = True,
    ) -> None:
        self.catalogue = Catalogue(roots or [ROOT / "weights", ROOT / "runs"], allow_hub)
        self.device = device or backends.best_device()
        self.max_evaluations = max_evaluations
        self.loop = BatchLoop(threaded=threaded)
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._predictors: dict[Key, tuple[Predict, int]] = {}
        self._paces: dict[Key, Pace] = {}
        self._invariant: dict[Key, list[set[int]]] = {}
        self._loading = threading.Lock()

    def model(self, name: str, notify: Callable[[str], None] = lambda message: None) -> Model:
        """The model of that name, loaded if need be; raises FieldError when it cannot be used."""
        with self._loading:
            if name not in self._models:
                try:
                    self._models[name] = self.catalogue.load(name, notify)
                except ModelError as error:
                    raise FieldError("model", str(error).removeprefix("model ")) from error
                while len(self._models) > MODELS_KEPT:
                    oldest, _ = self._models.popitem(last=False)
                    self._predictors = {key: p for key, p in self._predictors.items() if key.model != oldest}
            self._models.move_to_end(name)
            return self._models[name]

    def is_here(self, name: str) -> bool:
        """Whether a model can be had without a download."""
        return name in self._models or name in self.catalogue.names()

    def plan(self, recipe: Recipe) -> Plan:
        """The recipe checked against its model and this host's cap; raises FieldError."""
        model = self.model(recipe.model)
        plan = Plan(recipe, model, [arm_row(arm, model.schedule) for arm in recipe.arms])
        if self.max_evaluations is not None and plan.evaluations > self.max_evaluations:
            raise FieldError(
                "cost", f"must be at most {self.max_evaluations} evaluations on this host, and this run needs {plan.evaluations}: "
                "take fewer steps or fewer pictures"
            )  # fmt: skip
        return plan

    def seconds(self, plan: Plan) -> float | None:
        """How long a run is going to take as far as this machine has been timed; None before its first run."""
        pace = self._paces.get(self._key(plan))
        return None if pace is None or pace.seconds_per_row is None else pace.seconds_per_row * plan.evaluations

    def number_format(self, precision: str) -> str:
        return backends.number_format(precision, self.device)

    def start(self, recipe: Recipe, emit: EmitFrames) -> Ticket:
        """Starts a run on the loop. `emit` gets its frames and then one End, on the loop's thread; raises FieldError."""
        plan = self.plan(recipe)
        key = self._key(plan)
        pace = self._paces.setdefault(key, Pace())
        last = time.perf_counter()

        def hand_on(item: Step | End) -> None:
            nonlocal last
            if isinstance(item, End):
                return emit(item)
            now = time.perf_counter()
            if item.k and self.loop.runs == 1:
                pace.observe(now - last, len(item.rows))
            last = now
            emit(list(frames(plan, item)))

        predict, max_rows = self._predictor(plan)
        return self.loop.join(self._process(plan), predict, key, hand_on, max_rows)

    def stop(self, ticket: Ticket) -> None:
        """Ends a run early: no frame comes any more and at most the network call under way is finished."""
        self.loop.leave(ticket)

    def run(self, recipe: Recipe) -> Iterator[Frame]:
        """The frames of a run as they are made; closing the iterator stops it. Raises FieldError, or RunError midway."""
        arrived: queue.SimpleQueue[list[Frame] | End] = queue.SimpleQueue()
        ticket = self.start(recipe, arrived.put)
        try:
            while not isinstance(item := self._next(arrived), End):
                yield from item
            if item.error:
                raise RunError(item.error)
        finally:
            self.stop(ticket)

    def _next(self, arrived: "queue.SimpleQueue[list[Frame] | End]") -> list[Frame] | End:
        while not self.loop.threaded and arrived.empty():
            self.loop.round()
        return arrived.get()

    def made(self, recipe: Recipe, ticket: Ticket) -> Recipe:
        """The recipe of a run's pictures: with the bucket that makes them again to the last bit, where there is one.

        That is the one its calls had, or the largest if they are all known to give the same bits.
        """
        used = {bucket_of(size) for size in ticket.sizes}
        groups = self._invariant.get(Key(recipe.model, self.number_format(recipe.precision), None), [])
        exact = recipe.bucket or (max(used) if len(used) == 1 or any(used <= group for group in groups) else None)
        return replace(recipe, bucket=exact)

    def check_buckets(self, name: str, precision: str) -> list[set[int]]:
        """Measures in which buckets a row has the same bits, for `made`; takes a second."""
        model, fmt = self.model(name), self.number_format(precision)

        def pinned(bucket: int) -> Predict:
            return backends.predictor(model, self.device, fmt, bucket)

        groups = backends.invariant_buckets(pinned, model.shape, self.device)
        self._invariant[Key(name, fmt, None)] = groups
        return groups

    def final(self, recipe: Recipe) -> list[Tensor]:
        """The finished pictures of each arm, (pictures, C, H, W) before any clamping to [-1, 1]."""
        done = {frame.arm: frame.x_t for frame in self.run(recipe) if frame.is_last}
        return [done[arm] for arm in range(len(recipe.arms))]

    def warm_up(self) -> None:
        """Loads the first model and draws two short runs, so that the first visitor waits for neither and costs are known."""
        for name in self.catalogue.names()[:1]:
            try:
                for _ in range(2):
                    self.final(Recipe(arms=(Arm(steps=3),), model=name, pictures=8))
                self.check_buckets(name, "fast")
            except (FieldError, RunError) as error:
                log.warning("warm-up: %s", error)

    def _key(self, plan: Plan) -> Key:
        return Key(plan.model.name, self.number_format(plan.recipe.precision), plan.recipe.bucket)

    def _predictor(self, plan: Plan) -> tuple[Predict, int]:
        """The function that evaluates a plan's rows, and how many one call may have."""
        key = self._key(plan)
        with self._loading:
            if key not in self._predictors:
                predict = backends.predictor(plan.model, self.device, key.number_format, key.bucket)
                rows = key.bucket or memory.max_rows(predict, plan.model.shape, self.device)
                self._predictors[key] = predict, rows
            return self._predictors[key]

    def _process(self, plan: Plan) -> Process:
        recipe, model = plan.recipe, plan.model
        seeds = [picture_seed(recipe.seed, i) for i in range(recipe.pictures)]
        noise_seeds = [
            picture_seed(recipe.seed if recipe.noise_seed is None else recipe.noise_seed, i) for i in range(recipe.pictures)
        ]
        latents = initial_noise(seeds, model.shape).repeat(len(recipe.arms), 1, 1, 1)
        rows = []
        for row in plan.rows:
            for noise_seed in noise_seeds:
                path = NoisePath(model.schedule, model.shape, noise_seed, recipe.branch) if row.eta else None
                rows.append(replace(row, draw=path.between if path else None))
        dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
        schedule = model.schedule
        return sample(
            latents.to(self.device, dtype), rows, prediction_type=schedule.prediction_type, clip_range=schedule.clip_range
        )


def arm_row(arm: Arm, schedule: Schedule) -> Row:
    """How an arm samples one picture of a model; DDPM is the eta = 1 member of the family. Raises FieldError."""
    T = schedule.num_train_timesteps
    try:
        levels = (
            schedule.levels_at(arm.timesteps) if arm.timesteps else schedule.levels(whole("steps", arm.steps, 1, T), arm.spacing)
        )
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError("timesteps" if arm.timesteps else "spacing", f"cannot be used: {error}") from error
    ddpm = arm.method == "ddpm"
    return Row(levels, 1.0 if ddpm else arm.eta, arm.variance if ddpm else "small", arm.clip)


def frames(plan: Plan, step: Step) -> Iterator[Frame]:
    """A step of all rows, cut into one frame per arm; an arm's pictures move together, since they share its levels."""
    pictures = plan.recipe.pictures
    x_t, pred_x0 = step.x_next.cpu(), step.pred_x0.cpu()
    for at in range(0, len(step.rows), pictures):
        arm = step.rows[at] // pictures
        row = plan.rows[arm]
        cur, nxt = row.levels[step.k], row.levels[step.k + 1]
        chosen = slice(at, at + pictures)
        yield Frame(arm, step.k, row.transitions, cur, row.noise(cur, nxt)[1], x_t[chosen], pred_x0[chosen])
