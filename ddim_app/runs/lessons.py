"""Small runs that the Learn tab makes: a look at one level, a chain from a noised picture, and two Euler methods side by side."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple, Self

from ddim_app.diffusion import formulas
from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.noise import MAX_SEED, BrownianPath, initial_noise
from ddim_app.diffusion.sampler import Process, Query, Report, Row, Step, sample
from ddim_app.diffusion.schedule import SPACINGS, Level, Schedule
from ddim_app.errors import FieldError, choice, real, shown, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.runs.base import MAX_ETA, ArmCost, Asked, BaseRecipe, KeptEvents, Load, Plan, put, rows_in_step
from ddim_app.runs.sources import Source

LESSONS = ("look", "denoise", "euler")
RULES = ("ddim", "flow")
"""Euler's method in sqrt((1 - ab) / ab), DDIM Eq. 14, which is DDIM; and in the time of the probability flow, Eq. 15."""
MOST_TIMES = 64


@dataclass(frozen=True, kw_only=True)
class LessonRecipe(BaseRecipe):
    """One of LESSONS on a picture.

    "look": the network asked once at each of `timesteps`, for the picture noised to it by the seed's noise. "denoise": the picture
    noised to the first of `timesteps`, and the chain from there down the grid of `steps` and `spacing`. "euler": the noise of the
    seed taken to a picture by both RULES with each of `timesteps` as its number of steps, and by DDIM with `steps`.
    """

    kind = "lesson"

    lesson: str = "look"
    picture: Source | None = None
    timesteps: tuple[int, ...] = field(default=(0,))
    steps: int = 25
    spacing: str = "trailing"
    eta: float = 0.0
    clip: str = "clip"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("lesson", self.lesson, LESSONS)
        if not isinstance(self.timesteps, tuple | list) or not 1 <= len(self.timesteps) <= MOST_TIMES:
            raise FieldError("timesteps", f"must be a list of 1 to {MOST_TIMES} whole numbers; got {shown(self.timesteps)}")
        put(self, "timesteps", tuple(whole("timesteps", t, 0) for t in self.timesteps))
        put(self, "steps", whole("steps", self.steps, 1))
        choice("spacing", self.spacing, SPACINGS)
        put(self, "eta", real("eta", self.eta, 0, MAX_ETA))
        choice("clip", self.clip, CLIP_RULES)
        put(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        if self.picture is None and self.lesson != "euler":
            raise FieldError("picture", "must be chosen first")

    @classmethod
    def from_values(cls, values: Any) -> Self:
        picture = values.get("picture")
        return cls(**{**values, "picture": picture and Source.from_values(picture), "timesteps": tuple(values["timesteps"])})


class LookResult(NamedTuple):
    """The network's predictions for one picture at n levels; all tensors are (n, C, H, W) on the CPU."""

    k: int
    x_t: Tensor
    noise: Tensor
    """The noise that is in them."""
    output: Tensor
    """eps as the network predicts it."""
    pred_x0: Tensor
    """The predicted clean pictures, after clipping."""
    eps: Tensor
    """The noise that (x_t, pred_x0) stands for."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(float(self.output.sum()))


class LessonStep(NamedTuple):
    """A step of the chains, on the CPU, of the rows that were still on their way."""

    k: int
    rows: tuple[int, ...]
    x_next: Tensor
    pred_x0: Tensor
    eps: Tensor

    @property
    def is_finite(self) -> bool:
        return math.isfinite(float(self.x_next.sum()))


@dataclass(frozen=True)
class LessonPlan(Plan):
    """The plan of a LessonRecipe."""

    recipe: LessonRecipe
    x0: Tensor | None
    grids: tuple[tuple[Level, ...], ...]
    """Levels of every row, noisiest first, ending in the clean one; those of a look are single."""
    rules: tuple[str, ...]
    classes: tuple[int, ...] = ()
    """The class of all rows, of a model that has classes."""

    @property
    def arms(self) -> list[ArmCost]:
        return [ArmCost(1, max(1, len(levels) - 1)) for levels in self.grids]

    def steps(self) -> Iterator[Sequence[Asked]]:
        return rows_in_step([(range(arm.nfe), 0, arm.pictures) for arm in self.arms])

    def process(self, device: "torch.device") -> Process:
        schedule, recipe = self.model.schedule, self.recipe
        noise = initial_noise([recipe.seed], self.model.shape)
        if recipe.lesson == "euler":
            x = noise.repeat(len(self.grids), 1, 1, 1).to(device)
            return euler(x, self.grids, self.rules, schedule.prediction_type, self.classes)
        assert self.x0 is not None
        if recipe.lesson == "look":
            levels = [levels[0] for levels in self.grids]
            return _look(self.x0, noise, levels, schedule, recipe.clip, device, self.classes)
        x_t = formulas.add_noise(self.x0, noise, self.grids[0][0].alpha_bar).to(device)
        path = BrownianPath(schedule, self.model.shape, recipe.seed) if recipe.eta else None
        row = Row(self.grids[0], recipe.eta, clip=recipe.clip, prediction_type=schedule.prediction_type, classes=self.classes)
        return sample(x_t, [replace(row, clip_range=schedule.clip_range, draw=path.between if path else None)])

    def frames(self, report: Report) -> Iterator[Any]:
        if isinstance(report, Step):
            step = report.on_host()
            yield LessonStep(step.k, step.rows, step.x_next, step.pred_x0, step.eps)
        else:
            yield report

    def collector(self) -> KeptEvents:
        return KeptEvents(LookResult, LessonStep)


def plan(recipe: LessonRecipe, load: Load) -> LessonPlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    model = load(recipe.model)
    schedule, T = model.schedule, model.schedule.num_train_timesteps
    x0 = recipe.picture.tensor(model.shape) if recipe.picture else None
    rules: tuple[str, ...] = ()
    try:
        if recipe.lesson == "euler":
            counts = [whole("timesteps", count, 1, T) for count in recipe.timesteps]
            whole("steps", recipe.steps, 1, T)
            grids = [schedule.levels(count, recipe.spacing) for count in counts for _ in RULES]
            grids.append(schedule.levels(recipe.steps, recipe.spacing))
            rules = (*RULES * len(counts), "ddim")
            if schedule.alphas_cumprod[-1] == 0:
                raise FieldError("model", "has a last level without any picture, where x / sqrt(alpha_bar) is not defined")
        elif recipe.lesson == "denoise":
            first = whole("t", recipe.timesteps[0], 0, T - 1)
            grid = schedule.levels(whole("steps", recipe.steps, 1, T), recipe.spacing)
            grids = [schedule.levels_at([first, *(level.t for level in grid[:-1] if level.t < first)])]
        else:
            grids = [schedule.levels_at([whole("t", t, 0, T - 1)])[:1] for t in recipe.timesteps]
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError("timesteps", f"cannot be used: {error}") from error
    of_seed = x0 is None or model.classes.null is None  # a picture of which nothing is said is of no class where there is one
    classes = model.classes.asked(recipe.class_label, seed=recipe.seed if of_seed else None)
    return LessonPlan(recipe, (model,), x0, tuple(map(tuple, grids)), rules, classes)


def euler_step(x: Tensor, eps: Tensor, a: float, b: float, rule: str) -> Tensor:
    """x at level b from level a < b, by Euler's method for the ODE that DDIM is the solution of (arXiv:2010.02502, section 4.3).

    In x / sqrt(ab), with s = sqrt((1 - ab) / ab): "ddim" takes (s_b - s_a) eps, Eq. 13, and "flow", Euler in the time of the
    probability flow, (s_b^2 - s_a^2) / (2 s_a) eps, Eq. 15. They agree as the levels draw near.
    """
    s_a, s_b = math.sqrt((1 - a) / a), math.sqrt((1 - b) / b)
    change = s_b - s_a if rule == "ddim" else (s_b**2 - s_a**2) / (2 * s_a)
    return math.sqrt(b) * (x / math.sqrt(a) + change * eps)


def euler(
    x: Tensor, grids: Sequence[Sequence[Level]], rules: Sequence[str], prediction_type: str = "epsilon", classes: Sequence[int] = ()
) -> Process:
    """Each row of x along its own levels by its own rule, all in step; yields a LessonStep after each."""
    plans = [list(pairwise(levels)) for levels in grids]
    for k in range(max(map(len, plans))):
        live = [row for row, moves in enumerate(plans) if k < len(moves)]
        levels = torch.tensor([plans[row][k][0].alpha_bar for row in live], dtype=torch.float64)
        output = yield Query(x[live], [plans[row][k][0].t for row in live], classes=list(classes) * len(live))
        pred_x0, eps = formulas.denoise(output.to(x.dtype), x[live], levels, prediction_type)
        for i, row in enumerate(live):
            cur, nxt = plans[row][k]
            x[row] = euler_step(x[row], eps[i], cur.alpha_bar, nxt.alpha_bar, rules[row])
        yield LessonStep(k, tuple(live), x[live].cpu(), pred_x0.cpu(), eps.cpu())


def turn(before: Tensor, after: Tensor) -> float:
    """Angle in degrees between two predictions of eps: 0 on a straight path in x / sqrt(ab), where DDIM makes no error."""
    cosine = torch.cosine_similarity(before.double().flatten(), after.double().flatten(), dim=0)
    return math.degrees(math.acos(float(cosine.clamp(-1, 1))))


def _look(
    x0: Tensor, noise: Tensor, levels: list[Level], schedule: Schedule, clip: str, device: "torch.device", classes: tuple[int, ...]
) -> Process:
    alpha_bar = torch.tensor([level.alpha_bar for level in levels], dtype=torch.float64)
    n = (len(levels), 1, 1, 1)
    x_t = formulas.add_noise(x0.repeat(n), noise.repeat(n), alpha_bar)
    output = (yield Query(x_t.to(device), [level.t for level in levels], classes=classes * len(levels))).cpu()
    pred_x0, raw = formulas.denoise(output, x_t, alpha_bar, schedule.prediction_type)
    treated = formulas.clipped(pred_x0, clip, schedule.clip_range)
    eps = raw if clip == "off" else formulas.predict_eps(x_t, treated, alpha_bar)
    yield LookResult(0, x_t, noise.repeat(n), raw, treated, eps)
