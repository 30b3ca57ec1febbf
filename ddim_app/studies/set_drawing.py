"""Sets of pictures drawn by one process or by many, which take shards from one list until none is left."""

import json
import sys
import time
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.media.images import Pixels
from ddim_app.studies.picture_sets import PictureSet, draw
from ddim_app.studies.ranks import Ranks

TELL_SECONDS = 0.5
"""Between two notes of a process on how far it is."""


def complete(engine: Engine, sets: Sequence[PictureSet], ranks: Ranks) -> int:
    """Draws what is missing of the sets, in their order, together with the other processes; returns when all of it is there.

    Returns how many pictures were missing. Raises FieldError where a folder holds pictures of other settings, or is not the
    one that the first process sees, and RunError when another process fails.
    """
    shards = _shards(sets, ranks)
    bar = _Progress(engine, sets, shards, ranks)
    with bar:
        while (turn := ranks.count("taken", 1) - 1) < len(shards):
            which, first = shards[turn]
            sets[which].save(first, _drawn(engine, sets[which], first, bar))
            ranks.count("shards", 1)
        bar.tell()
        ranks.wait(lambda: ranks.count("shards") >= len(shards), bar.show)
        bar.show()
    return sum(sets[which].size(first) for which, first in shards)


def _shards(sets: Sequence[PictureSet], ranks: Ranks) -> list[tuple[int, int]]:
    """(place of the set, first picture) of each shard to draw, as the first process found them missing."""

    def missing() -> str:
        return json.dumps([(i, first) for i, each in enumerate(sets) for first in each.prepare()])

    shards = [(int(which), int(first)) for which, first in json.loads(ranks.told("shards to draw", missing))]
    for each in sets:
        if not (each.folder / "set.json").is_file():
            raise FieldError(
                "output", f"must be a folder that all processes see; process {ranks.rank} finds no {each.folder}/set.json"
            )
    return shards


def _drawn(engine: Engine, each: PictureSet, first: int, bar: "_Progress") -> Pixels:
    parts = []
    for item in draw(engine, each.recipe, first, each.size(first)):
        if isinstance(item, int):
            bar.add(item)
        else:
            parts.append(item)
    return np.concatenate(parts)


class _Progress:
    """A bar of all processes' evaluations, which the first process shows."""

    def __init__(self, engine: Engine, sets: Sequence[PictureSet], shards: Sequence[tuple[int, int]], ranks: Ranks) -> None:
        costs = [engine.plan(each.recipe).arms[0].nfe for each in sets]
        total = sum(costs[which] * sets[which].size(first) for which, first in shards)
        pictures = sum(sets[which].size(first) for which, first in shards)
        self._ranks, self._made, self._told = ranks, 0, time.monotonic()
        self._bar = tqdm(
            total=total, desc=f"{pictures} pictures", unit=" evaluations", disable=not ranks.is_first or not shards,
            dynamic_ncols=True, mininterval=0.2 if sys.stderr.isatty() else 30, smoothing=0.05,
        )  # fmt: skip

    def add(self, evaluations: int) -> None:
        """Notes what this process has made, tells it now and then, and raises RunError when another process has failed."""
        self._made += evaluations
        if time.monotonic() - self._told > TELL_SECONDS:
            self.tell()
            self._ranks.check()

    def tell(self) -> None:
        self._ranks.count("evaluations", self._made)
        self._made, self._told = 0, time.monotonic()
        self.show()

    def show(self) -> None:
        self._bar.update(self._ranks.count("evaluations") - self._bar.n)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
