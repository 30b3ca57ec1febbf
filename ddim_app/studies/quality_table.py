"""How good the pictures of samplers are: the DDIM paper's Table 1 (arXiv:2010.02502) of a model, with errors.

Every cell is a set of pictures of one sampler at one number of steps, compared with as many reference pictures. The distances
are this project's own (see docs/quality.md), so they can be laid beside each other and not beside figures of other programs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ddim_app.diffusion.noise import Shape
from ddim_app.errors import FieldError, real
from ddim_app.media import folders
from ddim_app.media.folders import PictureFile, SourceError
from ddim_app.media.images import Pixels
from ddim_app.runs.base import MAX_ETA
from ddim_app.runs.methods import METHODS
from ddim_app.runs.sampling import Arm
from ddim_app.studies.picture_features import SMALLEST_SIDE, FeatureSpace, features
from ddim_app.studies.set_distances import DistanceEstimate, Shares, frechet_distance, kernel_distance, shares

SIGMA_HAT = "sigma-hat"
NAMED = (SIGMA_HAT, *(method for method in METHODS if method not in ("ddim", "ddpm")))
"""Rows that are no eta of DDIM's family."""
FEWEST = 500
"""Pictures of a set, under which a distance says little."""
VERSION = 1


@dataclass(frozen=True)
class SetFigures:
    """How far a set of pictures is from as many of the reference."""

    pictures: int
    kernel: DistanceEstimate
    frechet: DistanceEstimate
    shares: Shares

    def as_json(self) -> dict[str, Any]:
        return {"pictures": self.pictures, "kernel": list(self.kernel), "frechet": list(self.frechet), **self.shares._asdict()}


