"""Stored sets on this machine's disk, each under the hash of its model's weights, and what is drawn of those that are not whole."""

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from ddim_app.media.files import read_array, write_array
from ddim_app.media.images import Pixels
from ddim_app.models.loading import Model
from ddim_app.models.model_files import cache_folder, keep_within
from ddim_app.runs.sampling import Recipe
from ddim_app.studies import stored_sets
from ddim_app.studies.stored_sets import StoredSet

SHEET = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}-[0-9a-f]{12}\.png")
"""The name of a sheet: of the weights' hash, of what else its pictures depend on, and of its own bytes."""


class SetCache:
    """A folder of at most `max_bytes`, in which what was not used for the longest time goes first.

    A set that is damaged is none. Several processes may use the folder; `lock` is held by the one that makes a set.
    """

    def __init__(self, max_bytes: int = 0, folder: Path | None = None) -> None:
        self.max_bytes, self.folder = max_bytes, folder or cache_folder("stored-sets")

    def key(self, model: Model) -> str:
        """The name of a model's set, by its weights and by how they are used."""
        config = {name: value for name, value in sorted(dict(model.unet.config).items()) if not name.startswith("_")}
        schedule = model.schedule
        used = [
            model.sha256, config, schedule.alphas_cumprod.tolist(), schedule.prediction_type, schedule.clip, schedule.clip_range,
            schedule.learned, model.classes.names, model.classes.null,
        ]  # fmt: skip
        return f"{model.sha256[:16]}-{hashlib.sha256(json.dumps(used, default=str).encode()).hexdigest()[:8]}"

    def find(self, key: str) -> dict[str, Any] | None:
        """What a page is told of a set; None where there is none."""
        about = stored_sets.about(self.folder, key)
        if about is not None:
            for name in (f"{key}.json", about["sheet"]):
                with suppress(OSError):  # of a folder that may only be read
                    os.utime(self.folder / name)
        return about

    def sheet(self, name: str) -> Path | None:
        """The sheet of that name, if there is one."""
        path = self.folder / name
        return path if SHEET.fullmatch(name) and path.is_file() else None

    def lock(self, key: str) -> FileLock:
        """What the process holds that makes a set; raises Timeout for others, and OSError."""
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / f"{key}.lock", timeout=0)

    def keep(self, key: str, stored: StoredSet) -> None:
        """Writes a set; the pictures of which it was made go. Raises OSError."""
        for file in stored.save(self.folder, key):
            keep_within(self.folder, self.max_bytes, file)
        for piece in self.folder.glob(f"{key}-*.npz"):
            piece.unlink(missing_ok=True)

    def piece(self, key: str, recipe: Recipe) -> Pixels | None:
        """The pictures of one of a set's runs, if they are there."""
        return read_array(self._piece(key, recipe))

    def keep_piece(self, key: str, recipe: Recipe, pixels: Pixels) -> None:
        """Writes the pictures of one of a set's runs; raises OSError."""
        write_array(file := self._piece(key, recipe), pixels)
        keep_within(self.folder, self.max_bytes, file)

    def _piece(self, key: str, recipe: Recipe) -> Path:
        arms = json.dumps([recipe.pictures, json.loads(recipe.to_json())["arms"]])
        return self.folder / f"{key}-{hashlib.sha256(arms.encode()).hexdigest()[:12]}.npz"
