"""Runs that move through the latents of one model: lines, grids, loops, sums, variations and scales, each frame a row of one batch.

DDIM(0) is a map from x_T to a picture, so a way between two x_T is a way between two pictures (arXiv:2010.02502, section 5.3,
Figs 6 and 11-13). DDPM's picture depends on every step's noise as well. With fresh noise per frame, which is how it is sampled,
neighbouring frames have little in common; with one noise for all frames only x_T moves; with the noise moved along the same way
as x_T the whole latent (x_T and all z_t) does, and DDPM interpolates too, both ends being the pictures of their own seeds.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ddim_app import paths
from ddim_app.latents import MAX_SEED, NoisePath, Shape, picture_seed
from ddim_app.paths import Path
from ddim_app.plan import Load, Plan, arm_row, plan
from ddim_app.recipe import Arm, BaseRecipe, FieldError, choice, put, real, whole
from ddim_app.sample import Draw, Process, Row, Step, sample
from ddim_app.schedule import Schedule
from ddim_app.source import Source

MODES = ("line", "grid", "loop", "arithmetic", "variation", "truncation")
NOISES = ("slerp", "shared", "fresh")
NOISE_WORDS = {"slerp": "noise moves along", "shared": "one noise for all", "fresh": "fresh noise"}
ENDS = {"line": (2, 2), "grid": (4, 4), "loop": (1, 16), "arithmetic": (3, 3), "variation": (2, 24), "truncation": (1, 1)}
"""How many ends each mode has, at least and at most."""
MAX_FRAMES = 121
MAX_SIDE = 11
"""Rows and columns of a grid; the DDIM paper's Figs 11-13 have 11."""
MAX_ARMS = 4
REACH = {"line": (-1.0, 2.0), "arithmetic": (-2.0, 2.0), "truncation": (0.0, 2.0)}
"""Where `start` and `stop` may lie; beyond 0 and 1 a line is extrapolated."""


@dataclass(frozen=True, kw_only=True)
class MovingArm(Arm):
    """A sampler of all frames. `noise` says what its step noise does from frame to frame: see NOISES."""

    noise: str = "slerp"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("noise", self.noise, NOISES)
        for name in ("model", "seed", "noise_seed", "branch", "weights", "start_arm"):
            if getattr(self, name) is not None:
                raise FieldError(name, "is the recipe's for all arms of a path; an arm has none of its own")

    @property
    def label(self) -> str:
        return super().label if self.method == "ddim" and self.eta == 0 else f"{super().label}, {NOISE_WORDS[self.noise]}"


