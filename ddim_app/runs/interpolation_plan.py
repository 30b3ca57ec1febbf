"""How a path between latents is run: its ends made latents, its frames laid along the path, their step noise moved with them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddim_app.diffusion.fixed_point_inversion import allotment, fixed_point
from ddim_app.diffusion.latent_paths import Path
from ddim_app.diffusion.naive_inversion import AskedNetwork, reachable
from ddim_app.diffusion.noise import BrownianPath, Shape, picture_seed
from ddim_app.diffusion.sampler import Draw, Process, Row, Step, relay, sample
from ddim_app.diffusion.schedule import Schedule
from ddim_app.errors import FieldError
from ddim_app.runs.base import ArmCost, Asked, Load, Plan, rows_in_step
from ddim_app.runs.interpolation import MovingArm, PathRecipe
from ddim_app.runs.inversion import BUDGET_PER_STEP
from ddim_app.runs.sampling import arm_row


class PathStart(NamedTuple):
    """The start of a path: the x_T of its ends and of its frames, before the first step."""

    k: int
    ends: Tensor
    """(ends, C, H, W), on the CPU."""
    latents: Tensor
    """(frames, C, H, W), on the CPU."""
    is_finite: bool = True


class EndInversionStep(NamedTuple):
    """A step of inverting those ends that are pictures."""

    k: int
    is_finite: bool = True


class FramesStep(NamedTuple):
    """All frames of one arm after one transition."""

    arm: int
    k: int
    """0-based number of the run's step."""
    at: int
    """0-based number of the arm's own transition."""
    steps: int
    """How many transitions the arm has, which is also its NFE."""
    x: Tensor
    """(frames, C, H, W), on the CPU; of the last transition the pictures."""
    pred_x0: Tensor

    @property
    def is_last(self) -> bool:
        return self.at == self.steps - 1


class PathResult(NamedTuple):
    """The result of a path."""

    ends: Tensor
    latents: Tensor
    pictures: list[Tensor]
    """For each arm (frames, C, H, W), before any clamping to [-1, 1]."""


def collect(frames: Iterator[Any]) -> PathResult:
    """The result of a run's frames: `collect(engine.run(recipe))`."""
    laid, done = None, {}
    for frame in frames:
        if isinstance(frame, PathStart):
            laid = frame
        elif isinstance(frame, FramesStep) and frame.is_last:
            done[frame.arm] = frame.x
    if laid is None:
        raise ValueError("the run has ended before it began")
    return PathResult(laid.ends, laid.latents, [done[arm] for arm in sorted(done)])


@dataclass(frozen=True)
class PathPlan(Plan):
    """The plan of a PathRecipe."""

    recipe: PathRecipe
    rows: tuple[Row, ...]
    """How each arm samples one frame, its noise left out."""
    allotted: tuple[int, ...] = ()
    """Evaluations of each step up from the ends that are pictures, at most."""

    @property
    def before(self) -> int:
        """Steps until all ends are latents."""
        return len(self.allotted)

    @property
    def arms(self) -> list[ArmCost]:
        return [ArmCost(self.recipe.cells, row.transitions) for row in self.rows]

    def steps(self) -> Iterator[Sequence[Asked]]:
        for evaluations in self.allotted:
            yield [{0: len(self.recipe.pictures)}] * evaluations
        yield from rows_in_step([(range(row.transitions), 0, self.recipe.cells) for row in self.rows])

    def process(self, device: torch.device) -> Process:
        """First the pictures' x_T, then rows in the order arm by arm, frame by frame, each arm from the same x_T."""
        recipe = self.recipe
        keys = yield from self._keys(device)
        latents = recipe.path(keys)(keys)
        yield PathStart(self.before - 1, keys, latents)
        rows = []
        for row, arm in zip(self.rows, recipe.arms, strict=True):
            draws = step_noise(recipe, arm, keys, self.model.schedule) if row.eta else [None] * recipe.cells
            rows += [replace(row, draw=draw) for draw in draws]
        yield from sample(latents.repeat(len(self.rows), 1, 1, 1).to(device), rows)

    def frames(self, report: Any) -> Iterator[Any]:
        if isinstance(report, Step):
            yield from cells_of(report, [row.transitions for row in self.rows], self.recipe.cells, self.before)
        else:
            yield report

    def _keys(self, device: torch.device) -> Generator[Any, Tensor, Tensor]:
        """The ends' x_T, (ends, C, H, W), on the CPU; those that are pictures are inverted."""
        dtype = torch.float64 if self.recipe.precision == "fp64" else torch.float32
        keys = torch.cat([end.tensor(self.model.shape) for end in self.recipe.ends]).to(dtype)
        if self.allotted:
            schedule, chosen = self.model.schedule, self.recipe.pictures
            network = AskedNetwork(schedule.level(0), schedule.prediction_type)
            latents = yield from relay(
                fixed_point(keys[chosen].to(device), self.rows[0].levels, network, self.allotted),
                lambda move: EndInversionStep(move.k, move.is_finite),
            )
            keys[chosen] = latents.cpu()
        return keys


