"""The Compare tab: DDIM(eta) and DDPM side by side from the same noise."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr
from PIL import Image

from ddim_app import recipe as recipes
from ddim_app.engine import Finished
from ddim_app.images import contact_sheet, enlargement, to_pixels
from ddim_app.plan import Frame, Plan
from ddim_app.recipe import FieldError, Recipe
from ddim_app.ui import stage, text
from ddim_app.ui.runs import Runs
from ddim_app.ui.settings import Settings, checked

SECONDS_BETWEEN_UPDATES = 0.08
"""Frames that arrive faster than this reach the page together."""
KEEP: Any = gr.skip()

EXAMPLE_FIELDS = ("steps", "eta", "ddpm_steps", "variance", "spacing", "clip")
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "10 steps: DDIM clean, DDPM (σ̂) noisy": (10, 0.0, 0, "large", "trailing", "clip"),
    "eta 1: DDIM is DDPM": (25, 1.0, 0, "small", "trailing", "clip"),
    "eta 0.5: between": (25, 0.5, 0, "small", "trailing", "clip"),
    "Same seed, 5 steps": (5, 0.0, 0, "small", "trailing", "clip"),
    "20 steps": (20, 0.0, 0, "small", "trailing", "clip"),
    "50 steps": (50, 0.0, 0, "small", "trailing", "clip"),
}
"""Runs that start in one click, by the values of EXAMPLE_FIELDS."""


class Show:
    """One run on its way to the page: what has arrived, and what is said of it."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.reel: stage.Reel | None = None
        self.made: Recipe | None = None
        self.error: str | None = None
        self.waiting: list[Frame] = []
        self.note = "Starting"
        self._began = self._shown = time.perf_counter()

    def take(self, item: object) -> None:
        if isinstance(item, str):
            self.note = item
        elif isinstance(item, Plan):
            self.plan, self.reel, self._began = item, stage.Reel(item, uuid.uuid4().hex), time.perf_counter()
        elif isinstance(item, list):
            self.waiting += item
        elif isinstance(item, Finished):
            self.made, self.error = item

    def due(self) -> bool:
        """Whether the page should be shown what waits."""
        return bool(self.waiting) and time.perf_counter() - self._shown > SECONDS_BETWEEN_UPDATES

    def pop(self) -> list[Frame]:
        frames, self.waiting, self._shown = self.waiting, [], time.perf_counter()
        return frames

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began


class CompareTab:
    """The tab's components, and the handlers behind Run and Stop."""

    def __init__(self, runs: Runs, settings: Settings, status: gr.HTML) -> None:
        self.runs, self._settings = runs, settings
        self._said: dict[str | None, str] = {}
        first = stage.stored_run()
        self.stage = stage.component(first)
        with gr.Accordion("Wipe between the two", open=False, elem_id="wipe-fold"):
            self.wipe = gr.ImageSlider(
                None, format="png", label="DDIM left, DDPM right", interactive=False, elem_id="wipe", buttons=["fullscreen"]
            )
        self.recipe = text.line(first["recipe"], "recipe")
        self.outputs = [self.stage, status, self.wipe, self.recipe, settings.last_seed]

    async def run(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        """Streams a comparison to the page: the new frames of each update, at the end the whole run."""
        engine, session = self.runs.engine, request.session_hash
        try:
            recipe = await asyncio.to_thread(checked, engine, recipes.compare, self._settings.named(values))
        except FieldError as error:
            raise gr.Error(str(error), print_exception=False) from error
        show = Show()
        # The pictures of the run before stay, with their own recipe, until there are new ones; the wipe would outlive them.
        yield [KEEP, self._say(session, show.note), None, KEEP, recipe.seed]
        try:
            async with aclosing(self.runs.stream(recipe, request, alone=True)) as stream:
                async for news in stream:
                    for item in news:
                        show.take(item)
                    if show.plan is None:
                        yield [KEEP, self._say(session, show.note), KEEP, KEEP, KEEP]
                    elif show.reel and show.due():
                        frames = show.pop()
                        status = self._say(session, text.progress_line(show.plan, frames[-1].k + 1, show.seconds))
                        value = await asyncio.to_thread(show.reel.add, frames)
                        yield [value, status, KEEP, text.recipe_line(show.plan), KEEP]
            yield await asyncio.to_thread(self._last, show)
        finally:
            self._said.pop(session, None)
        if show.error:
            raise gr.Error(show.error, print_exception=False)

    def _last(self, show: Show) -> list[Any]:
        """The last update of a run: all of it, or what there is when it had to end, or its page has left."""
        if show.plan is None or show.reel is None or show.made is None:
            return [KEEP] * 5
        show.reel.add(show.pop())
        if show.error:
            return [show.reel.complete(), show.error, KEEP, text.recipe_line(show.plan), KEEP]
        plan = show.plan._replace(recipe=show.made)
        status = text.done_line(plan, show.seconds, self.runs.engine.number_format(plan.recipe.precision))
        return [show.reel.complete(), status, final_sheets(plan, show.reel), text.recipe_line(plan), KEEP]

    def _say(self, session: str | None, status: str) -> str:
        """A status, remembered for the moment the run is stopped."""
        self._said[session] = status
        return status

    def stop(self, request: gr.Request) -> str:
        """The status line after Stop; the run's own handler is cancelled, or ended, and cannot say it."""
        status = self._said.pop(request.session_hash, None)
        self.runs.end(request.session_hash)
        if status is None:
            return KEEP  # type: ignore[no-any-return]
        if not status.startswith("Step "):
            return "Stopped before the first step."
        return f"Stopped at {status.split(' · ')[0].lower()}. What was drawn stays."

    def leave(self, request: gr.Request) -> None:
        """Ends the runs of a page that was closed."""
        self._said.pop(request.session_hash, None)
        self.runs.end(request.session_hash)


def final_sheets(plan: Plan, reel: stage.Reel) -> tuple[Image.Image, Image.Image]:
    """The finished pictures of the two arms, each as one sheet with square pixels."""
    scale = enlargement(*plan.model.shape[1:])
    left, right = (contact_sheet(to_pixels(reel.finals[arm]), scale=scale) for arm in (0, 1))
    return left, right
