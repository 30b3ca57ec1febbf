"""A recipe made ready to run: checked against its models, with the rows it samples and the frames that come of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.noise import MAX_SEED, BrownianPath, initial_noise, picture_seed
from ddim_app.diffusion.sampler import VARIANCES, Process, Report, Row, Step, first_rounds, sample
from ddim_app.diffusion.schedule import SPACINGS, Level, Schedule
from ddim_app.errors import FieldError, choice, real, shown, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.models.classes import MAX_GUIDANCE, checked_label
from ddim_app.models.loading import Model
from ddim_app.runs.base import MAX_ETA, ArmCost, Asked, BaseRecipe, Load, Plan, check_model, check_weights, put, rows_in_step
from ddim_app.runs.methods import ANALYTIC, ESTIMATE, METHODS, Method

MAX_PICTURES = 16
MAX_ARMS = 64


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the runs laid side by side: a sampler and its settings, for all pictures of the recipe.

    `steps` transitions on the grid `spacing`, or on the train timesteps listed in `timesteps`, by one of METHODS. DDIM has `eta`,
    DDPM has `variance`: "small" is the posterior's (what DDIM has at eta 1), "large" is beta's, "learned" the network's own where
    it has one; "analytic", the model's estimated one, both have. Of a model with classes, `guidance` w takes its output to null +
    w (class - null): 1, where it is left out, is the class alone, 0 the null class. An arm may have a `model`, `seed`,
    `noise_seed`, `branch` or `class_label` of its own in place of the recipe's. It may begin where the earlier arm `start_arm` is
    after `start_step` transitions; it then visits those of its timesteps that are still to come.
    """

    method: str = "ddim"
    steps: int = 25
    spacing: str = "trailing"
    timesteps: tuple[int, ...] | None = None
    eta: float = 0.0
    variance: str = "small"
    clip: str = "clip"
    guidance: float | None = None
    class_label: str | None = None
    model: str | None = None
    seed: int | None = None
    noise_seed: int | None = None
    branch: int | None = None
    weights: str | None = None
    start_arm: int | None = None
    start_step: int | None = None

    def __post_init__(self) -> None:
        choice("method", self.method, tuple(METHODS))
        put(self, "steps", whole("steps", self.steps, 1))
        choice("spacing", self.spacing, SPACINGS)
        put(self, "eta", real("eta", self.eta, 0, MAX_ETA, " (0 is DDIM, 1 has DDPM's variance)"))
        choice("variance", self.variance, VARIANCES)
        choice("clip", self.clip, CLIP_RULES)
        if self.timesteps is not None:
            if not isinstance(self.timesteps, tuple | list):
                raise FieldError("timesteps", f"must be a list of whole numbers; got {shown(self.timesteps)}")
            put(self, "timesteps", tuple(whole("timesteps", t, 0) for t in self.timesteps))
        if self.model is not None:
            put(self, "model", check_model(self.model))
        for name in ("seed", "noise_seed", "branch"):
            if getattr(self, name) is not None:
                put(self, name, whole(name, getattr(self, name), 0, MAX_SEED))
        if self.guidance is not None:
            guidance = real("guidance", self.guidance, 0, MAX_GUIDANCE, " (1 is the class alone, 0 no class)")
            put(self, "guidance", None if guidance == 1 else guidance)
        put(self, "class_label", checked_label(self.class_label))
        check_weights(self.weights)
        if (self.start_arm is None) != (self.start_step is None):
            raise FieldError("start_step", "and start_arm must be given together")
        for name in ("start_arm", "start_step"):
            if getattr(self, name) is not None:
                put(self, name, whole(name, getattr(self, name), 0))

    @property
    def sampler(self) -> Method:
        return METHODS[self.method]

    @property
    def limit(self) -> Self:
        """The arm whose picture this one's comes to with more and more steps: itself, or DDIM(0) for a solver of its flow."""
        return replace(self, method=self.sampler.limit, eta=0.0) if self.sampler.limit else self

    @property
    def label(self) -> str:
        """What the arm is called on the page: its method and what that uses, and its model where it has one of its own."""
        sampler = self.sampler.label(self.eta, self.variance)
        guided = "" if self.guidance is None else f"w = {self.guidance:g}"
        return ", ".join(filter(None, (sampler, guided, self.class_label, self.model)))


@dataclass(frozen=True, kw_only=True)
class Recipe(BaseRecipe):
    """A run of samplers: `pictures` pictures of seeds seed, seed + 1, ... (mod 2^32), each sampled by every arm from the same x_T.

    `noise_seed` and `branch` name the step noise; without a noise_seed it follows the picture's own seed.
    """

    kind = "sampling"

    arms: tuple[Arm, ...]
    seed: int = 0
    pictures: int = 1
    noise_seed: int | None = None
    branch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        put(self, "pictures", whole("pictures", self.pictures, 1, MAX_PICTURES))
        if self.noise_seed is not None:
            put(self, "noise_seed", whole("noise_seed", self.noise_seed, 0, MAX_SEED))
        put(self, "branch", whole("branch", self.branch, 0, MAX_SEED))
        if not 1 <= len(self.arms) <= MAX_ARMS:
            raise FieldError("arms", f"must be 1 to {MAX_ARMS} arms; got {len(self.arms)}")
        for i, arm in enumerate(self.arms):
            if arm.start_arm is not None and arm.start_arm >= i:
                raise FieldError("start_arm", f"must be an earlier arm than arm {i}; got {arm.start_arm}")

    def with_arms(self, *arms: Arm) -> Self:
        return replace(self, arms=arms)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.model, *(arm.model for arm in self.arms if arm.model))))

    @property
    def known_weights(self) -> dict[str, str | None]:
        return super().known_weights | {arm.model: arm.weights for arm in self.arms if arm.model}

    def made(self, hashes: Mapping[str, str | None]) -> Self:
        arms = tuple(replace(arm, weights=hashes[arm.model]) if arm.model else arm for arm in self.arms)
        return replace(super().made(hashes), arms=arms)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "arms": tuple(Arm(**arm) for arm in values["arms"])})


