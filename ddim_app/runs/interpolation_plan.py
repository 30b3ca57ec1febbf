"""How a path between latents is run: its ends made latents, its frames laid along the path, their step noise moved with them."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ddim_app.diffusion.fixed_point_inversion import allotment, fixed_point
from ddim_app.diffusion.latent_paths import Path
from ddim_app.diffusion.naive_inversion import AskedNetwork, reachable
from ddim_app.diffusion.noise import BrownianPath, Shape, picture_seed
from ddim_app.diffusion.sampler import Draw, Process, Row, Step, relay, sample
from ddim_app.diffusion.schedule import Schedule
from ddim_app.errors import FieldError
from ddim_app.lazy import Tensor, torch
from ddim_app.runs.base import ArmCost, Asked, Load, Plan, rows_in_step
from ddim_app.runs.interpolation import MovingArm, PathRecipe
from ddim_app.runs.inversion import BUDGET_PER_STEP
from ddim_app.runs.path_frames import CollectedFrames, PathStart, cells_of
from ddim_app.runs.sampling import arm_row


class EndInversionStep(NamedTuple):
    """A step of inverting those ends that are pictures."""

    k: int
    is_finite: bool = True


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
        return [ArmCost(self.recipe.cells, row.nfe) for row in self.rows]

    def steps(self) -> Iterator[Sequence[Asked]]:
        for evaluations in self.allotted:
            yield [{0: len(self.recipe.pictures)}] * evaluations
        yield from rows_in_step([(range(row.transitions), 0, self.recipe.cells * row.width) for row in self.rows])

    def process(self, device: "torch.device") -> Process:
        """First the pictures' x_T, then rows in the order arm by arm, frame by frame, each arm from the same x_T."""
        recipe = self.recipe
        keys = yield from self._keys(device)
        latents = recipe.path(keys)(keys)
        yield PathStart(self.before - 1, keys, latents)
        rows = []
        for row, arm in zip(self.rows, recipe.arms, strict=True):
            draws = step_noise(recipe, arm, keys, self.model.schedule) if row.adds_noise else [None] * recipe.cells
            rows += [replace(row, draw=draw) for draw in draws]
        yield from sample(latents.repeat(len(self.rows), 1, 1, 1).to(device), rows)

    def frames(self, report: Any) -> Iterator[Any]:
        if isinstance(report, Step):
            yield from cells_of(report, [row.transitions for row in self.rows], self.recipe.cells, self.before)
        else:
            yield report

    def collector(self) -> CollectedFrames:
        return CollectedFrames(self)

    def _keys(self, device: "torch.device") -> Generator[Any, Tensor, Tensor]:
        """The ends' x_T, (ends, C, H, W), on the CPU; those that are pictures are inverted."""
        dtype = torch.float64 if self.recipe.precision == "fp64" else torch.float32
        keys = torch.cat([end.tensor(self.model.shape) for end in self.recipe.ends]).to(dtype)
        if self.allotted:
            schedule, chosen = self.model.schedule, self.recipe.pictures
            network = AskedNetwork(schedule.level(0), schedule.prediction_type, 0, self.rows[0].classes * len(chosen))
            latents = yield from relay(
                fixed_point(keys[chosen].to(device), self.rows[0].levels, network, self.allotted),
                lambda move: EndInversionStep(move.k, move.is_finite),
            )
            keys[chosen] = latents.cpu()
        return keys


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
    seed = next((end.seed for end in recipe.ends if end.seed is not None), None)
    rows = tuple(
        replace(arm_row(arm, model), classes=model.classes.asked(recipe.class_label, arm.guidance, seed)) for arm in recipe.arms
    )
    if not recipe.pictures:
        return PathPlan(recipe, (model,), rows)
    if any(arm.guidance is not None for arm in recipe.arms):
        raise FieldError("guidance", "must be 1 where an end is a picture, which is inverted without guidance")
    levels = reachable(rows[0].levels)
    steps = len(levels) - 1
    if steps < 1:
        raise FieldError("steps", "must leave a level below pure noise to invert a picture: take more, or another spacing")
    own = tuple(replace(row, levels=levels, clip="off") for row in rows)
    return PathPlan(recipe, (model,), own, allotment(steps, BUDGET_PER_STEP * steps))
