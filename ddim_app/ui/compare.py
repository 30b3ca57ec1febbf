"""The Compare tab: DDIM(eta) and DDPM side by side from the same noise."""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr
from PIL import Image

from ddim_app import recipe as recipes
from ddim_app.engine import Frame, Plan
from ddim_app.images import contact_sheet, enlargement, to_pixels
from ddim_app.recipe import FieldError
from ddim_app.ui import stage, text
from ddim_app.ui.runs import Runs
from ddim_app.ui.settings import Settings, checked

SECONDS_BETWEEN_UPDATES = 0.08
"""Frames that arrive faster than this reach the page together."""

EXAMPLES: dict[str, tuple[int, float]] = {
    "10 steps: DDIM clean, DDPM not yet": (10, 0.0),
    "eta 1: DDIM is DDPM": (25, 1.0),
    "eta 0.5: between": (25, 0.5),
    "Same seed, 5 steps": (5, 0.0),
    "20 steps": (20, 0.0),
    "50 steps": (50, 0.0),
}
"""Steps and eta of the runs that start in one click."""


class CompareTab:
    """The tab's components, and the handler behind Run."""

    def __init__(self, runs: Runs, settings: Settings, status: gr.HTML) -> None:
        self.runs, self._settings = runs, settings
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
        try:
            recipe = checked(self.runs.engine, recipes.compare, self._settings.named(values))
        except FieldError as error:
            raise gr.Error(str(error), print_exception=False) from error
        engine, session = self.runs.engine, request.session_hash
        reel: stage.Reel | None = None
        waiting: list[Frame] = []
        began = shown = time.perf_counter()
        # Of the run before, only its pictures stay until the first new ones.
        yield [gr.skip(), self.runs.say(session, "Starting"), None, gr.skip(), recipe.seed]
        async with aclosing(self.runs.stream(recipe, request)) as stream:
            async for news in stream:
                for item in news:
                    if isinstance(item, str):
                        yield [gr.skip(), self.runs.say(session, item), *[gr.skip()] * 3]
                    elif isinstance(item, Plan):
                        plan, reel, began = item, stage.Reel(item, uuid.uuid4().hex), time.perf_counter()
                        yield [*[gr.skip()] * 3, text.recipe_line(recipe), gr.skip()]
                    elif isinstance(item, list):
                        waiting += item
                now = time.perf_counter()
                if reel and waiting and now - shown > SECONDS_BETWEEN_UPDATES:
                    status = text.progress_line(plan, waiting[-1].k + 1, now - began)
                    yield [reel.add(waiting), self.runs.say(session, status), *[gr.skip()] * 3]
                    waiting, shown = [], now
        if reel is None:
            return
        reel.add(waiting)
        status = text.done_line(plan, time.perf_counter() - began, engine.number_format(recipe.precision))
        yield [reel.complete(), self.runs.say(session, status), final_sheets(plan, reel), text.recipe_line(recipe), gr.skip()]


def final_sheets(plan: Plan, reel: stage.Reel) -> tuple[Image.Image, Image.Image]:
    """The finished pictures of the two arms, each as one sheet with square pixels."""
    scale = enlargement(*plan.model.shape[1:])
    left, right = (contact_sheet(to_pixels(reel.finals[arm]), scale=scale) for arm in (0, 1))
    return left, right
