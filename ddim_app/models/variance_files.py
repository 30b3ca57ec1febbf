"""A model's residuals, from which its analytic variance comes: one JSON file beside it, under the hash of its weights.

Other weights in the same folder, such as those of a later training, have another name, and so never those of these.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

from ddim_app.media.files import write_file
from ddim_app.models.model_files import cache_folder

SHORT = 16
"""Signs of the hash in a file's name; inside it stands whole."""


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
    return folder / f"variance-{sha256[:SHORT]}.json"


def find(folder: Path, sha256: str, num_train_timesteps: int) -> Residuals | None:
    """Those of a model, from beside it or from this machine's cache; None where there are none that could be its own."""
    for place in (folder, cache_folder("variances")):
        found = _read(path_of(place, sha256))
        if found is not None and found.weights == sha256 and len(found.values) == num_train_timesteps:
            return found
    return None


def keep(folder: Path, residuals: Residuals) -> Path:
    """Writes them beside their model, or in this machine's cache for a model that is in the Hub's; returns the file.

    Numbers have five digits, more than their errors leave. Raises OSError.
    """
    values = residuals._asdict()
    rounded = {name: [float(f"{value:.5g}") for value in values[name]] for name in ("values", "errors")}
    place = cache_folder("variances") if "snapshots" in folder.parts else folder
    place.mkdir(parents=True, exist_ok=True)
    path = path_of(place, residuals.weights)
    write_file(path, (json.dumps(values | rounded) + "\n").encode())
    return path


def _read(path: Path) -> Residuals | None:
    try:
        values = json.loads(path.read_text("utf-8"))
        found = Residuals(
            **{**values, "values": tuple(map(float, values["values"])), "errors": tuple(map(float, values["errors"]))}
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if all(math.isfinite(value) and value >= 0 for value in found.values) else None
