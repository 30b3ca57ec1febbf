"""Stored sets: a model's pictures by both samplers at many steps and etas, made once, with their distances to many steps.

A set is a PNG sheet of all pictures and a JSON file that says what is where. A page shows its pictures without asking the server.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from ddim_app.diffusion.metrics import settled
from ddim_app.engine import Engine
from ddim_app.lazy import Tensor
from ddim_app.media.distances import patch_rmse, rmse
from ddim_app.media.files import write_file
from ddim_app.media.images import Pixels, png_bytes, to_pil, to_pixels
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm, Recipe

SEED, PICTURES = 7, 4
STEPS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
"""Steps of the columns; all T steps, the reference of each row, come behind them."""
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
VERSION = 1


def arms(steps: int, clip: str = "clip") -> tuple[Arm, ...]:
    """The rows of a set: DDIM(eta) for each of ETAS, eta = 1 being DDPM with the small variance, and DDPM with the large one."""
    ddim = (Arm(steps=steps, eta=eta, clip=clip) for eta in ETAS)
    return (*ddim, Arm(method="ddpm", variance="large", steps=steps, clip=clip))


def arm_key(arm: Arm) -> str:
    """What a row is called in the file: "0" to "1" by eta, which is DDPM's, or "sigma-hat"; of another variance its name."""
    return f"{arm.eta:g}" if arm.method == "ddim" else {"small": "1", "large": "sigma-hat"}.get(arm.variance, arm.variance)


KEYS = tuple(map(arm_key, arms(1)))
"""What the rows are called."""


@dataclass(frozen=True)
class Extent:
    """What a set has of a model, in which clipping, and so the runs that draw it."""

    columns: tuple[int, ...]
    keys: tuple[str, ...] = KEYS
    pictures: int = PICTURES
    clip: str = "clip"

    @classmethod
    def of(cls, model: Model, steps: Sequence[int] = STEPS, **given: Any) -> Self:
        """The columns of a model's set, clipped as its authors do."""
        T = model.schedule.num_train_timesteps
        return cls((*(count for count in steps if count < T), T), clip=model.schedule.clip, **given)

    def recipes(self, model: str, most: int | None = None) -> list[Recipe]:
        """The runs that draw it, few steps first: one for each column, or several, of at most `most` evaluations or of one row."""
        made = []
        for steps in self.columns:
            rows = [arm for arm in arms(steps, self.clip) if arm_key(arm) in self.keys]
            size = max(1, min(len(rows), most // (steps * self.pictures))) if most else len(rows)
            made += [
                Recipe(arms=tuple(rows[i : i + size]), model=model, seed=SEED, pictures=self.pictures, precision="fp32")
                for i in range(0, len(rows), size)
            ]
        return made

    def size(self, shape: Sequence[int]) -> int:
        """Bytes of the pictures of a model of that shape."""
        return len(self.columns) * len(self.keys) * self.pictures * int(np.prod(shape))

    def joined(self, drawn: Sequence[Pixels], model: Model) -> "StoredSet":
        """The set of the pictures of all its runs, (arms, pictures, H, W, C) each."""
        rows = np.concatenate(drawn)
        pixels = rows.reshape(len(self.columns), len(self.keys), *rows.shape[1:]).swapaxes(0, 1)
        return StoredSet(pixels, self.columns, model.name, model.sha256, self.keys, self.clip)


@dataclass(frozen=True)
class StoredSet:
    """The set of one model."""

    pixels: Pixels
    """(arms, columns, pictures, H, W, C), 8-bit; the last column has all T steps."""
    columns: tuple[int, ...]
    """Steps of each column."""
    model: str
    weights: str
    """sha256 of the model's weights."""
    keys: tuple[str, ...] = KEYS
    clip: str = "clip"

    def distances(self) -> np.ndarray:
        """(arms, columns, pictures, 2): RMSE of 255 to the row's own picture with all T steps, and that of its worst patch."""
        reference = self.pixels[:, -1:]
        return np.stack([measure(self.pixels, reference) for measure in (rmse, patch_rmse)], -1)

    def settled(self) -> list[list[int | None]]:
        """(arms, pictures): the first column from which on a row's picture is the same as with all T steps."""
        return [[settled(row[:, i, 0], row[:, i, 1]) for i in range(row.shape[1])] for row in self.distances()]

    def about(self) -> dict[str, Any]:
        """What the page is told: the place of every picture in the sheet, and all distances to two decimals."""
        apart = self.distances()
        return {
            "version": VERSION, "model": self.model, "weights": self.weights, "seed": SEED, "columns": list(self.columns),
            "arms": list(self.keys), "clip": self.clip, "shape": list(self.pixels.shape),
            "rmse": apart[..., 0].round(2).tolist(), "patch": apart[..., 1].round(2).tolist(),
            "settled": self.settled(),
        }  # fmt: skip

    def sheet(self) -> Pixels:
        """The pictures as one: a line for each arm and picture, in it a place for each column."""
        rows, columns, pictures, height, width, channels = self.pixels.shape
        return self.pixels.transpose(0, 2, 3, 1, 4, 5).reshape(rows * pictures * height, columns * width, channels)

    def save(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Writes the sheet and what is in it; the sheet's name changes with its content, so that browsers may keep it for ever."""
        folder.mkdir(parents=True, exist_ok=True)
        data = png_bytes(to_pil(self.sheet()), compress_level=9)
        digest = hashlib.sha256(data).hexdigest()
        sheet, index = folder / f"{name}-{digest[:12]}.png", folder / f"{name}.json"
        write_file(sheet, data)
        about = {**self.about(), "sha256": digest, "sheet": sheet.name}
        write_file(index, (json.dumps(about, separators=(",", ":")) + "\n").encode())
        for old in folder.glob(f"{name}-*.png"):
            if old != sheet:
                old.unlink(missing_ok=True)
        return sheet, index

    @classmethod
    def load(cls, folder: Path, name: str) -> Self | None:
        """The set of that name; None where there is none, or one of another version or not whole."""
        try:
            about, data = _files(folder, name)
            rows, columns, pictures, height, width, channels = about["shape"]
            sheet = np.asarray(Image.open(io.BytesIO(data), formats=("PNG",)))
            pixels = sheet.reshape(rows, pictures, height, columns, width, channels).transpose(0, 3, 1, 2, 4, 5)
            named = tuple(about["columns"]), about["model"], about["weights"], tuple(about["arms"]), about["clip"]
            return cls(pixels, *named)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def about(folder: Path, name: str) -> dict[str, Any] | None:
    """What the page is told of the set of that name; None as in `StoredSet.load`."""
    try:
        return _files(folder, name)[0]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(folder: Path, name: str) -> tuple[dict[str, Any], bytes]:
    """What is in a set, and its sheet; raises OSError, ValueError, KeyError or TypeError where it is not whole."""
    told = json.loads((folder / f"{name}.json").read_text("utf-8"))
    data = (folder / Path(told["sheet"]).name).read_bytes()
    if told["version"] != VERSION or hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise ValueError("it is of another version, or damaged")
    return told, data


def drawn(pictures: Sequence[Tensor]) -> Pixels:
    """(arms, pictures, H, W, C), 8-bit, of what a run of a set comes to."""
    return np.stack([to_pixels(x) for x in pictures])


def make(engine: Engine, model: str, steps: Sequence[int] = STEPS) -> StoredSet:
    """Draws the set of a model, in fp32."""
    loaded = engine.model(model)
    extent = Extent.of(loaded, steps)
    return extent.joined([drawn(engine.final(recipe)) for recipe in extent.recipes(model)], loaded)