@dataclass(frozen=True, kw_only=True)
class PathRecipe(BaseRecipe):
    """Pictures along a path between latents, each frame sampled by every arm.

    The ends are seeds, or latents as floats. `line`: from the first to the second. `grid`: corners top left, top right, bottom
    left, bottom right. `loop`: through all keys and back. `arithmetic`: a + s (b - c). `variation`: the first, then it moved by
    `strength` towards each other. `truncation`: one latent times s. lambda or s go from `start` to `stop` in `frames` places.
    `way` is slerp, lerp, or restored (lerp with the norm put right); a loop is always slerp.

    Step noise is that of the ends' own seeds; with a `noise_seed`, end i has noise_seed + i.
    """

    kind = "path"

    arms: tuple[MovingArm, ...]
    ends: tuple[Source, ...]
    mode: str = "line"
    way: str = "slerp"
    frames: int = 9
    rows: int = 5
    columns: int = 5
    start: float = 0.0
    stop: float = 1.0
    strength: float = 0.25
    noise_seed: int | None = None
    branch: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("mode", self.mode, MODES)
        choice("way", self.way, tuple(paths.WAYS))
        put(self, "frames", whole("frames", self.frames, 2, MAX_FRAMES))
        for side in ("rows", "columns"):
            put(self, side, whole(side, getattr(self, side), 2, MAX_SIDE))
        low, high = REACH.get(self.mode, (-2.0, 2.0))
        for name in ("start", "stop"):
            put(self, name, real(name, getattr(self, name), low, high))
        put(self, "strength", real("strength", self.strength, 0, 1))
        if self.noise_seed is not None:
            put(self, "noise_seed", whole("noise_seed", self.noise_seed, 0, MAX_SEED))
        put(self, "branch", whole("branch", self.branch, 0, MAX_SEED))
        if not 1 <= len(self.arms) <= MAX_ARMS:
            raise FieldError("arms", f"must be 1 to {MAX_ARMS} arms; got {len(self.arms)}")
        least, most = ENDS[self.mode]
        if not least <= len(self.ends) <= most:
            needed = str(least) if least == most else f"{least} to {most}"
            raise FieldError("ends", f"must be {needed} for a {self.mode}; got {len(self.ends)}")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        arms = tuple(MovingArm(**arm) for arm in values["arms"])
        return cls(**{**values, "arms": arms, "ends": tuple(Source.from_values(end) for end in values["ends"])})

    @property
    def cells(self) -> int:
        """Frames of each arm."""
        return {"grid": self.rows * self.columns, "variation": len(self.ends)}.get(self.mode, self.frames)

    @property
    def at(self) -> list[float]:
        """lambda or s of each frame of a line, a sum or a scale."""
        return paths.spread(self.frames, self.start, self.stop)

    def path(self, keys: Tensor) -> Path:
        """How the frames' x_T come of the ends', which are needed for the speed of a loop."""
        if self.mode == "loop":
            return paths.loop(keys, self.frames)
        if self.mode == "grid":
            return paths.grid(paths.spread(self.rows), paths.spread(self.columns), self.way)
        if self.mode == "variation":
            return paths.variations(self.strength, self.way)
        return {
            "line": lambda: paths.line(self.at, self.way),
            "arithmetic": lambda: paths.arithmetic(self.at, self.way),
            "truncation": lambda: paths.scales(self.at),
        }[self.mode]()

    def noise_path(self, keys: Tensor) -> Path:
        """How the frames' step noise comes of the ends': as x_T does, but always at the norm of noise."""
        if self.mode == "truncation":
            return paths.scales([1.0] * self.frames)
        return replace(self, way="slerp").path(keys)

    @property
    def neighbours(self) -> list[tuple[int, int]]:
        """Pairs of frames that are next to each other; of variations the first one with each other."""
        if self.mode == "grid":
            across = [(i, i + 1) for i in range(self.cells) if (i + 1) % self.columns]
            return across + [(i, i + self.columns) for i in range(self.cells - self.columns)]
        if self.mode == "variation":
            return [(0, i) for i in range(1, self.cells)]
        return [(i, (i + 1) % self.cells) for i in range(self.cells if self.mode == "loop" else self.cells - 1)]

    @property
    def captions(self) -> list[str]:
        """A few signs for each frame: where it is on the path."""
        if self.mode == "grid":
            across, down = paths.spread(self.columns), paths.spread(self.rows)
            return [f"{row:.3g} ↓ {column:.3g} →" for row in down for column in across]
        if self.mode == "loop":
            return [f"{k} of {self.frames}" for k in range(self.frames)]
        if self.mode == "variation":
            return ["original", *(f"towards {name_of(end, i + 1)}" for i, end in enumerate(self.ends[1:]))]
        sign = {"line": "λ", "arithmetic": "s", "truncation": "×"}[self.mode]
        return [f"{sign} {at:.3g}" for at in self.at]


def name_of(end: Source, i: int) -> str:
    """What an end is called: its seed, or the letter of its place."""
    return f"seed {end.seed}" if end.seed is not None else chr(ord("A") + i)


class Laid(NamedTuple):
    """The frames' x_T, told before the first step."""

    k: int
    ends: Tensor
    """(ends, C, H, W), on the CPU."""
    latents: Tensor
    """(frames, C, H, W), on the CPU."""
    is_finite: bool = True


class Cells(NamedTuple):
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


