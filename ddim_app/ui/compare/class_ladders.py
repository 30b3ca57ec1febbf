"""The ladders of a class: those of the seeds 0 to 39, drawn once by the host and kept for its next start."""

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ddim_app.engine import Engine
from ddim_app.errors import FieldError, RunError
from ddim_app.media.files import read_array, write_array
from ddim_app.models.model_files import cache_folder
from ddim_app.runs.sampling import Arm, Recipe

log = logging.getLogger(__name__)

SEEDS = range(40)
MAX_SECONDS = 60
"""A ladder that is thought to take longer is none that a class waits for."""


class ClassLadders:
    """Draws what the page begins with, DDIM and DDPM of the first model, at all columns of each seed, behind everybody's runs.

    `ladder_of` gives the ladder of a recipe, the plan of what is still to be drawn of it, and its seconds. A file for each seed,
    named by the weights' hash and all else that the pictures depend on, is kept in `folder`.
    """

    def __init__(self, engine: Engine, ladder_of: Callable[[Recipe], Any], folder: Path | None = None) -> None:
        self._engine, self._ladder_of = engine, ladder_of
        self._folder = folder or cache_folder("class-ladders")

    def begin(self) -> None:
        threading.Thread(target=self.make, name="class-ladders", daemon=True).start()

    def make(self, seeds: Sequence[int] = SEEDS) -> None:
        """Has the ladders of these seeds known, drawn or read."""
        try:
            model = self._engine.catalogue.names()[0]
            drawn = sum(self._make(Recipe(arms=(Arm(), Arm(method="ddpm")), model=model, seed=seed, pictures=1)) for seed in seeds)
            log.info("the ladders of the seeds %d to %d are there, %d of them newly drawn", seeds[0], seeds[-1], drawn)
        except (FieldError, RunError, OSError, IndexError) as error:
            log.warning("the ladders of a class: %s", error)

    def _make(self, recipe: Recipe) -> bool:
        """Whether the recipe's ladder had to be drawn."""
        ladder, planned, seconds = self._ladder_of(recipe)
        file = self._file(recipe, ladder)
        if planned is None:
            return False
        if (pixels := read_array(file)) is not None:
            ladder.put(pixels)
            return False
        if (seconds or 0) > MAX_SECONDS:
            raise RunError(f"one would take {seconds:.0f} s, so none is drawn")
        for frame in self._engine.run(planned, background=True):
            ladder.add(frame)
        write_array(file, ladder.pixels)
        return True

    def _file(self, recipe: Recipe, ladder: Any) -> Path:
        made_of = "\n".join([recipe.to_json(), repr(ladder.columns), repr(ladder.made_with)])
        return self._folder / f"{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.npz"
