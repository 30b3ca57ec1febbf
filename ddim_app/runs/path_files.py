"""What a finished path or mix is handed out as: a sheet with headers, a film, a latent file."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from ddim_app.diffusion.latent_paths import norms, spread
from ddim_app.diffusion.metrics import Smoothness, rmse, smoothness
from ddim_app.media import animation
from ddim_app.media.images import Pixels, enlargement, to_pil, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.interpolation_plan import FramesStep, PathPlan, PathStart
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.mixing import MixPlan, MixRecipe, MixStart

FILMS = ("gif", "webp", "mp4")
KINDS = ("sheet", *FILMS, "latents")
SUFFIXES = {"sheet": ".png", "gif": ".gif", "webp": ".webp", "mp4": ".mp4", "latents": latent_files.SUFFIX}
MILLISECONDS = 120
"""Of a film's frame."""


class FrameRow(NamedTuple):
    """A row of frames: one arm of a path, or one level of a mix."""

    label: str
    note: str


@dataclass(frozen=True)
class FrameLayout:
    """Where the frames of a run stand in a table, and in which order a film shows them."""

    strips: tuple[FrameRow, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    """(row, column) of each frame of the first strip; the others stand below it, `height` rows each."""
    order: tuple[int, ...]
    closed: bool = False
    """Whether the film's last frame comes right before its first; else it is played there and back."""

    @property
    def height(self) -> int:
        return len(self.rows) // len(self.strips)

    @property
    def film(self) -> list[int]:
        """The frames of an endless film."""
        return list(self.order) if self.closed else [*self.order, *self.order[-2:0:-1]]


def layout(plan: PathPlan | MixPlan) -> FrameLayout:
    """The table of a plan's frames."""
    if isinstance(plan, MixPlan):
        return _mix_layout(plan)
    recipe = plan.recipe
    strips = tuple(
        FrameRow(arm.label, _steps(row.transitions)) for arm, row in zip(recipe.arms, plan.rows, strict=True)
    )  # fmt: skip
    everything = range(recipe.cells)
    if recipe.mode == "grid":
        down, across = ([f"{at:.3g}" for at in spread(count)] for count in (recipe.rows, recipe.columns))
        rows = [f"{strip.label} · {at}" if len(strips) > 1 else at for strip in strips for at in down]
        places = tuple(divmod(i, recipe.columns) for i in everything)
        snake = sorted(everything, key=lambda i: (places[i][0], places[i][1] if places[i][0] % 2 == 0 else -places[i][1]))
        return FrameLayout(strips, tuple(rows), tuple(across), places, tuple(snake))
    rows = [strip.label for strip in strips]
    return FrameLayout(
        strips, tuple(rows), tuple(recipe.captions), tuple((0, i) for i in everything), tuple(everything), recipe.mode == "loop"
    )


def _mix_layout(plan: MixPlan) -> FrameLayout:
    recipe = plan.recipe
    strips = tuple(
        FrameRow(f"t = {level}", _steps(row.transitions) if level else "mix of the pixels")
        for level, row in zip(recipe.levels, plan.rows, strict=True)
    )
    everything = range(recipe.frames)
    columns = [f"λ {at:.3g}" + (", rec." if at in (0, 1) else "") for at in recipe.at]
    rows = tuple(f"{strip.label}, {strip.note}" for strip in strips)
    return FrameLayout(strips, rows, tuple(columns), tuple((0, i) for i in everything), tuple(everything))


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


class CollectedFrames:
    """What a run's frames have brought so far."""

    def __init__(self, plan: PathPlan | MixPlan) -> None:
        self.plan = plan
        self.ends: Tensor | None = None
        """x_T of a path's ends; the two pictures of a mix."""
        self.latents: Tensor | None = None
        """x_T of a path's frames."""
        self.levels: list[list[float]] = []
        """Norms of x_t along each level of a mix."""
        self.finals: dict[int, Tensor] = {}
        self.newest: dict[int, FramesStep] = {}

    def add(self, frame: object) -> None:
        """Takes one of the run's frames."""
        if isinstance(frame, PathStart):
            self.ends, self.latents = frame.ends, frame.latents
        elif isinstance(frame, MixStart):
            self.ends, self.levels = frame.ends, frame.norms
            self.finals |= {i: frame.pixels for i, row in enumerate(self.plan.rows) if row.transitions == 0}
        elif isinstance(frame, FramesStep):
            self.newest[frame.arm] = frame
            if frame.is_last:
                self.finals[frame.arm] = frame.x

    @property
    def is_complete(self) -> bool:
        return self.ends is not None and len(self.finals) == len(self.plan.rows)

    def pictures(self) -> list[Tensor]:
        """The finished pictures of each strip, (frames, C, H, W)."""
        return [self.finals[i] for i in sorted(self.finals)]

    def neighbours(self) -> list[tuple[int, int]]:
        recipe = self.plan.recipe
        return recipe.neighbours if isinstance(recipe, PathRecipe) else [(i, i + 1) for i in range(recipe.frames - 1)]

    def smoothness(self) -> list[Smoothness]:
        """Of each finished strip."""
        return [smoothness(pictures, self.neighbours()) for pictures in self.pictures()]

    def norms(self) -> list[float]:
        """Of the frames' x_T."""
        found: list[float] = [] if self.latents is None else norms(self.latents).tolist()
        return found

    def reconstructions(self) -> list[tuple[float, float]]:
        """RMSE in levels of each strip's lambda = 0 and 1 to the two pictures: the Rec. columns of the DDPM paper's Fig. 9."""
        if self.ends is None or not isinstance(self.plan, MixPlan):
            return []
        ends = self.ends
        return [(float(rmse(x[:1], ends[:1])), float(rmse(x[-1:], ends[1:]))) for x in self.pictures()]


def file_of(kind: str, recipe: PathRecipe | MixRecipe, gathered: CollectedFrames) -> bytes:
    """The bytes of one of KINDS, with the recipe inside; raises AnimationError, or ValueError where there is no such file."""
    text = recipe.to_json()
    where, strips = layout(gathered.plan), [to_pixels(pictures) for pictures in gathered.pictures()]
    height, width = strips[0].shape[1:3]
    if kind == "sheet":
        return animation.sheet_bytes(sheet(where, strips, gathered), text)
    if kind == "latents":
        return latents_of(recipe, gathered)
    frames = film_frames(where, strips)
    scale = max(1, enlargement(height, width, 128))
    make = {"gif": animation.gif_bytes, "webp": animation.webp_bytes, "mp4": animation.mp4_bytes}[kind]
    return make(frames, MILLISECONDS, scale=scale, recipe=text)


def file_name(kind: str, recipe: PathRecipe | MixRecipe) -> str:
    return f"{recipe.mode if isinstance(recipe, PathRecipe) else 'mix'}{SUFFIXES[kind]}"


def film_frames(where: FrameLayout, strips: list[Pixels]) -> list[Image.Image]:
    """The film's pictures: every strip's frame side by side, near a square."""
    gap = 2 if len(strips) > 1 else 0
    columns = math.ceil(math.sqrt(len(strips)))
    height, width, channels = strips[0].shape[1:]
    rows = math.ceil(len(strips) / columns)
    shown = []
    for i in where.film:
        canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
        for number, strip in enumerate(strips):
            top, left = number // columns * (height + gap), number % columns * (width + gap)
            canvas[top : top + height, left : left + width] = strip[i]
        shown.append(to_pil(canvas))
    return shown


def sheet(where: FrameLayout, strips: list[Pixels], gathered: CollectedFrames) -> Image.Image:
    """The table with its headers; of a mix also the two pictures that it is between."""
    table: list[list[Image.Image | None]] = [[None] * len(where.columns) for _ in where.rows]
    for number, strip in enumerate(strips):
        for picture, (row, column) in zip(strip, where.places, strict=True):
            table[number * where.height + row][column] = to_pil(picture)
    columns = list(where.columns)
    if isinstance(gathered.plan, MixPlan) and gathered.ends is not None:
        first, last = (to_pil(pixels) for pixels in to_pixels(gathered.ends))
        table = [[first, *line, last] for line in table]
        columns = ["source", *columns, "source"]
    return animation.labelled_sheet(table, list(where.rows), columns, scale=enlargement(strips[0].shape[1], strips[0].shape[2], 64))


def latents_of(recipe: PathRecipe | MixRecipe, gathered: CollectedFrames) -> bytes:
    """The frames' x_T as a latent file, or the ends' where the frames are more than a file holds; raises ValueError for a mix."""
    plan = gathered.plan
    if not isinstance(plan, PathPlan) or gathered.latents is None or gathered.ends is None:
        raise ValueError("DDPM's mixes start from noised pictures, not from latents, so there is no latent file")
    x = gathered.latents if len(gathered.latents) <= latent_files.MAX_LATENTS else gathered.ends
    row = plan.rows[0]
    return latent_files.save(
        Latent(
            x=x.contiguous(), model=recipe.model, weights=plan.model.sha256, eta=row.eta, recipe=recipe,
            timesteps=tuple(level.t for level in row.levels[:-1]),
        )
    )  # fmt: skip


def report(gathered: CollectedFrames) -> list[str]:
    """What there is to say of a finished run, in lines: how smooth each strip is, and its norms or reconstructions."""
    strips = layout(gathered.plan).strips
    width = max(len(strip.label) for strip in strips)
    lines = []
    if gathered.latents is not None:
        found = gathered.norms()
        lines.append(f"norm of x_T over sqrt(D): {min(found):.3f} to {max(found):.3f}")
    rec = gathered.reconstructions()
    for i, (strip, smooth) in enumerate(zip(strips, gathered.smoothness(), strict=True)):
        ssim = sum(smooth.ssim) / len(smooth.ssim)
        told = f"neighbours {smooth.mean:.1f} apart in the mean, {smooth.largest:.1f} at most, of 255 (RMSE); SSIM {ssim:.3f}"
        if rec:
            told += f"; ends back within {rec[i][0]:.1f} and {rec[i][1]:.1f}"
        lines.append(f"{strip.label:{width}}  {told}")
    return lines
