"""DDPM's interpolation (arXiv:2006.11239, section 4.4, Figs 8 and 9): two pictures are noised, mixed, and denoised again.

Both pictures go k steps forward by q(x_k | x_0), Eq. 4, with noise that is the same for every lambda; the mixes
(1 - lambda) x_k + lambda x'_k are decoded by the stochastic chain from there. At k = 0 that is the mix of the pixels, at k = T
the pictures are new; in between, the larger k the coarser the features that are mixed. Level k means after k forward steps,
which is train timestep k - 1.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from ddim_app.diffusion import latent_paths
from ddim_app.diffusion.formulas import add_noise
from ddim_app.diffusion.noise import FORWARD_NOISE, MAX_SEED, BrownianPath, initial_noise, keyed_noise, noise_key, picture_seed
from ddim_app.diffusion.sampler import Process, Row, Step, relay, sample
from ddim_app.diffusion.schedule import CLEAN, Level, Schedule, timesteps
from ddim_app.errors import FieldError, choice, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.runs.base import ArmCost, Asked, BaseRecipe, Load, Plan, put, rows_in_step
from ddim_app.runs.path_frames import CollectedFrames, MixStart, cells_of
from ddim_app.runs.sampling import Arm, arm_row
from ddim_app.runs.sources import Source

MAX_FRAMES = 33
MAX_LEVELS = 11
Q_NOISES = ("independent", "shared")
STEP_NOISES = ("shared", "fresh")
FIG_9 = (1000, 875, 750, 625, 500, 375, 250, 125, 0)
"""The levels of the DDPM paper's Fig. 9, for T = 1000."""
CHAIN, SOURCE = Arm(method="ddpm", steps=100), Arm(method="ddim", steps=25)


@dataclass(frozen=True, kw_only=True)
class MixRecipe(BaseRecipe):
    """Mixes of two pictures at `frames` places lambda from 0 to 1, for each of the `levels`, all as rows of one batch.

    An end is a picture, or a seed, which stands for what the model makes of it by the sampler `source`. `q_noise`: each end has
    its own noise, as in the paper (the mixes then have less of it than their level, down to 0.71 of its deviation), or both
    have one, which keeps it. `chain` is the stochastic chain: of its steps over all T a level takes its share, k steps of T.
    `step_noise`: one for all mixes of a level, or fresh for each.
    """

    kind = "mix"

    ends: tuple[Source, ...]
    levels: tuple[int, ...] = (500,)
    frames: int = 11
    chain: Arm = CHAIN
    source: Arm = SOURCE
    q_noise: str = "independent"
    step_noise: str = "shared"
    noise_seed: int = 0
    branch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.ends) != 2:
            raise FieldError("ends", f"must be two pictures or seeds; got {len(self.ends)}")
        if not isinstance(self.levels, tuple | list) or not 1 <= len(self.levels) <= MAX_LEVELS:
            raise FieldError("level", f"must be 1 to {MAX_LEVELS} levels")
        put(self, "levels", tuple(whole("level", level, 0) for level in self.levels))
        if len(set(self.levels)) != len(self.levels):
            raise FieldError("level", "must not be named twice")
        put(self, "frames", whole("frames", self.frames, 2, MAX_FRAMES))
        choice("q_noise", self.q_noise, Q_NOISES)
        choice("step_noise", self.step_noise, STEP_NOISES)
        put(self, "noise_seed", whole("noise_seed", self.noise_seed, 0, MAX_SEED))
        put(self, "branch", whole("branch", self.branch, 0, MAX_SEED))
        if self.chain.method != "ddpm" or self.chain.timesteps or self.chain.spacing != "trailing":
            raise FieldError("chain", "must be DDPM with trailing spacing, which enters at the very level")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        ends = tuple(Source.from_values(end) for end in values["ends"])
        return cls(**{**values, "ends": ends, **{name: Arm(**values[name]) for name in ("chain", "source") if name in values}})

    @property
    def at(self) -> list[float]:
        """lambda of each frame."""
        return latent_paths.spread(self.frames)

    @property
    def neighbours(self) -> list[tuple[int, int]]:
        """Frames that lie side by side."""
        return [(i, i + 1) for i in range(self.frames - 1)]

    @property
    def seeds(self) -> list[int]:
        """The seeds of those ends that the model has to sample first."""
        return [end.seed for end in self.ends if end.seed is not None]


class MixSourceStep(NamedTuple):
    """A step of sampling those ends that are seeds."""

    k: int
    pred_x0: Tensor
    is_finite: bool = True


