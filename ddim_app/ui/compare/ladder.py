"""The ladder: the same picture at more and more steps, a row for each sampler, with the distance to where the row is going."""

import asyncio
import json
from collections.abc import AsyncGenerator, Hashable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cache
from typing import Any

import gradio as gr
import numpy as np

from ddim_app.diffusion.metrics import settled
from ddim_app.diffusion.noise import picture_seed
from ddim_app.errors import FieldError, whole
from ddim_app.media.distances import patch_rmse, rmse
from ddim_app.media.images import Pixels, data_uri, side_by_side, to_pil, to_pixels
from ddim_app.runs.sampling import Arm, Frame, Recipe
from ddim_app.studies.stored_sets import SEED, StoredSet, arm_key
from ddim_app.ui.assets import asset, component_files
from ddim_app.ui.bundled import STORED, stored_set
from ddim_app.ui.compare.class_ladders import ClassLadders
from ddim_app.ui.compare.known_pictures import KnownPictures
from ddim_app.ui.compare.model_sets import ModelSets
from ddim_app.ui.hosting.gradio_patches import event_data
from ddim_app.ui.run_tab import RunTab

COLUMNS = (3, 5, 10, 20, 50, 100)
LIVE_REFERENCE = 100
"""Steps of the picture that live rows are measured to; columns above TRUSTED then carry no verdict, since it moves itself."""
TRUSTED = 20
LADDER_SECONDS = 12
"""A ladder that is thought to take longer is not filled unasked."""


class LadderRow:
    """The pictures of one sampler, from few steps to many."""

    def __init__(self, arm: Arm, columns: Sequence[int]) -> None:
        self.arm, self.columns = arm, tuple(columns)
        self.pixels: dict[int, Pixels] = {}
        """(1, H, W, C), 8-bit, by steps."""

    def apart(self, steps: int, reference: Pixels) -> tuple[float, float]:
        """How far its picture of so many steps is from a reference: the RMSE of 255, and that of the worst 4 x 4 patch."""
        pixels = self.pixels[steps][0]
        return float(rmse(pixels, reference[0])), float(patch_rmse(pixels, reference[0]))

    def value(self, reference: Pixels | None, is_whole: bool) -> dict[str, Any]:
        """The row as the page takes it, measured to `reference`, the picture of its arm's limit; of a stored row, with T steps."""
        cells: list[dict[str, Any]] = []
        apart: list[tuple[float, float]] = []
        for steps in self.columns:
            pixels = self.pixels.get(steps)
            cell: dict[str, Any] = {"picture": None if pixels is None else data_uri(to_pil(pixels[0]))}
            if pixels is not None and reference is not None:
                apart.append(self.apart(steps, reference))
                cell["rmse"] = round(apart[-1][0], 1)
            cells.append(cell)
        known = len(apart) == len(self.columns)
        first = settled(*zip(*apart, strict=True)) if known else None
        trusted = first is not None and (is_whole or self.columns[first] <= TRUSTED)
        return {
            "name": f"η {self.arm.eta:g}" if self.arm.method == "ddim" and self.arm.eta else self.arm.sampler.short,
            "label": self.arm.label, "cells": cells,
            "within": first if trusted else None, "limit": "" if self.arm.limit == self.arm else self.arm.limit.label,
        }  # fmt: skip


def stored_rows(stored: StoredSet, seed: int, shown: Sequence[Arm]) -> list[tuple[LadderRow, Pixels]]:
    """The rows of a stored set for these arms, each with its own picture with all T steps, to which it is measured."""
    picture, rows = seed - SEED, []
    for arm in shown:
        row = LadderRow(arm, [steps for steps in COLUMNS if steps in stored.columns])
        drawn = stored.pixels[stored.keys.index(arm_key(arm)), :, picture : picture + 1]
        row.pixels = {steps: drawn[stored.columns.index(steps)] for steps in row.columns}
        rows.append((row, drawn[-1]))
    return rows


def of_stored(stored: StoredSet, seed: int = SEED) -> dict[str, Any]:
    """The ladder of a stored set: DDIM and DDPM."""
    rows = stored_rows(stored, seed, (Arm(), Arm(method="ddpm")))
    about = {"seed": seed, "columns": list(rows[0][0].columns), "rows": [row.value(picture, True) for row, picture in rows]}
    return {**about, "reference": stored.columns[-1], "stored": True, "complete": True}


@cache
def stored_ladder() -> dict[str, Any]:
    """The ladder of the bundled model's stored set, with which the page opens."""
    return {**of_stored(stored_set()), "current": 10}