class Frame(NamedTuple):
    """One arm after one transition, for all its pictures."""

    arm: int
    k: int
    """0-based number of the transition."""
    steps: int
    """How many transitions the arm has."""
    level: Level
    """The level that the network was asked at."""
    sigma: float
    """Standard deviation of the noise that was added; of a learned variance the least that it may be, the posterior's."""
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
    def arms(self) -> list[ArmCost]:
        return [ArmCost(self.recipe.pictures, row.nfe) for row in self.rows]

    def steps(self) -> Iterator[Sequence[Asked]]:
        spans = [range(start, start + row.transitions) for start, row in zip(self._first, self.rows, strict=True)]
        pictures = self.recipe.pictures
        return rows_in_step([(span, row.network, pictures * row.width) for span, row in zip(spans, self.rows, strict=True)])

    def process(self, device: "torch.device") -> Process:
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
            model, label = self.models[row.network], arm.class_label or recipe.class_label
            for i in range(pictures):
                path = BrownianPath(model.schedule, model.shape, picture_seed(noise_seed, i), branch) if row.adds_noise else None
                start = (row.start[0] * pictures + i, row.start[1]) if row.start else None
                classes = model.classes.asked(label, arm.guidance, picture_seed(seed, i))
                rows.append(replace(row, draw=path.between if path else None, start=start, classes=classes))
        return sample(torch.cat(latents).to(device, dtype), rows)

    def frames(self, report: Report) -> Iterator[Frame]:
        """One frame per arm; an arm's pictures move together, since they share its levels."""
        assert isinstance(report, Step)
        pictures = self.recipe.pictures
        report = report.on_host()
        x_t, pred_x0, eps = report.x_next, report.pred_x0, report.eps
        for start in range(0, len(report.rows), pictures):
            arm = report.rows[start] // pictures
            row = self.rows[arm]
            k = report.k - self._first[arm]
            cur, nxt = row.levels[k], row.levels[k + 1]
            chosen = slice(start, start + pictures)
            sigma = row.noise(cur, nxt)[1]
            yield Frame(arm, k, row.transitions, cur, sigma, x_t[chosen], pred_x0[chosen], eps[chosen], report.k)

    def collector(self) -> "FinalPictures":
        return FinalPictures()


class FinalPictures:
    """Collects the finished pictures: the result is those of each arm, (pictures, C, H, W) before any clamping."""

    def __init__(self) -> None:
        self._arms: dict[int, Tensor] = {}

    def add(self, frame: Frame) -> None:
        if frame.is_last:
            self._arms[frame.arm] = frame.x_t

    @property
    def result(self) -> list[Tensor]:
        return [self._arms[arm] for arm in sorted(self._arms)]


def plan(recipe: Recipe, load: Load) -> SamplingPlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    models = tuple(load(name) for name in recipe.models)
    for other in models[1:]:
        if other.shape != models[0].shape:
            sizes = " and ".join("x".join(map(str, model.shape)) for model in (models[0], other))
            raise FieldError("model", f"must make pictures of one size in all arms; these make {sizes}")
    rows: list[Row] = []
    for arm in recipe.arms:
        network = recipe.models.index(arm.model or recipe.model)
        seed = recipe.seed if arm.seed is None else arm.seed
        classes = models[network].classes.asked(arm.class_label or recipe.class_label, arm.guidance, seed)
        row = replace(arm_row(arm, models[network]), network=network, classes=classes)
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


def arm_row(arm: Arm, model: Model) -> Row:
    """How an arm samples one picture of a model; DDPM is the eta = 1 member of the family. Raises FieldError."""
    schedule, T = model.schedule, model.schedule.num_train_timesteps
    if arm.timesteps is None:
        whole("steps", arm.steps, 1, T)
    try:
        levels = schedule.levels_at(arm.timesteps) if arm.timesteps else schedule.levels(arm.steps, arm.spacing)
    except ValueError as error:
        raise FieldError("timesteps" if arm.timesteps else "spacing", f"cannot be used: {error}") from error
    method = arm.sampler
    variance = method.variance_of(arm.variance)
    if variance == "learned" and not schedule.learned:
        raise FieldError("variance", "must be small or large: this model has learned none; got 'learned'")
    if variance == ANALYTIC and not model.residuals:
        raise FieldError("variance", f"must be another: this model's analytic one is not estimated yet; {ESTIMATE} does that")
    return Row(
        levels,
        method.eta_of(arm.eta),
        schedule.learned if variance == "learned" else variance,
        arm.clip,
        prediction_type=schedule.prediction_type,
        clip_range=schedule.clip_range,
        guidance=1.0 if arm.guidance is None else arm.guidance,
        multistep=method.multistep,
        residuals=model.residuals if variance == ANALYTIC else (),
    )