@dataclass(frozen=True)
class MixPlan(Plan):
    """The plan of a MixRecipe."""

    recipe: MixRecipe
    rows: tuple[Row, ...]
    """How the mixes of each level are decoded, their noise left out; level 0 takes no step."""
    source: Row
    """How an end that is a seed becomes a picture."""

    @property
    def before(self) -> int:
        """Steps until the ends are pictures."""
        return self.source.transitions if self.recipe.seeds else 0

    @property
    def arms(self) -> list[ArmCost]:
        return [ArmCost(self.recipe.frames, row.nfe) for row in self.rows]

    def steps(self) -> Iterator[Sequence[Asked]]:
        yield from rows_in_step([(range(self.before), 0, len(self.recipe.seeds) * self.source.width)])
        yield from rows_in_step([(range(row.transitions), 0, self.recipe.frames * row.width) for row in self.rows])

    def process(self, device: "torch.device") -> Process:
        """First the pictures of the ends that are seeds, then all mixes: rows level by level, lambda by lambda."""
        recipe = self.recipe
        dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
        pictures = yield from self._pictures(device, dtype)
        walk = latent_paths.line(recipe.at, "lerp")
        noise = self._forward_noise().to(dtype)
        mixes = [walk(add_noise(pictures, noise, row.levels[0].alpha_bar)) for row in self.rows]
        yield MixStart(self.before - 1, pictures, walk(pictures), [latent_paths.norms(mix).tolist() for mix in mixes])
        draws = [self._path(i if recipe.step_noise == "fresh" else 0).between for i in range(recipe.frames)]
        rows = [replace(row, draw=draw) for row in self.rows for draw in draws]
        yield from sample(torch.cat(mixes).to(device), rows)

    def frames(self, report: Any) -> Iterator[Any]:
        if isinstance(report, Step):
            yield from cells_of(report, [row.transitions for row in self.rows], self.recipe.frames, self.before)
        else:
            yield report

    def collector(self) -> CollectedFrames:
        return CollectedFrames(self)

    def _pictures(self, device: "torch.device", dtype: "torch.dtype") -> Generator[Any, Tensor, Tensor]:
        """The ends in [-1, 1], (2, C, H, W), on the CPU; those that are seeds are sampled."""
        seeds, shape = self.recipe.seeds, self.model.shape
        drawn = torch.empty(0)
        if seeds:
            noise = [BrownianPath(self.model.schedule, shape, seed, self.recipe.branch) for seed in seeds]
            rows = [replace(self.source, draw=path.between) for path in noise]
            process = sample(initial_noise(seeds, shape).to(device, dtype), rows)
            drawn = (yield from relay(process, self._source_step)).cpu()
        each = iter(torch.split(drawn, 1))
        pictures = [next(each) if end.seed is not None else end.tensor(shape).to(dtype) for end in self.recipe.ends]
        return torch.cat(pictures).clamp(-1, 1)

    @staticmethod
    def _source_step(step: Step) -> MixSourceStep:
        step = step.on_host()
        return MixSourceStep(step.k, step.pred_x0, step.is_finite)

    def _forward_noise(self) -> Tensor:
        """The noise of q for each end, (2, C, H, W): the same at every level and every lambda."""
        recipe = self.recipe
        key = noise_key(recipe.noise_seed, recipe.branch, FORWARD_NOISE)
        return torch.stack([keyed_noise(key, i if recipe.q_noise == "independent" else 0, self.model.shape) for i in range(2)])

    def _path(self, i: int) -> BrownianPath:
        recipe = self.recipe
        return BrownianPath(self.model.schedule, self.model.shape, picture_seed(recipe.noise_seed, i), recipe.branch)


def levels_from(schedule: Schedule, level: int, steps: int) -> list[Level]:
    """The levels that the chain of `steps` over all T visits from `level` on: its share of the steps, the first at level - 1."""
    if level == 0:
        return [CLEAN]
    share = max(1, round(steps * level / schedule.num_train_timesteps))
    return schedule.levels_at(timesteps(share, level, "trailing"))


def plan(recipe: MixRecipe, load: Load) -> MixPlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    model = load(recipe.model)
    T = model.schedule.num_train_timesteps
    for end in recipe.ends:
        end.tensor(model.shape)  # raises for one of another model's shape
    seed = next(iter(recipe.seeds), None)
    classes = [model.classes.asked(recipe.class_label, arm.guidance, seed) for arm in (recipe.chain, recipe.source)]
    # With levels of its own below.
    decode = replace(arm_row(replace(recipe.chain, spacing=model.schedule.usual_spacing), model), classes=classes[0])
    rows = []
    for level in recipe.levels:
        whole("level", level, 0, T)
        try:
            rows.append(replace(decode, levels=levels_from(model.schedule, level, recipe.chain.steps)))
        except ValueError as error:
            raise FieldError("level", f"cannot be used: {error}") from error
    return MixPlan(recipe, (model,), tuple(rows), replace(arm_row(recipe.source, model), classes=classes[1]))
