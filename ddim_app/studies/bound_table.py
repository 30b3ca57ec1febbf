"""The bound of a folder of pictures as a table: what every part of it costs, and how much more another folder costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.media.images import FORMATS, open_picture
from ddim_app.runs.likelihood import Bound, LikelihoodRecipe, TermCollector, with_picture
from ddim_app.runs.sources import of_image

BANDS = ((1, 10), (11, 50), (51, 200), (201, None))
"""Timesteps whose terms the table sums up together."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class MeasuredFolder:
    """The measured pictures of one folder."""

    name: str
    pictures: tuple[str, ...]
    bounds: tuple[Bound, ...]
    refused: dict[str, str]
    """Files that could not be used, and why."""

    def parts(self, variance: str) -> dict[str, np.ndarray]:
        """One value per picture for every line of the table, in bits per dimension but for the RMSE."""
        lines: dict[str, list[float]] = {"L_T": [bound.prior for bound in self.bounds]}
        for low, high in BANDS:
            name = f"L_t, t = {low} to {high or 'T - 1'}"
            lines[name] = [band(bound, variance, low, high) for bound in self.bounds]
        lines["rate"] = [bound.rate(variance) for bound in self.bounds]
        lines["distortion, L_0"] = [bound.distortion() for bound in self.bounds]
        lines["RMSE of 255"] = [bound.rmse for bound in self.bounds]
        lines["bits/dim"] = [bound.total(variance)[0] for bound in self.bounds]
        lines["bits/dim, L_0 by beta_1"] = [bound.total(variance, "beta")[0] for bound in self.bounds]
        return {name: np.array(values) for name, values in lines.items()}

    def error(self, variance: str) -> float:
        """Standard error of the mean bound that comes from not evaluating everything, the pictures taken as they are."""
        return math.sqrt(sum(bound.total(variance)[1] ** 2 for bound in self.bounds)) / len(self.bounds)


def band(bound: Bound, variance: str, low: int, high: int | None) -> float:
    """The terms of timesteps low..high, estimated from those evaluated; the whole is without bias, a band nearly so."""
    chosen = (low <= e.t and (high is None or e.t <= high) for e in bound.design)
    terms = zip(bound.design, bound.terms(variance), chosen, strict=True)
    return float(sum(evaluation.weight * term for evaluation, term, there in terms if there))


def measure(engine: Engine, folder: Path, recipe: LikelihoodRecipe, limit: int | None, tell: Tell) -> MeasuredFolder:
    """Measures the pictures of a folder and its subfolders, one run each with the settings of `recipe`."""
    if not folder.is_dir():
        raise FieldError("images", f"must be a folder; there is none called {folder}")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    names: list[str] = []
    bounds: list[Bound] = []
    refused: dict[str, str] = {}
    for path in files:
        if limit is not None and len(names) == limit:
            break
        try:
            image = open_picture(path)
        except ValueError as reason:
            refused[path.name] = str(reason)
            continue
        source = of_image(image, engine.model(recipe.model).shape)
        bounds.append(of_picture(engine, with_picture(recipe, source)))
        names.append(str(path.relative_to(folder)))
        bits, error = bounds[-1].total()
        tell(f"{folder.name}/{names[-1]}: {bits:.3f} ± {error:.3f} bits/dim")
    if not bounds:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
        raise FieldError("images", f"must hold pictures in one of the formats {', '.join(FORMATS)}; {folder} has none ({reasons})")
    return MeasuredFolder(folder.name, tuple(names), tuple(bounds), refused)


def of_picture(engine: Engine, recipe: LikelihoodRecipe) -> Bound:
    """The bound of a recipe's only picture."""
    collector = TermCollector(engine.plan(recipe))
    for terms in engine.run(recipe):
        collector.add(terms)
    return collector.bounds()[0]


def lines(folders: Sequence[MeasuredFolder], variances: Sequence[str]) -> list[str]:
    """The table, one line a string: means over the pictures, with the standard error over them; with two folders the gap."""
    heads = [f"{folder.name} ({len(folder.bounds)})" for folder in folders] + ["gap"] * (len(folders) == 2)
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
        errors = "".join(f"{f'± {folder.error(variance):.3f}':>24}" for folder in folders)
        text.append(f"  {'of it by estimating':32}{errors}")
    return text


def as_json(folders: Sequence[MeasuredFolder], variances: Sequence[str], recipe: LikelihoodRecipe) -> dict[str, Any]:
    """The table as JSON, with every picture's numbers."""
    settings = {name: getattr(recipe, name) for name in ("model", "mode", "evaluations", "draws", "seed", "clip", "precision")}
    return {
        "settings": settings,
        "folders": [
            {
                "name": folder.name,
                "refused": folder.refused,
                "variances": {
                    variance: {
                        "parts": {name: dict(zip(("mean", "standard_error"), _mean(v), strict=True)) for name, v in parts.items()},
                        "pictures": {
                            picture: {name: float(values[i]) for name, values in parts.items()}
                            | {"standard_error": folder.bounds[i].total(variance)[1]}
                            for i, picture in enumerate(folder.pictures)
                        },
                    }
                    for variance in variances
                    for parts in [folder.parts(variance)]
                },
            }
            for folder in folders
        ],
    }


def _mean(values: np.ndarray) -> tuple[float, float]:
    """(mean, its standard error over the pictures); the error of a single one is 0."""
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