class Reference:
    """The pictures that sets are compared with, uint8 (N, H, W, C), in a space that `deciding` ones decide; see FeatureSpace."""

    def __init__(self, pixels: Pixels, deciding: Pixels) -> None:
        own = features(pixels)
        self._space = FeatureSpace.of(features(deciding), len(pixels) // 4)
        self._standardised, self._projected = self._space.standardised(own), self._space.projected(own)

    @classmethod
    def first(cls, pixels: Pixels, count: int) -> "Reference":
        """The first `count` pictures, in a space decided by those beyond the first 2 x count, or by all where there are too few."""
        rest = pixels[2 * count : 3 * count]
        return cls(pixels[:count], rest if len(rest) == count else pixels)

    def figures(self, pixels: Pixels) -> SetFigures:
        """The figures of a set of at most as many pictures, against the first as many of the reference."""
        own, count = features(pixels), len(pixels)
        standardised, projected = self._space.standardised(own), self._space.projected(own)
        return SetFigures(
            count,
            kernel_distance(self._standardised[:count], standardised),
            frechet_distance(self._projected[:count], projected),
            shares(self._projected[:count], projected),
        )


@dataclass(frozen=True)
class QualityCell:
    """A sampler at one number of steps."""

    row: str
    steps: int

    @property
    def name(self) -> str:
        """The cell's folder."""
        return f"{self.row if self.row in NAMED else f'eta-{self.row}'}-steps-{self.steps}"

    def arm(self, common: Arm) -> Arm:
        """The cell's sampler with the settings that all cells have in common."""
        if self.row == SIGMA_HAT:
            return replace(common, method="ddpm", variance="large", steps=self.steps)
        if self.row in NAMED:
            return replace(common, method=self.row, steps=self.steps)
        return replace(common, method="ddim", eta=float(self.row), steps=self.steps)


def row_label(row: str) -> str:
    """What a row is called in text and figure."""
    return METHODS[row].title if row in METHODS else row if row in NAMED else f"eta = {row}"


def parse_rows(text: str) -> list[str]:
    """Rows given as "0, 0.5, 1, sigma-hat": numbers are eta, and other samplers go by their names. Raises FieldError."""
    rows = []
    for word in text.replace(",", " ").split():
        try:
            rows.append(word if word in NAMED else f"{real('eta', float(word), 0, MAX_ETA):g}")
        except ValueError as error:
            if isinstance(error, FieldError):
                raise
            raise FieldError(
                "eta", f"must be numbers from 0 to {MAX_ETA:g}, or of {', '.join(NAMED)}; got {word[:60]!r}"
            ) from error
    if not rows:
        raise FieldError("eta", "must be numbers such as 0, 0.5, 1, sigma-hat; got nothing")
    return list(dict.fromkeys(rows))


def read_pictures(field: str, source: Path, shape: Shape, most: int) -> Pixels:
    """uint8 (N, H, W, C): at most `most` pictures of a source, taken from all over it and the same at every call.

    They must have the model's size, or be larger by a whole factor and are then averaged in blocks. Raises FieldError.
    """
    try:
        files = [file for file in folders.contents(source) if isinstance(file, PictureFile)]
        chosen = [files[i] for i in np.random.default_rng(0).permutation(len(files))[:most]]
        pictures = [_fitting(file, shape) for file in chosen]
    except (SourceError, ValueError) as error:
        raise FieldError(field, str(error) if str(error).startswith("must") else f"cannot be used: {error}") from error
    if not pictures:
        raise FieldError(field, f"must hold pictures; {source} holds none")
    pixels = np.stack(pictures)
    if shape[0] == 3 and (pixels == pixels[..., :1]).all():
        raise FieldError(field, f"must hold pictures in colour, as the model makes them; all of {source} are grey")
    return pixels


def _fitting(file: PictureFile, shape: Shape) -> np.ndarray:
    channels, height, width = shape
    try:
        (wide, high, *_), image = folders.opened(file.content)
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error
    if high % height or wide * height != high * width:
        raise ValueError(
            f"{file.name} has {wide} x {high} pixels and the model makes {width} x {height}: only whole multiples can be compared"
        )
    pixels = folders.fitted(image, height, width, 3)
    if channels == 1 and (pixels != pixels[..., :1]).any():
        raise ValueError(f"{file.name} has colours and the model makes grey pictures")
    return pixels[..., :channels]


def check_count(count: int, reference: Pixels, force: bool, shape: Shape) -> None:
    """Raises FieldError when cells of that many pictures say nothing, with how wide the errors would be."""
    if min(shape[1:]) < SMALLEST_SIDE:
        raise FieldError("model", f"must make pictures of {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels or more for a distance")
    if len(reference) < count:
        raise FieldError(
            "pictures", f"must be at most those of the reference, {len(reference)}, since sets of one size are compared"
        )
    fewest = 32 if force else FEWEST
    if count >= fewest:
        return
    if count < 32 or len(reference) < 2 * count:
        raise FieldError("pictures", f"must be {fewest} or more for a distance; got {count}")
    apart = Reference.first(reference, count).figures(reference[count : 2 * count])
    raise FieldError(
        "pictures", f"must be {FEWEST} or more for a distance; got {count}, with which two sets of training pictures are "
        f"{apart.kernel} (kernel) and {apart.frechet} (Frechet) apart: add --force to have it all the same",
    )  # fmt: skip


@dataclass(frozen=True)
class QualityTable:
    """The cells of one model."""

    model: str
    settings: dict[str, Any]
    reference: str
    pictures: int
    cells: dict[tuple[str, int], SetFigures]
    beside: dict[str, SetFigures]
    """What is no cell, by what it is: other training pictures (the floor), held-out ones."""

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.cells))

    @property
    def columns(self) -> list[int]:
        return sorted({steps for _, steps in self.cells})

    def lines(self) -> list[str]:
        """The table as text, one line a string, a block for each figure, in the paper's layout: a row an eta, a column an S."""
        text = [f"{self.model}: {self.pictures} pictures a cell against as many of {self.reference}"]
        blocks: dict[str, Callable[[SetFigures], str]] = {
            "kernel distance": lambda found: str(found.kernel),
            "Frechet distance": lambda found: f"{found.frechet.value:.2f} ± {found.frechet.error:.2f}",
            "precision, recall": lambda found: f"{found.shares.precision:.3f}, {found.shares.recall:.3f}",
        }
        wide = max(len(shown(found)) for shown in blocks.values() for found in self.cells.values()) + 3
        for title, shown in blocks.items():
            text += ["", f"{title:<20}" + "".join(f"{f'S = {steps}':>{wide}}" for steps in self.columns)]
            for row in self.rows:
                values = [self.cells.get((row, steps)) for steps in self.columns]
                text.append(f"{row_label(row):<20}" + "".join(f"{shown(value) if value else '':>{wide}}" for value in values))
            text += [f"  {name} ({found.pictures}): {shown(found)}" for name, found in self.beside.items()]
        return text

    def as_json(self) -> dict[str, Any]:
        return {
            "version": VERSION, "model": self.model, "settings": self.settings, "reference": self.reference,
            "pictures": self.pictures, "beside": {name: found.as_json() for name, found in self.beside.items()},
            "cells": [{"row": row, "steps": steps, **found.as_json()} for (row, steps), found in self.cells.items()],
        }  # fmt: skip


def beside(reference: Pixels, count: int, held_out: Pixels | None) -> tuple[Reference, dict[str, SetFigures]]:
    """The reference of the cells, and the figures of what lies beside them: other reference pictures, and held-out ones with an
    equally small sample of others."""
    first, others = Reference.first(reference, count), reference[count : 2 * count]
    lines = {"other pictures of the reference": others[:count]} if len(others) >= count else {}
    if held_out is not None:
        held_out = held_out[:count]
        lines["held-out pictures"] = held_out
        if len(held_out) < count and len(others) >= len(held_out):
            lines["as many others of the reference"] = others[: len(held_out)]
    return first, {name: first.figures(pixels) for name, pixels in lines.items()}


def cells(rows: Sequence[str], steps: Sequence[int]) -> list[QualityCell]:
    """All cells, those of few steps first, so that a table grows from its cheap side."""
    return [QualityCell(row, count) for count in sorted(set(steps)) for row in rows]