class LiveLadder:
    """A ladder that fills while its run goes on; what `known` has of its pictures need not be drawn again."""

    def __init__(self, recipe: Recipe, columns: Sequence[int], known: KnownPictures, made_with: Hashable = None) -> None:
        self.columns, self.rows = tuple(columns), [LadderRow(arm, columns) for arm in recipe.arms]
        self.one, self._known, self.made_with = replace(recipe, pictures=1), known, made_with
        """`one`: the recipe of one picture, with the settings of the rows."""
        self._all = list(self.rows)
        """The rows, and those that are not shown: others' limits, of which only the last picture is needed."""
        self._limits = [self._limit_of(row) for row in self.rows]
        self._missing: list[tuple[LadderRow, Arm]] = []
        for row in self._all:
            for steps in row.columns:
                arm = replace(row.arm, steps=steps, timesteps=None)
                pixels = known.get(self._key(arm))
                if pixels is None:
                    self._missing.append((row, arm))
                else:
                    row.pixels[steps] = pixels

    def _limit_of(self, row: LadderRow) -> LadderRow:
        """The row whose last picture a row is measured to: itself, or that of its arm's limit."""
        arm = replace(row.arm.limit, steps=row.arm.steps, timesteps=None)
        alike = (other for other in self._all if replace(other.arm, steps=row.arm.steps, timesteps=None) == arm)
        found = next(alike, None) if row.arm.sampler.limit else row
        if found is None:
            self._all.append(found := LadderRow(arm, row.columns[-1:]))
        return found

    @property
    def recipe(self) -> Recipe | None:
        """What is still to be drawn; None when nothing is."""
        return self.one.with_arms(*(arm for _, arm in self._missing)) if self._missing else None

    def add(self, frame: Frame) -> bool:
        """Takes a frame of the run; whether it was a cell's last."""
        if frame.is_last:
            row, arm = self._missing[frame.arm]
            row.pixels[arm.steps] = pixels = to_pixels(frame.x_t)
            self._known.put(self._key(arm), pixels)
        return frame.is_last

    @property
    def measured(self) -> list[tuple[LadderRow, Pixels | None]]:
        """The rows, each with the picture that it is measured to, once that is drawn."""
        return [(row, limit.pixels.get(self.columns[-1])) for row, limit in zip(self.rows, self._limits, strict=True)]

    @property
    def is_complete(self) -> bool:
        return all(len(row.pixels) == len(row.columns) for row in self._all)

    def put(self, pixels: Pixels) -> None:
        """Takes the pictures of all cells, (rows, columns, H, W, C)."""
        for row, drawn in zip(self._all, pixels, strict=True):
            for steps, picture in zip(row.columns, drawn, strict=True):
                row.pixels[steps] = picture[None]
                self._known.put(self._key(replace(row.arm, steps=steps, timesteps=None)), picture[None])

    @property
    def pixels(self) -> Pixels:
        """The pictures of all cells of a ladder that is complete, (rows, columns, H, W, C)."""
        return np.stack([np.concatenate([row.pixels[steps] for steps in row.columns]) for row in self._all])

    def value(self, serial: int) -> dict[str, Any]:
        """What the page is told, whole each time: a row is some twelve kilobytes."""
        last, seed = self.columns[-1], self.one.seed
        return {
            "serial": serial, "seed": seed, "columns": list(self.columns), "reference": last, "stored": False,
            "rows": [row.value(picture, False) for row, picture in self.measured],
            "complete": self.is_complete,
        }  # fmt: skip

    def _key(self, arm: Arm) -> Hashable:
        recipe = self.one
        return self.made_with, recipe.precision, recipe.seed, recipe.noise_seed, recipe.branch, recipe.class_label, arm


