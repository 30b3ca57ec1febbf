"""A model's residuals, from which its analytic variance comes, in a file beside it."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from ddim_app.models import beside

KIND = "variance"


class Residuals(NamedTuple):
    """V_t = E|x0 - pred_x0|^2 a dimension, at each of the T train timesteps, as it was estimated."""

    weights: str
    """sha256 of the tensors that predicted."""
    values: tuple[float, ...]
    errors: tuple[float, ...]
    """Their standard errors."""
    clip: str
    """What was done to the predicted pictures."""
    pictures: int
    evaluations: int
    """Of each timestep."""


def path_of(folder: Path, sha256: str) -> Path:
    """Where the residuals of these weights are beside their model."""
    return beside.path_of(folder, KIND, sha256)


def find(folder: Path, sha256: str, num_train_timesteps: int) -> Residuals | None:
    """Those of a model, from beside it or from this machine's cache; None where there are none that could be its own."""
    for values in beside.found(folder, KIND, sha256):
        residuals = _from_json(values)
        if residuals is not None and residuals.weights == sha256 and len(residuals.values) == num_train_timesteps:
            return residuals
    return None


def keep(folder: Path, residuals: Residuals) -> Path:
    """Writes them beside their model, or in this machine's cache for a model that is in the Hub's; returns the file.

    Numbers have five digits, more than their errors leave. Raises OSError.
    """
    values = residuals._asdict()
    rounded = {name: [float(f"{value:.5g}") for value in values[name]] for name in ("values", "errors")}
    return beside.keep(folder, KIND, residuals.weights, values | rounded)


def _from_json(values: Any) -> Residuals | None:
    try:
        residuals = Residuals(
            **{**values, "values": tuple(map(float, values["values"])), "errors": tuple(map(float, values["errors"]))}
        )
    except (ValueError, TypeError, KeyError):
        return None
    return residuals if all(math.isfinite(value) and value >= 0 for value in residuals.values) else None