class Result(NamedTuple):
    """What is left of a run."""

    ends: Tensor
    latents: Tensor
    pictures: list[Tensor]
    """For each arm (frames, C, H, W), before any clamping to [-1, 1]."""


def collect(frames: Iterator[Any]) -> Result:
    """The result of a run's frames: `collect(engine.run(recipe))`."""
    laid, done = None, {}
    for frame in frames:
        if isinstance(frame, Laid):
            laid = frame
        elif isinstance(frame, Cells) and frame.is_last:
            done[frame.arm] = frame.x
    if laid is None:
        raise ValueError("the run has ended before it began")
    return Result(laid.ends, laid.latents, [done[arm] for arm in sorted(done)])


@dataclass(frozen=True)
class PathPlan(Plan):
    """The plan of a PathRecipe."""

    recipe: PathRecipe
    rows: tuple[Row, ...]
    """How each arm samples one frame, its noise left out."""

    @property
    def evaluations(self) -> int:
        return self.recipe.cells * sum(row.transitions for row in self.rows)

    @property
    def transitions(self) -> int:
        return max(row.transitions for row in self.rows)

    @property
    def nfe(self) -> tuple[int, ...]:
        return tuple(sorted({row.transitions for row in self.rows}))

    def evaluated(self, done: int) -> int:
        return self.recipe.cells * sum(min(done, row.transitions) for row in self.rows)

    def calls(self, max_rows: int) -> int:
        live = (self.recipe.cells * sum(row.transitions > k for row in self.rows) for k in range(self.transitions))
        return sum(math.ceil(rows / max_rows) for rows in live)

    def ends(self) -> Tensor:
        """The ends' x_T, (ends, C, H, W), in the recipe's dtype."""
        found = torch.cat([end.tensor(self.model.shape) for end in self.recipe.ends])
        return found.double() if self.recipe.precision == "fp64" else found

    def process(self, device: torch.device) -> Process:
        """Rows in the order arm by arm, frame by frame, each arm from the same x_T."""
        recipe = self.recipe
        keys = self.ends()
        latents = recipe.path(keys)(keys)
        yield Laid(-1, keys, latents)
        rows = []
        for row, arm in zip(self.rows, recipe.arms, strict=True):
            draws = step_noise(recipe, arm, keys, self.model.schedule) if row.eta else [None] * recipe.cells
            rows += [replace(row, draw=draw) for draw in draws]
        yield from sample(latents.repeat(len(self.rows), 1, 1, 1).to(device), rows)

    def frames(self, report: Any) -> Iterator[Any]:
        if isinstance(report, Laid):
            yield report
            return
        assert isinstance(report, Step)
        yield from cells_of(report, [row.transitions for row in self.rows], self.recipe.cells)


def cells_of(step: Step, lengths: Sequence[int], cells: int, before: int = 0) -> Iterator[Cells]:
    """The arms that a step moved, each of `cells` rows and its own length; `before` steps were something else's."""
    x, pred_x0 = step.x_next.cpu(), step.pred_x0.cpu()
    for at in range(0, len(step.rows), cells):
        arm, chosen = step.rows[at] // cells, slice(at, at + cells)
        yield Cells(arm, before + step.k, step.k, lengths[arm], x[chosen], pred_x0[chosen])


def step_noise(recipe: PathRecipe, arm: MovingArm, keys: Tensor, schedule: Schedule) -> list[Draw]:
    """Each frame's source of step noise."""
    shape: Shape = (keys.shape[1], keys.shape[2], keys.shape[3])

    def path(noise_seed: int) -> NoisePath:
        return NoisePath(schedule, shape, noise_seed, recipe.branch)

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


@plan.register
def _(recipe: PathRecipe, load: Load) -> PathPlan:
    model = load(recipe.model)
    for end in recipe.ends:
        end.tensor(model.shape)  # raises for one of another model's shape
        if end.png is not None:
            raise FieldError("ends", "must be seeds or latents")
    return PathPlan(recipe, (model,), tuple(arm_row(arm, model.schedule) for arm in recipe.arms))
