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
from ddim_app.media.distances import patch_rmse, rmse
from ddim_app.media.images import Pixels, png_bytes, to_pil, to_pixels
from ddim_app.runs.sampling import Arm, Recipe

SEED, PICTURES = 7, 4
STEPS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
"""Steps of the columns; all T steps, the reference of each row, come behind them."""
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
VERSION = 1


def arms(steps: int) -> tuple[Arm, ...]:
    """The rows of a set: DDIM(eta) for each of ETAS, eta = 1 being DDPM with the small variance, and DDPM with the large one."""
    return (*(Arm(steps=steps, eta=eta) for eta in ETAS), Arm(method="ddpm", variance="large", steps=steps))


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
        sheet = png_bytes(to_pil(self.sheet()), compress_level=9)
        return {
            "version": VERSION, "model": self.model, "weights": self.weights, "seed": SEED, "columns": list(self.columns),
            "arms": [arm_key(arm) for arm in arms(1)], "shape": list(self.pixels.shape),
            "sha256": hashlib.sha256(sheet).hexdigest(),
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
        about = self.about()
        sheet, index = folder / f"{name}-{about['sha256'][:12]}.png", folder / f"{name}.json"
        for old in folder.glob(f"{name}-*.png"):
            old.unlink()
        sheet.write_bytes(png_bytes(to_pil(self.sheet()), compress_level=9))
        index.write_text(json.dumps({**about, "sheet": sheet.name}, separators=(",", ":")) + "\n", "utf-8")
        return sheet, index

    @classmethod
    def load(cls, folder: Path, name: str) -> Self | None:
        """The set of that name; None where there is none, or one of another version or not whole."""
        try:
            about = json.loads((folder / f"{name}.json").read_text("utf-8"))
            data = (folder / about["sheet"]).read_bytes()
            if about["version"] != VERSION or hashlib.sha256(data).hexdigest() != about["sha256"]:
                return None
            rows, columns, pictures, height, width, channels = about["shape"]
            sheet = np.asarray(Image.open(io.BytesIO(data), formats=("PNG",)))
            pixels = sheet.reshape(rows, pictures, height, columns, width, channels).transpose(0, 3, 1, 2, 4, 5)
            return cls(pixels, tuple(about["columns"]), about["model"], about["weights"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def arm_key(arm: Arm) -> str:
    """What a row is called in the file: "0" to "1" by eta, or "sigma-hat"."""
    return "sigma-hat" if arm.variance == "large" else f"{arm.eta:g}"


def make(engine: Engine, model: str, steps: Sequence[int] = STEPS) -> StoredSet:
    """Draws the set of a model, in fp32."""
    T = engine.model(model).schedule.num_train_timesteps
    columns = (*(count for count in steps if count < T), T)
    drawn = []
    for count in columns:
        recipe = Recipe(arms=arms(count), model=model, seed=SEED, pictures=PICTURES, precision="fp32")
        drawn.append(np.stack([to_pixels(pictures) for pictures in engine.final(recipe)]))
    return StoredSet(np.stack(drawn, 1), columns, model, engine.model(model).sha256)
