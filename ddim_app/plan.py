"""A recipe made ready to run: checked against its models, with the rows it samples and the frames that come of them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddim_app.latents import NoisePath, initial_noise, picture_seed
from ddim_app.model import Model
from ddim_app.recipe import Arm, BaseRecipe, FieldError, Recipe, whole
from ddim_app.sample import Process, Report, Row, Step, first_rounds, sample
from ddim_app.schedule import Level, Schedule


@dataclass(frozen=True)
class Plan(ABC):
    """A checked recipe with everything that the engine needs to run it. There is one kind for each kind of recipe."""

    recipe: Any
    models: tuple[Model, ...]
    """In the order in which its queries name them."""

    @property
    def model(self) -> Model:
        return self.models[0]

    @property
    @abstractmethod
    def evaluations(self) -> int:
        """Rows that the networks evaluate in all."""

    @property
    @abstractmethod
    def transitions(self) -> int:
        """How many steps the run reports, as the status line counts them."""

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Pictures that are on their way at a time, those of all its arms."""

    @property
    @abstractmethod
    def nfe(self) -> tuple[int, ...]:
        """Evaluations really made per picture; several numbers where its arms differ."""

    @abstractmethod
    def calls(self, max_rows: int) -> int:
        """Network calls that the run needs when it is alone and a call may have `max_rows` rows."""

    @abstractmethod
    def process(self, device: torch.device) -> Process:
        """The run itself."""

    @abstractmethod
    def frames(self, report: Any) -> Iterator[Any]:
        """What readers are told of a report, with its tensors on the CPU; every frame has `k`, the 0-based step."""

    def evaluated(self, done: int) -> int:
        """Rows evaluated after `done` steps."""
        return self.evaluations * done // self.transitions


Load = Callable[[str], Model]


@singledispatch
def plan(recipe: BaseRecipe, load: Load) -> Plan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    raise TypeError(f"no plan for a {type(recipe).__name__}")


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
    eps: Tensor
    """The noise that (x before the transition, pred_x0) stands for."""
    round: int
    """0-based step of the run; it is ahead of `k` in an arm that starts from another."""

    @property
    def is_last(self) -> bool:
        return self.k == self.steps - 1


@dataclass(frozen=True)
class SamplingPlan(Plan):
    """The plan of a Recipe."""

    recipe: Recipe
    rows: tuple[Row, ...]
    """How each arm samples one picture, its noise left out."""

    @cached_property
    def _first(self) -> list[int]:
        """The round in which each arm makes its first transition."""
        return first_rounds(self.rows)

    @property
    def evaluations(self) -> int:
        return self.recipe.pictures * sum(row.transitions for row in self.rows)

    @property
    def at_once(self) -> int:
        return self.recipe.pictures * len(self.rows)

    @property
    def transitions(self) -> int:
        return max(at + row.transitions for at, row in zip(self._first, self.rows, strict=True))

    @property
    def nfe(self) -> tuple[int, ...]:
        return tuple(sorted({row.transitions for row in self.rows}))

    def evaluated(self, done: int) -> int:
        pairs = zip(self._first, self.rows, strict=True)
        return self.recipe.pictures * sum(min(max(done - at, 0), row.transitions) for at, row in pairs)

    def calls(self, max_rows: int) -> int:
        count = 0
        for network in range(len(self.models)):
            spans = [
                range(at, at + row.transitions) for at, row in zip(self._first, self.rows, strict=True) if row.network == network
            ]
            live = (self.recipe.pictures * sum(k in span for span in spans) for k in range(self.transitions))
            count += sum(math.ceil(rows / max_rows) for rows in live)
        return count

    def process(self, device: torch.device) -> Process:
        """Rows in the order arm by arm, picture by picture, each arm from the same x_T and on the same noise path."""
        recipe = self.recipe
        dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
        latents, rows = [], []
        pictures = recipe.pictures
        for arm, row in zip(recipe.arms, self.rows, strict=True):
            seed = recipe.seed if arm.seed is None else arm.seed
            noise_seed = next((s for s in (arm.noise_seed, recipe.noise_seed) if s is not None), seed)
            branch = recipe.branch if arm.branch is None else arm.branch
            latents.append(initial_noise([picture_seed(seed, i) for i in range(pictures)], self.model.shape))
            for i in range(pictures):
                schedule = self.models[row.network].schedule
                path = NoisePath(schedule, self.model.shape, picture_seed(noise_seed, i), branch) if row.eta else None
                start = (row.start[0] * pictures + i, row.start[1]) if row.start else None
                rows.append(replace(row, draw=path.between if path else None, start=start))
        return sample(torch.cat(latents).to(device, dtype), rows)

    def frames(self, report: Report) -> Iterator[Frame]:
        """One frame per arm; an arm's pictures move together, since they share its levels."""
        assert isinstance(report, Step)
        pictures = self.recipe.pictures
        report = report.on_host()
        x_t, pred_x0, eps = report.x_next, report.pred_x0, report.eps
        for at in range(0, len(report.rows), pictures):
            arm = report.rows[at] // pictures
            row = self.rows[arm]
            k = report.k - self._first[arm]
            cur, nxt = row.levels[k], row.levels[k + 1]
            chosen = slice(at, at + pictures)
            sigma = row.noise(cur, nxt)[1]
            yield Frame(arm, k, row.transitions, cur, sigma, x_t[chosen], pred_x0[chosen], eps[chosen], report.k)


@plan.register
def _(recipe: Recipe, load: Load) -> SamplingPlan:
    models = tuple(load(name) for name in recipe.models)
    for other in models[1:]:
        if other.shape != models[0].shape:
            sizes = " and ".join("x".join(map(str, model.shape)) for model in (models[0], other))
            raise FieldError("model", f"must make pictures of one size in all arms; these make {sizes}")
    rows: list[Row] = []
    for arm in recipe.arms:
        network = recipe.models.index(arm.model or recipe.model)
        row = replace(arm_row(arm, models[network].schedule), network=network)
        rows.append(row if arm.start_arm is None else _continued(row, arm, rows[arm.start_arm], models[network].schedule))
    return SamplingPlan(recipe, models, tuple(rows))


def _continued(row: Row, arm: Arm, parent: Row, schedule: Schedule) -> Row:
    """The arm's row when it begins at its parent's level; raises FieldError."""
    assert arm.start_arm is not None
    step = whole("start_step", arm.start_step, 0, parent.transitions - 1)
    if row.network != parent.network:
        raise FieldError("start_arm", "must be an arm of the same model, whose noise levels are the same")
    t = parent.levels[step].t
    left = schedule.levels_at([t, *(level.t for level in row.levels[:-1] if level.t < t)])
    return replace(row, levels=left, start=(arm.start_arm, step))


def arm_row(arm: Arm, schedule: Schedule) -> Row:
    """How an arm samples one picture of a model; DDPM is the eta = 1 member of the family. Raises FieldError."""
    T = schedule.num_train_timesteps
    if arm.timesteps is None:
        whole("steps", arm.steps, 1, T)
    try:
        levels = schedule.levels_at(arm.timesteps) if arm.timesteps else schedule.levels(arm.steps, arm.spacing)
    except ValueError as error:
        raise FieldError("timesteps" if arm.timesteps else "spacing", f"cannot be used: {error}") from error
    ddpm = arm.method == "ddpm"
    return Row(
        levels,
        1.0 if ddpm else arm.eta,
        arm.variance if ddpm else "small",
        arm.clip,
        prediction_type=schedule.prediction_type,
        clip_range=schedule.clip_range,
    )
