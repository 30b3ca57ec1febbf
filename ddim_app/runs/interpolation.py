"""Runs that move through the latents of one model: lines, grids, loops, sums, variations and scales, each frame a row of one batch.

DDIM(0) is a map from x_T to a picture, so a way between two x_T is a way between two pictures (arXiv:2010.02502, section 5.3,
Figs 6 and 11-13). DDPM's picture depends on every step's noise as well. With fresh noise per frame, which is how it is sampled,
neighbouring frames have little in common; with one noise for all frames only x_T moves; with the noise moved along the same way
as x_T the whole latent (x_T and all z_t) does, and DDPM interpolates too, both ends being the pictures of their own seeds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from ddim_app.diffusion import latent_paths
from ddim_app.diffusion.latent_paths import Path
from ddim_app.diffusion.noise import MAX_SEED
from ddim_app.errors import FieldError, choice, real, whole
from ddim_app.lazy import Tensor
from ddim_app.runs.base import BaseRecipe, put
from ddim_app.runs.sampling import Arm
from ddim_app.runs.sources import Source

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
"""The range of `start` and `stop` in each mode; beyond 0 and 1 a line is extrapolated."""


@dataclass(frozen=True, kw_only=True)
class MovingArm(Arm):
    """A sampler of all frames. `noise` says what its step noise does from frame to frame: see NOISES."""

    noise: str = "slerp"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("noise", self.noise, NOISES)
        for name in ("model", "seed", "noise_seed", "branch", "class_label", "weights", "start_arm"):
            if getattr(self, name) is not None:
                raise FieldError(name, "is the recipe's for all arms of a path; an arm has none of its own")

    @property
    def label(self) -> str:
        return f"{super().label}, {NOISE_WORDS[self.noise]}" if self.sampler.adds_noise(self.eta, self.variance) else super().label


@dataclass(frozen=True, kw_only=True)
class PathRecipe(BaseRecipe):
    """Pictures along a path between latents, each frame sampled by every arm.

    The ends are seeds, latents as floats, or pictures, which the run inverts first, by the fixed-point method on the first arm's
    steps; then all arms have these steps and no clipping, under which alone the picture comes back.

    `line`: from the first to the second. `grid`: corners top left, top right, bottom left, bottom right. `loop`: through all keys
    and back. `arithmetic`: a + s (b - c). `variation`: the first, then it moved by `strength` towards each other. `truncation`:
    one latent times s. lambda or s go from `start` to `stop` in `frames` places. `way` is slerp, lerp, or restored (lerp with the
    norm put right); a loop is always slerp.

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
        choice("way", self.way, tuple(latent_paths.WAYS))
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
        if self.pictures and self.precision == "fast":
            raise FieldError("precision", "must be fp32 or fp64 where an end is a picture, which bf16 cannot invert")

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        arms = tuple(MovingArm(**arm) for arm in values["arms"])
        return cls(**{**values, "arms": arms, "ends": tuple(Source.from_values(end) for end in values["ends"])})

    @property
    def pictures(self) -> list[int]:
        """Which ends are pictures, and have to be inverted."""
        return [i for i, end in enumerate(self.ends) if end.png is not None]

    @property
    def cells(self) -> int:
        """Frames of each arm."""
        return {"grid": self.rows * self.columns, "variation": len(self.ends)}.get(self.mode, self.frames)

    @property
    def at(self) -> list[float]:
        """lambda or s of each frame of a line, a sum or a scale."""
        return latent_paths.spread(self.frames, self.start, self.stop)

    def path(self, keys: Tensor) -> Path:
        """How the frames' x_T come of the ends', which are needed for the speed of a loop."""
        if self.mode == "loop":
            return latent_paths.loop(keys, self.frames)
        if self.mode == "grid":
            return latent_paths.grid(latent_paths.spread(self.rows), latent_paths.spread(self.columns), self.way)
        if self.mode == "variation":
            return latent_paths.variations(self.strength, self.way)
        return {
            "line": lambda: latent_paths.line(self.at, self.way),
            "arithmetic": lambda: latent_paths.arithmetic(self.at, self.way),
            "truncation": lambda: latent_paths.scales(self.at),
        }[self.mode]()

    def noise_path(self, keys: Tensor) -> Path:
        """How the frames' step noise comes of the ends': as x_T does, but always at the norm of noise."""
        if self.mode == "truncation":
            return latent_paths.scales([1.0] * self.frames)
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

    def coarser(self) -> Self | None:
        """The same path with fewer of its frames, at most a third and as many as there are; None where no others fit."""
        if self.mode in ("grid", "variation"):
            return None
        least, last = (3, 0) if self.mode == "loop" else (2, 1)
        fit = [count for count in range(least, self.frames // 3 + 1) if (self.frames - last) % (count - last) == 0]
        return replace(self, frames=fit[-1]) if fit else None

    @property
    def captions(self) -> list[str]:
        """A few signs for each frame: where it is on the path."""
        if self.mode == "grid":
            across, down = latent_paths.spread(self.columns), latent_paths.spread(self.rows)
            return [f"{row:.3g} ↓ {column:.3g} →" for row in down for column in across]
        if self.mode == "loop":
            return [f"{k} of {self.frames}" for k in range(self.frames)]
        if self.mode == "variation":
            return ["original", *(f"towards {name_of(end, i + 1)}" for i, end in enumerate(self.ends[1:]))]
        sign = {"line": "λ", "arithmetic": "s", "truncation": "×"}[self.mode]
        return [f"{sign} {place:.3g}" for place in self.at]


def name_of(end: Source, i: int) -> str:
    """What an end is called: its seed, or what it is with the letter of its place."""
    if end.seed is not None:
        return f"seed {end.seed}"
    return f"{'latent' if end.png is None else 'picture'} {chr(ord('A') + i)}"
