"""The bound of a folder of pictures as a table: what every part of it costs, and how much more another folder costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.media.images import FORMATS, open_picture
from ddim_app.runs.likelihood import Bound, LikelihoodRecipe, with_picture
from ddim_app.runs.sources import of_image

BANDS = ((1, 10), (11, 50), (51, 200), (201, None))
"""Timesteps whose terms the table sums up together."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class MeasuredFolder:
    """The measured pictures of one folder."""

    name: str
    pictures: dict[str, Bound]
    refused: dict[str, str]
    """Files that could not be used, and why."""

    def parts(self, variance: str) -> dict[str, np.ndarray]:
        """One value per picture for every line of the table, in bits per dimension but for the RMSE."""
        lines: dict[str, Callable[[Bound], float]] = {
            "L_T": lambda bound: bound.prior,
            **{f"L_t, t = {low} to {high or 'T - 1'}": partial(band, variance, low, high) for low, high in BANDS},
            "rate": lambda bound: bound.rate(variance),
            "distortion, L_0": lambda bound: bound.distortion(),
            "RMSE of 255": lambda bound: bound.rmse,
            "bits/dim": lambda bound: bound.total(variance)[0],
            "bits/dim, L_0 by beta_1": lambda bound: bound.total(variance, "beta")[0],
        }
        return {name: np.array([value(bound) for bound in self.pictures.values()]) for name, value in lines.items()}

    def errors(self, variance: str) -> list[float]:
        """Standard error of each picture's bound, which comes from not evaluating everything."""
        return [bound.total(variance)[1] for bound in self.pictures.values()]


def band(variance: str, low: int, high: int | None, bound: Bound) -> float:
    """The terms of timesteps low..high, estimated from those evaluated; the whole is without bias, a band nearly so."""
    terms = zip(bound.design, bound.terms(variance), strict=True)
    return float(sum(e.weight * term for e, term in terms if low <= e.t <= (high or e.t)))


def measure(engine: Engine, folder: Path, recipe: LikelihoodRecipe, limit: int | None, tell: Tell) -> MeasuredFolder:
    """Measures the pictures of a folder and its subfolders, one run each with the settings of `recipe`."""
    if not folder.is_dir():
        raise FieldError("images", f"must be a folder; there is none called {folder}")
    measured = MeasuredFolder(folder.name, {}, {})
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        if len(measured.pictures) == limit:
            break
        try:
            image = open_picture(path)
        except ValueError as reason:
            measured.refused[path.name] = str(reason)
            continue
        source = of_image(image, engine.model(recipe.model).shape)
        bound: Bound = engine.run(with_picture(recipe, source)).result[0]
        measured.pictures[str(path.relative_to(folder))] = bound
        bits, error = bound.total()
        tell(f"{folder.name}/{path.relative_to(folder)}: {bits:.3f} ± {error:.3f} bits/dim")
    if not measured.pictures:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(measured.refused.items())[:3])
        raise FieldError("images", f"must hold pictures in one of the formats {', '.join(FORMATS)}; {folder} has none ({reasons})")
    return measured


def lines(folders: Sequence[MeasuredFolder], variances: Sequence[str]) -> list[str]:
    """The table, one line a string: means over the pictures, with the standard error over them; with two folders the gap."""
    heads = [f"{folder.name} ({len(folder.pictures)})" for folder in folders] + ["gap"] * (len(folders) == 2)
    text = [f"{'':34}" + "".join(f"{head[:22]:>24}" for head in heads)]
    for variance in variances:
        text.append(f"variance {variance}")
        parts = [folder.parts(variance) for folder in folders]
        for name in parts[0]:
            columns = [_mean(part[name]) for part in parts]
            if len(folders) == 2:
                (a, of_a), (b, of_b) = columns
                columns.append((b - a, math.hypot(of_a, of_b)))
            digits = 6 if name == "L_T" else 3
            text.append(f"  {name:32}" + "".join(f"{f'{mean:.{digits}f} ± {se:.{digits}f}':>24}" for mean, se in columns))
        # The error of the mean that comes from it, the pictures taken as they are.
        errors = [math.hypot(*folder.errors(variance)) / len(folder.pictures) for folder in folders]
        text.append(f"  {'of it by estimating':32}" + "".join(f"{f'± {error:.3f}':>24}" for error in errors))
    return text


def as_json(folders: Sequence[MeasuredFolder], variances: Sequence[str], recipe: LikelihoodRecipe) -> dict[str, Any]:
    """The table as JSON, with every picture's numbers."""
    settings = {name: getattr(recipe, name) for name in ("model", "mode", "evaluations", "draws", "seed", "clip", "precision")}
    tables = [{variance: _figures(folder, variance) for variance in variances} for folder in folders]
    told = [{"name": each.name, "refused": each.refused, "variances": table} for each, table in zip(folders, tables, strict=True)]
    return {"settings": settings, "folders": told}


def _figures(folder: MeasuredFolder, variance: str) -> dict[str, Any]:
    columns = folder.parts(variance)
    rows = {name: values.tolist() for name, values in columns.items()} | {"standard_error": folder.errors(variance)}
    return {
        "parts": {name: dict(zip(("mean", "standard_error"), _mean(values), strict=True)) for name, values in columns.items()},
        "pictures": {name: {key: values[i] for key, values in rows.items()} for i, name in enumerate(folder.pictures)},
    }


def _mean(values: np.ndarray) -> tuple[float, float]:
    """(mean, its standard error over the pictures); the error of a single one is 0."""
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
