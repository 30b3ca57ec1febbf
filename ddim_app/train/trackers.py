"""Where the figures of a run are shown besides metrics.jsonl: TensorBoard where it is installed, Weights & Biases where it is
asked for. Only numbers are handed over, no picture."""

import hashlib
from collections.abc import Mapping
from typing import Any

from accelerate import tracking  # type: ignore[import-untyped]

from ddim_app.train.config import TrainError
from ddim_app.train.run_folder import RunFolder

PROJECT = "ddim-explorer"


def check_tracker(name: str) -> None:
    """Raises TrainError for a tracker whose package is not installed."""
    if name == "wandb" and not tracking.is_wandb_available():
        raise TrainError("--tracker wandb needs its package: pip install wandb, and wandb login; or leave --tracker out")


def open_tracker(name: str, home: RunFolder) -> Any:
    """Accelerate's tracker of that name, begun; None where there is none to be had. A run that goes on goes on there too."""
    if name == "wandb":
        run_id = hashlib.sha256(str(home.path.resolve()).encode()).hexdigest()[:16]
        tracker = tracking.WandBTracker(PROJECT, name=home.path.name, id=run_id, resume="allow", dir=str(home.path))
    elif name == "tensorboard" and tracking.is_tensorboard_available():
        tracker = tracking.TensorBoardTracker("tensorboard", home.path)
    else:
        return None
    if hasattr(tracker, "start"):  # else it began when it was made
        tracker.start()
    return tracker


def figures(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of metrics.jsonl, by the names that trackers show."""
    return {f"{line['kind']}/{name}": value for name, value in line.items() if isinstance(value, float)}
