"""What all tabs share whose Run streams a run of the engine to the page."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.runs.sampling import Frame
from ddim_app.ui import text
from ddim_app.ui.controls import Controls
from ddim_app.ui.page_runs import PageRuns

SECONDS_BETWEEN_UPDATES = 0.08
"""Frames that arrive faster than this reach the page together."""
KEEP: Any = gr.skip()


class RunView:
    """One run on its way to the page: what has arrived, and what is said of it."""

    def __init__(self, recipe: BaseRecipe, about: Any) -> None:
        self.recipe, self.about = recipe, about
        self.board: Any = None
        """What the tab collects of the run for its page; made with the plan."""
        self.plan: Any = None
        self.made: BaseRecipe | None = None
        self.error: str | None = None
        self.waiting: list[Any] = []
        self.newest: dict[int, Frame] = {}
        """The latest frame of each arm."""
        self.note = "Starting"
        self._began = self._shown = time.perf_counter()

    def take(self, item: object) -> None:
        if isinstance(item, str):
            self.note = item
        elif isinstance(item, Plan):
            self.plan, self._began = item, time.perf_counter()
        elif isinstance(item, list):
            self.waiting += item
            self.newest |= {frame.arm: frame for frame in item if isinstance(frame, Frame)}
        elif isinstance(item, Finished):
            self.made, self.error = item

    def due(self) -> bool:
        """Whether the page should be shown what waits."""
        return bool(self.waiting) and time.perf_counter() - self._shown > SECONDS_BETWEEN_UPDATES

    def pop(self) -> list[Any]:
        frames, self.waiting, self._shown = self.waiting, [], time.perf_counter()
        return frames

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began


class RunTab(ABC):
    """A tab: its components, made as it is, and the handler behind its Run button.

    The first of the handler's outputs is the status line; the others are the tab's own.
    """

    title: str
    """What stands on the tab."""
    name: str
    """Its id, and the end of its Run button's, `run-NAME`."""
    go = "Run"
    """What stands on its Run button."""
    place: gr.Tab
    """The tab's place on the page; known once the page is built."""
    inputs: list[Component]
    """The settings column's fields, then the tab's own."""
    outputs: list[Component]
    more_fields: tuple[str, ...] = ()
    """Names of the tab's own inputs, for messages on them."""

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        self.runs, self.settings = runs, settings
        self.also: list[Any] = []
        """Other events after which a run is to start."""

    def connect(self, demo: gr.Blocks) -> None:  # noqa: B027  (most tabs need nothing)
        """Adds the events that need the whole page."""

    def check(self, values: tuple[Any, ...]) -> None:
        """Raises FieldError when the tab could not run with these values, as far as the model is at hand."""
        recipe, _ = self.recipe_of(values)
        if all(map(self.runs.engine.is_here, recipe.models)):
            self.runs.engine.plan(recipe)

    @abstractmethod
    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Any, Any]:
        """The recipe of the raw values of the tab's inputs, and what else its board wants to know; raises FieldError."""

    def values_of(self, recipe: BaseRecipe) -> list[Any] | None:
        """What the tab's inputs have to be for this recipe; None when nothing makes them say it."""
        return None

    @abstractmethod
    def board(self, plan: Any, about: Any) -> Any:
        """What collects the run's frames for the page."""

    @abstractmethod
    def before(self, recipe: Any) -> list[Any]:
        """The tab's outputs as the run begins."""

    @abstractmethod
    def update(self, board: Any, plan: Any, frames: list[Any]) -> list[Any]:
        """The tab's outputs with new frames."""

    @abstractmethod
    def last(self, board: Any, plan: Any, frames: list[Any], error: str | None) -> list[Any]:
        """The tab's outputs with the last frames, of a run that is through or, with an error, had to end."""

    async def run(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        """Streams a run to the page."""
        session = request.session_hash
        try:
            show = RunView(*await asyncio.to_thread(self.recipe_of, values))
        except FieldError as error:
            raise gr.Error(str(error), print_exception=False) from error
        yield [self.runs.say(session, show.note), *self.before(show.recipe)]
        try:
            async with aclosing(self.runs.stream(show.recipe, request, alone=True)) as stream:
                async for news in stream:
                    for item in news:
                        show.take(item)
                    if show.plan is not None and show.board is None:
                        show.board = self.board(show.plan, show.about)
                    if show.plan is None:
                        yield [self.runs.say(session, show.note), *self._nothing(show)]
                    elif show.due():
                        frames = show.pop()
                        shown = await asyncio.to_thread(self.update, show.board, show.plan, frames)
                        if session not in self.runs.pages:  # stopped meanwhile: nothing may overwrite what Stop has said
                            return
                        done = getattr(frames[-1], "round", frames[-1].k) + 1
                        line = text.progress_line(show.plan, done, show.seconds)
                        yield [self.runs.say(session, line, (done, show.plan.transitions)), *shown]
        except gr.Error:
            self.runs.say(session, None)
            raise
        finally:
            if show.made is None and show.plan is not None and self.runs.callers.is_open(session):  # stopped
                self.runs.run_history.add(session, show.plan, show.newest, finished=False)
        if show.made is None:  # the page has left, or has started another run
            return
        # Not in a `finally`: a run that is stopped leaves its status to the handler of Stop, which may come later.
        self.runs.say(session, None)
        if show.plan is not None:
            yield await self._ending(session, show, replace(show.plan, recipe=show.made))
        if show.error:
            raise gr.Error(show.error, print_exception=False)

    async def _ending(self, session: str | None, show: RunView, plan: Any) -> list[Any]:
        """What the page is told last of a run, whose plan has the recipe as made; the run goes into the page's history."""
        self.runs.run_history.add(session, plan, show.newest, finished=show.error is None)
        asked = show.recipe.backend
        status = show.error or text.done_line(plan, show.seconds, self.runs.engine.made_with(plan, asked))
        return [status, *await asyncio.to_thread(self.last, show.board, plan, show.pop(), show.error)]

    def _nothing(self, show: RunView) -> list[Any]:
        return [KEEP] * len(self.before(show.recipe))
