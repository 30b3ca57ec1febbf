"""The folder of a run: its settings, its measurements, and the model that it publishes there."""

import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ddim_app.models.loading import WEIGHTS
from ddim_app.train import files
from ddim_app.train.config import FIELDS, Settings, TrainError, flag

BY_CONTENT = ("data", "holdout", "init", "output")
"""Options whose value is a place: what is there is compared, not the words."""
MODEL_FILES = [
    "README.md",
    "model_index.json",
    "preview.png",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    f"unet/{WEIGHTS}",
]
"""The files of a run that are the model, one by one: a pattern such as *.png would take previews/, where training pictures are."""


class RunFolder:
    """runs/NAME: run.json, metrics.jsonl, checkpoints/, previews/, and the model in diffusers' pipeline layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.metrics = path / "metrics.jsonl"

    def stored(self) -> dict[str, Any] | None:
        """run.json of a run that was begun here; None when there is none."""
        try:
            stored = json.loads((self.path / "run.json").read_text("utf-8"))
        except FileNotFoundError:
            if (self.path / "model_index.json").exists() or (self.path / "unet").exists():
                raise TrainError(
                    f"--output {self.path} holds a model that is no run of this program: name another folder"
                ) from None
            return None
        except (OSError, ValueError) as error:
            raise TrainError(f"--output {self.path}: its run.json cannot be read ({error})") from error
        if not isinstance(stored, dict) or "settings" not in stored:
            raise TrainError(f"--output {self.path}: its run.json is not one of this program")
        return stored

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the system frees it when the process ends, however it ends."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock", timeout=0):
                yield
        except Timeout:
            raise TrainError(f"another process is training in {self.path}: wait for it, or name another --output") from None
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise TrainError(f"--output {self.path} cannot be used as a folder ({error.strerror})") from error

    def write_run(self, facts: Mapping[str, Any]) -> None:
        files.write_json(self.path / "run.json", facts)

    def log(self, line: Mapping[str, Any]) -> None:
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def logged(self) -> list[dict[str, Any]]:
        """The measurements so far; a last line that was cut short is left out."""
        lines = []
        for line in self.metrics.read_text("utf-8").splitlines() if self.metrics.is_file() else []:
            try:
                lines.append(json.loads(line))
            except ValueError:
                continue
        return lines

    def rewind(self, step: int) -> None:
        """Forgets measurements of steps that a resumed run makes again."""
        kept = [line for line in self.logged() if line["step"] <= step]
        files.write(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def publish(self, network: torch.nn.Module, unet: Mapping[str, Any], scheduler: Mapping[str, Any], card: str) -> None:
        """Makes the folder the model of these weights. A reader finds the old ones or the new, whole, at any moment."""
        for name in ("unet", "scheduler"):
            (self.path / name).mkdir(exist_ok=True)
        weights = {name: p.detach().to("cpu", torch.float32).contiguous().clone() for name, p in network.named_parameters()}
        try:
            files.write_tensors(self.path / "unet" / WEIGHTS, weights)
            files.write(self.path / "README.md", card.encode())
            if not (self.path / "unet" / "config.json").exists():
                index = {
                    "_class_name": "DDPMPipeline",
                    "scheduler": ["diffusers", "DDPMScheduler"],
                    "unet": ["diffusers", "UNet2DModel"],
                }
                files.write_json(self.path / "scheduler" / "scheduler_config.json", scheduler)
                files.write_json(self.path / "model_index.json", index)
                # Last, since it is by this file that the app knows a model.
                files.write_json(self.path / "unet" / "config.json", unet)
        except OSError as error:
            raise TrainError(
                f"the model cannot be written to {self.path} ({error}); the checkpoints are whole: free some space and start "
                "the same command again"
            ) from error


def continued(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """The settings of a run that was begun with `stored` ones and is started again; raises TrainError when they disagree."""
    settings = {name: value for name, value in stored["settings"].items() if name in FIELDS}
    for name, value in given.items():
        before = settings.get(name, FIELDS[name].default)
        if name not in BY_CONTENT and not FIELDS[name].metadata["free"] and value != before:
            raise TrainError(
                f"{flag(name)} was {before} when this run was begun, and is {value} now: keep it, or name another "
                f"--output (with --init {given.get('output', 'THIS RUN')} that goes on from this run's model)"
            )
    if given.get("preset") is None and given.get("init") and settings.get("preset"):
        raise TrainError(f"--init {given['init']}: this run was begun with --preset {settings['preset']}; name another --output")
    return Settings(**{**settings, **given})


def versions() -> dict[str, str]:
    """Of everything that decides the bits of a result."""
    found = {"python": platform.python_version()}
    for name in ("torch", "diffusers", "accelerate", "numpy", "pillow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
