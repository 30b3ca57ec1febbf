"""The files of a finished path or mix: a sheet with headers, a film, a latent file."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image

from ddim_app.diffusion.latent_paths import spread
from ddim_app.media import animation
from ddim_app.media.images import Pixels, enlargement, to_pil, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.base import with_link
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.interpolation_plan import PathPlan
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.mixing import MixPlan, MixRecipe
from ddim_app.runs.path_frames import CollectedFrames

FILMS = ("gif", "webp", "mp4")
KINDS = ("sheet", *FILMS, "latents")
SUFFIXES = {"sheet": ".png", "gif": ".gif", "webp": ".webp", "mp4": ".mp4", "latents": latent_files.SUFFIX}
MILLISECONDS = 120
"""Milliseconds that a frame of a film is shown."""
FILM_WIDTH, MAX_NAMED = 512, 4
"""Pixels that a film has across at least; and rows of frames that stand side by side under their names."""


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


def file_of(kind: str, recipe: PathRecipe | MixRecipe, collected: CollectedFrames, link: str = "") -> bytes:
    """The bytes of one of KINDS, with the recipe inside, of films and sheets also a `link` that opens it.

    Raises AnimationError, or ValueError where there is no such file.
    """
    text = with_link(recipe.to_json(), link)
    where, frame_rows = layout(collected.plan), [to_pixels(pictures) for pictures in collected.pictures]
    if kind == "sheet":
        return animation.sheet_bytes(sheet(where, frame_rows, collected), text)
    if kind == "latents":
        return latents_of(recipe, collected)
    make = {"gif": animation.gif_bytes, "webp": animation.webp_bytes, "mp4": animation.mp4_bytes}[kind]
    return make(film_frames(collected.plan, where, frame_rows), MILLISECONDS, recipe=text)


def file_name(kind: str, recipe: PathRecipe | MixRecipe) -> str:
    return f"{recipe.mode if isinstance(recipe, PathRecipe) else 'mix'}{SUFFIXES[kind]}"


def film_frames(plan: PathPlan | MixPlan, where: FrameLayout, frame_rows: list[Pixels]) -> list[Image.Image]:
    """The film's pictures, FILM_WIDTH or more within their margin: every row's frame, its name, and where on the way it is."""
    rows, captions = where.frame_rows, getattr(plan.recipe, "captions", where.columns)
    across = len(rows) if len(rows) <= MAX_NAMED else math.ceil(math.sqrt(len(rows)))
    names = [row.label for row in rows] if 1 < len(rows) <= MAX_NAMED else [""] * across
    about = f"{plan.recipe.model} · {rows[0].label}, {rows[0].note}" if len(rows) == 1 else plan.recipe.model
    scale = math.ceil(FILM_WIDTH / (across * frame_rows[0].shape[2]))
    drawn = []
    for i, caption in enumerate(captions):
        pictures: list[Image.Image | None] = [to_pil(frame_row[i]) for frame_row in frame_rows]
        pictures += [None] * (-len(pictures) % across)
        cells = [pictures[at : at + across] for at in range(0, len(pictures), across)]
        drawn.append(animation.labelled_sheet(cells, [""] * len(cells), names, scale=scale, title=f"{about} · {caption}"))
    drawn = animation.of_one_size(drawn)
    return [drawn[i] for i in where.film]


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
