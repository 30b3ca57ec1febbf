"""The files of a finished path or mix: a sheet with headers, a film, a latent file."""

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
"""Milliseconds that a frame of a film is shown."""


class FrameRow(NamedTuple):
    """A row of frames: one arm of a path, or one level of a mix."""

    label: str
    note: str


@dataclass(frozen=True)
class FrameLayout:
    """The place of each frame of a run in a table, and the order in which a film shows the frames."""

    frame_rows: tuple[FrameRow, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    """(row, column) of each frame of the first row of frames; the others stand below it, `height` rows each."""
    order: tuple[int, ...]
    closed: bool = False
    """Whether the film's last frame comes right before its first; else it is played there and back."""

    @property
    def height(self) -> int:
        return len(self.rows) // len(self.frame_rows)

    @property
    def film(self) -> list[int]:
        """The frames of an endless film."""
        return list(self.order) if self.closed else [*self.order, *self.order[-2:0:-1]]


def layout(plan: PathPlan | MixPlan) -> FrameLayout:
    """The table of a plan's frames."""
    if isinstance(plan, MixPlan):
        return _mix_layout(plan)
    recipe = plan.recipe
    frame_rows = tuple(
        FrameRow(arm.label, _steps(row.transitions)) for arm, row in zip(recipe.arms, plan.rows, strict=True)
    )  # fmt: skip
    everything = range(recipe.cells)
    if recipe.mode == "grid":
        down, across = ([f"{place:.3g}" for place in spread(count)] for count in (recipe.rows, recipe.columns))
        rows = [f"{frame_row.label} · {place}" if len(frame_rows) > 1 else place for frame_row in frame_rows for place in down]
        places = tuple(divmod(i, recipe.columns) for i in everything)
        snake = sorted(everything, key=lambda i: (places[i][0], places[i][1] if places[i][0] % 2 == 0 else -places[i][1]))
        return FrameLayout(frame_rows, tuple(rows), tuple(across), places, tuple(snake))
    rows = [frame_row.label for frame_row in frame_rows]
    return FrameLayout(
        frame_rows, tuple(rows), tuple(recipe.captions), tuple((0, i) for i in everything), tuple(everything), recipe.mode == "loop"
    )


def _mix_layout(plan: MixPlan) -> FrameLayout:
    recipe = plan.recipe
    frame_rows = tuple(
        FrameRow(f"t = {level}", _steps(row.transitions) if level else "mix of the pixels")
        for level, row in zip(recipe.levels, plan.rows, strict=True)
    )
    everything = range(recipe.frames)
    columns = [f"λ {place:.3g}" + (", rec." if place in (0, 1) else "") for place in recipe.at]
    rows = tuple(f"{frame_row.label}, {frame_row.note}" for frame_row in frame_rows)
    return FrameLayout(frame_rows, rows, tuple(columns), tuple((0, i) for i in everything), tuple(everything))


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


class CollectedFrames:
    """The tensors that a run has reported so far."""

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
        """The finished pictures of each row of frames, (frames, C, H, W)."""
        return [self.finals[i] for i in sorted(self.finals)]

    def neighbours(self) -> list[tuple[int, int]]:
        recipe = self.plan.recipe
        return recipe.neighbours if isinstance(recipe, PathRecipe) else [(i, i + 1) for i in range(recipe.frames - 1)]

    def smoothness(self) -> list[Smoothness]:
        """The smoothness of each finished row of frames."""
        return [smoothness(pictures, self.neighbours()) for pictures in self.pictures()]

    def norms(self) -> list[float]:
        """The norm of each frame's x_T over sqrt(D)."""
        values: list[float] = [] if self.latents is None else norms(self.latents).tolist()
        return values

    def reconstructions(self) -> list[tuple[float, float]]:
        """RMSE in levels of each row's frames at lambda 0 and 1 to the two pictures: the Rec. columns of DDPM's Fig. 9."""
        if self.ends is None or not isinstance(self.plan, MixPlan):
            return []
        ends = self.ends
        return [(float(rmse(x[:1], ends[:1])), float(rmse(x[-1:], ends[1:]))) for x in self.pictures()]


def file_of(kind: str, recipe: PathRecipe | MixRecipe, collected: CollectedFrames) -> bytes:
    """The bytes of one of KINDS, with the recipe inside; raises AnimationError, or ValueError where there is no such file."""
    text = recipe.to_json()
    where, frame_rows = layout(collected.plan), [to_pixels(pictures) for pictures in collected.pictures()]
    height, width = frame_rows[0].shape[1:3]
    if kind == "sheet":
        return animation.sheet_bytes(sheet(where, frame_rows, collected), text)
    if kind == "latents":
        return latents_of(recipe, collected)
    frames = film_frames(where, frame_rows)
    scale = max(1, enlargement(height, width, 128))
    make = {"gif": animation.gif_bytes, "webp": animation.webp_bytes, "mp4": animation.mp4_bytes}[kind]
    return make(frames, MILLISECONDS, scale=scale, recipe=text)


def file_name(kind: str, recipe: PathRecipe | MixRecipe) -> str:
    return f"{recipe.mode if isinstance(recipe, PathRecipe) else 'mix'}{SUFFIXES[kind]}"


def film_frames(where: FrameLayout, frame_rows: list[Pixels]) -> list[Image.Image]:
    """The film's pictures: every row's frame side by side, near a square."""
    gap = 2 if len(frame_rows) > 1 else 0
    columns = math.ceil(math.sqrt(len(frame_rows)))
    height, width, channels = frame_rows[0].shape[1:]
    rows = math.ceil(len(frame_rows) / columns)
    shown = []
    for i in where.film:
        canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
        for number, frame_row in enumerate(frame_rows):
            top, left = number // columns * (height + gap), number % columns * (width + gap)
            canvas[top : top + height, left : left + width] = frame_row[i]
        shown.append(to_pil(canvas))
    return shown


def sheet(where: FrameLayout, frame_rows: list[Pixels], collected: CollectedFrames) -> Image.Image:
    """The table with its headers; of a mix also the two pictures that it is between."""
    table: list[list[Image.Image | None]] = [[None] * len(where.columns) for _ in where.rows]
    for number, frame_row in enumerate(frame_rows):
        for picture, (row, column) in zip(frame_row, where.places, strict=True):
            table[number * where.height + row][column] = to_pil(picture)
    columns = list(where.columns)
    if isinstance(collected.plan, MixPlan) and collected.ends is not None:
        first, last = (to_pil(pixels) for pixels in to_pixels(collected.ends))
        table = [[first, *line, last] for line in table]
        columns = ["source", *columns, "source"]
    return animation.labelled_sheet(
        table, list(where.rows), columns, scale=enlargement(frame_rows[0].shape[1], frame_rows[0].shape[2], 64)
    )


def latents_of(recipe: PathRecipe | MixRecipe, collected: CollectedFrames) -> bytes:
    """The frames' x_T as a latent file, or the ends' where the frames are more than a file holds; raises ValueError for a mix."""
    plan = collected.plan
    if not isinstance(plan, PathPlan) or collected.latents is None or collected.ends is None:
        raise ValueError("DDPM's mixes start from noised pictures, not from latents, so there is no latent file")
    x = collected.latents if len(collected.latents) <= latent_files.MAX_LATENTS else collected.ends
    row = plan.rows[0]
    return latent_files.save(
        Latent(
            x=x.contiguous(), model=recipe.model, weights=plan.model.sha256, eta=row.eta, recipe=recipe,
            timesteps=tuple(level.t for level in row.levels[:-1]),
        )
    )  # fmt: skip


def report(collected: CollectedFrames) -> list[str]:
    """What there is to say of a finished run, in lines: how smooth each row of frames is, and its norms or reconstructions."""
    frame_rows = layout(collected.plan).frame_rows
    width = max(len(frame_row.label) for frame_row in frame_rows)
    lines = []
    if collected.latents is not None:
        norms = collected.norms()
        lines.append(f"norm of x_T over sqrt(D): {min(norms):.3f} to {max(norms):.3f}")
    rec = collected.reconstructions()
    for i, (frame_row, smooth) in enumerate(zip(frame_rows, collected.smoothness(), strict=True)):
        ssim = sum(smooth.ssim) / len(smooth.ssim)
        told = f"neighbours {smooth.mean:.1f} apart in the mean, {smooth.largest:.1f} at most, of 255 (RMSE); SSIM {ssim:.3f}"
        if rec:
            told += f"; ends back within {rec[i][0]:.1f} and {rec[i][1]:.1f}"
        lines.append(f"{frame_row.label:{width}}  {told}")
    return lines