class Ladder:
    """The card under the arms, and what fills it: the stored set at first, then a run of its own in the background."""

    def __init__(self, tab: RunTab) -> None:
        self.tab, self._known = tab, KnownPictures()
        self.sets = ModelSets(tab.runs.engine, tab.runs.set_bytes, tab.runs.fills_unasked)
        self.card = gr.HTML(
            stored_ladder(), stored=json.loads(asset(f"stored/{STORED}.json")), **component_files("ladder", "make", "lines"),
            apply_default_css=False, elem_id="ladder",
        )  # fmt: skip

    def connect(self) -> None:
        """Fills the ladder when its script asks for it, once the arms above are drawn; a class's are drawn before."""
        if self.tab.runs.is_classroom and self.tab.runs.makes_unasked:
            ClassLadders(self.tab.runs.engine, self.of).begin()
        self.card.input(
            self.run, self.tab.inputs, self.card, show_progress="hidden", trigger_mode="multiple", api_visibility="private",
            concurrency_id="live", concurrency_limit=16,
        )  # fmt: skip

    async def run(self, request: gr.Request, event: gr.EventData, *values: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The ladder of the first picture of these settings, cell by cell; or how long it would take."""
        try:
            asked = event_data(event)
            serial, first = whole("serial", asked.get("serial"), 1, 2**53), whole("picture", asked.get("picture", 0), 0, 15)
            ladder, planned, seconds = await asyncio.to_thread(self._prepare, values, first)
        except FieldError:  # said on its field by the run of the arms
            return
        waits = planned is not None and (self._waits(seconds) or self.tab.runs.spent(request, planned))
        if waits and not asked.get("asked"):
            yield ladder.value(serial) | {"costly": seconds or 0}
            return
        yield ladder.value(serial)
        if planned is not None:
            async for news in self._frames(planned, request):
                if [frame for frame in news if ladder.add(frame)]:
                    yield ladder.value(serial)
        if ladder.is_complete and (references := await self._references(values, ladder.made_with, request)):
            yield {**ladder.value(serial), "references": references}

    def _waits(self, seconds: float | None) -> bool:
        """Whether a run that takes so long is not made unasked."""
        return not self.tab.runs.fills_unasked or (seconds or 0) > LADDER_SECONDS

    async def _frames(self, planned: Any, request: gr.Request) -> AsyncGenerator[list[Frame], None]:
        """The frames of a run in the background, those of one update together."""
        async with aclosing(self.tab.runs.stream(planned, request, "ladder", background=True)) as stream:
            async for news in stream:
                yield [frame for item in news if isinstance(item, list) for frame in item]

    async def _references(self, values: tuple[Any, ...], made_with: Hashable, request: gr.Request) -> list[str]:
        """What each arm's limit is at the last column, a strip of its pictures each; nothing where that takes too long."""
        recipe, _ = await asyncio.to_thread(self.tab.recipe_of, values)
        planned, seconds = await asyncio.to_thread(self._referred, recipe)
        wanted = planned.recipe
        strips = self._known.get((made_with, wanted))
        if strips is None:
            if self._waits(seconds) or self.tab.runs.spent(request, planned):
                return []
            done: dict[int, Pixels] = {}
            async for frames in self._frames(planned, request):
                done |= {frame.arm: to_pixels(frame.x_t) for frame in frames if frame.is_last}
            if len(done) < len(wanted.arms):
                return []
            strips = np.stack([done[arm] for arm in sorted(done)])
            self._known.put((made_with, wanted), strips)
        return [data_uri(side_by_side(pixels)) for pixels in strips]

    def _prepare(self, values: tuple[Any, ...], number: int) -> tuple[LiveLadder, Any, float | None]:
        """The ladder of one of the pictures, the plan of what is still to be drawn, and its seconds; raises FieldError."""
        return self.of(self.tab.recipe_of(values)[0], number)

    def of(self, recipe: Recipe, number: int = 0) -> tuple[LiveLadder, Any, float | None]:
        """The ladder of one of a recipe's pictures, the plan of what is still to be drawn, and its seconds; raises FieldError."""
        engine = self.tab.runs.engine
        models = [engine.model(name) for name in recipe.models]
        T = models[0].schedule.num_train_timesteps
        made_with = tuple(model.sha256 for model in models), engine.number_format(recipe.precision)
        ladder = LiveLadder(_of_picture(recipe, number), [steps for steps in COLUMNS if steps <= T] or [T], self._known, made_with)
        planned = engine.plan(ladder.recipe) if ladder.recipe else None
        return ladder, planned, engine.seconds(planned) if planned else 0.0

    def _referred(self, recipe: Recipe) -> tuple[Any, float | None]:
        """The plan of what the arms' numbers are measured to, all pictures at the last column, and its seconds."""
        engine = self.tab.runs.engine
        last = [steps for steps in COLUMNS if steps <= engine.model(recipe.model).schedule.num_train_timesteps][-1:]
        planned = engine.plan(
            recipe.with_arms(*(replace(arm.limit, steps=steps, timesteps=None) for arm in recipe.arms for steps in last))
        )
        return planned, engine.seconds(planned)

    def evaluations(self, recipe: Recipe) -> int:
        """Evaluations that are made in the background once the arms are drawn: the ladder's, and those of its references."""
        if self.sets.has(recipe):
            return 0
        try:
            ladder, planned, seconds = self.of(recipe)
            if self._waits(seconds):
                return 0
            referred, seconds = self._referred(recipe)
        except FieldError:  # the host's budget: neither is made
            return 0
        known = self._known.get((ladder.made_with, referred.recipe)) is not None or self._waits(seconds)
        return (planned.evaluations if planned else 0) + (0 if known else referred.evaluations)


def _of_picture(recipe: Recipe, number: int) -> Recipe:
    """The recipe of one of its pictures alone."""
    shift = number if number < recipe.pictures else 0
    noise_seed = None if recipe.noise_seed is None else picture_seed(recipe.noise_seed, shift)
    return replace(recipe, seed=picture_seed(recipe.seed, shift), noise_seed=noise_seed)