def cells_of(step: Step, lengths: Sequence[int], cells: int, before: int = 0) -> Iterator[FramesStep]:
    """The arms that a step moved, each of `cells` rows and its own length; `before` steps were something else's."""
    step = step.on_host()
    x, pred_x0 = step.x_next, step.pred_x0
    for start in range(0, len(step.rows), cells):
        arm, chosen = step.rows[start] // cells, slice(start, start + cells)
        yield FramesStep(arm, before + step.k, step.k, lengths[arm], x[chosen], pred_x0[chosen])


def step_noise(recipe: PathRecipe, arm: MovingArm, keys: Tensor, schedule: Schedule) -> list[Draw]:
    """Each frame's source of step noise."""
    shape: Shape = (keys.shape[1], keys.shape[2], keys.shape[3])

    def path(noise_seed: int) -> BrownianPath:
        return BrownianPath(schedule, shape, noise_seed, recipe.branch)

    own = noise_seeds(recipe)
    if arm.noise == "shared":
        return [path(own[0]).between] * recipe.cells
    if arm.noise == "fresh":
        return [path(picture_seed(own[0], i)).between for i in range(recipe.cells)]
    moving = _MovingNoise([path(seed).between for seed in own], recipe.noise_path(keys))
    return [moving.draw(i) for i in range(recipe.cells)]


def noise_seeds(recipe: PathRecipe) -> list[int]:
    """What names each end's step noise: its own seed, of a latent its place; or noise_seed + i."""
    if recipe.noise_seed is not None:
        return [picture_seed(recipe.noise_seed, i) for i in range(len(recipe.ends))]
    return [i if end.seed is None else end.seed for i, end in enumerate(recipe.ends)]


class _MovingNoise:
    """Step noise of all frames from that of the ends, worked out once for each transition."""

    def __init__(self, ends: Sequence[Draw], walk: Path) -> None:
        self._ends, self._walk = ends, walk
        self._of: tuple[int, int] | None = None
        self._z = torch.empty(0)

    def draw(self, i: int) -> Callable[[int, int], Tensor]:
        def between(cur: int, nxt: int) -> Tensor:
            if self._of != (cur, nxt):
                self._of, self._z = (cur, nxt), self._walk(torch.stack([end(cur, nxt) for end in self._ends]))
            return self._z[i]

        return between


def plan(recipe: PathRecipe, load: Load) -> PathPlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    model = load(recipe.model)
    for end in recipe.ends:
        end.tensor(model.shape)  # raises for one of another model's shape
    rows = tuple(arm_row(arm, model.schedule) for arm in recipe.arms)
    if not recipe.pictures:
        return PathPlan(recipe, (model,), rows)
    levels = reachable(rows[0].levels)
    steps = len(levels) - 1
    if steps < 1:
        raise FieldError("steps", "must leave a level below pure noise to invert a picture: take more, or another spacing")
    own = tuple(replace(row, levels=levels, clip="off") for row in rows)
    return PathPlan(recipe, (model,), own, allotment(steps, BUDGET_PER_STEP * steps))
