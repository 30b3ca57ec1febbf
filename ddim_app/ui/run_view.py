"""What a tab's page is told of a run while it goes on."""

import time
from typing import Any

from ddim_app.engine import Finished
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.ui.run_history import Drawn
from ddim_app.ui.text import progress_line

SECONDS_BETWEEN_UPDATES = 0.15
"""Frames that arrive faster than this reach the page together."""
SECONDS_BETWEEN_LINES = 0.3
"""A live run says no more often how far it is: its pictures come at its end."""
STARTING = "Starting"


class RunView:
    """One run on its way to the page: what has arrived, and what is said of it."""

    def __init__(self, run: BaseRecipe | Plan, about: Any) -> None:
        self.run, self.about = run, about
        self.recipe: Any = run.recipe if isinstance(run, Plan) else run
        self.board: Any = None
        """What the tab collects of the run for its page; made with the plan."""
        self.plan: Any = None
        self.made: BaseRecipe | None = None
        self.error: str | None = None
        self.waiting: list[Any] = []
        self.newest: dict[int, Drawn] = {}
        """The latest that each arm has drawn."""
        self.note = STARTING
        self._began = self._shown = time.perf_counter()

    def take(self, news: list[Any]) -> None:
        for item in news:
            if isinstance(item, str):
                self.note = item
            elif isinstance(item, Plan):
                self.plan, self._began = item, time.perf_counter()
            elif isinstance(item, list):
                self.waiting += item
                self.newest |= {frame.arm: frame for frame in item if isinstance(frame, Drawn)}
            elif isinstance(item, Finished):
                self.made, self.error = item

    def line(self, step: int) -> str:
        """What is said of a run that has come so far."""
        return progress_line(self.plan, step, self.seconds)

    def due(self, live: bool = False) -> bool:
        """Whether the page should be shown what waits."""
        between = SECONDS_BETWEEN_LINES if live else SECONDS_BETWEEN_UPDATES
        return bool(self.waiting) and time.perf_counter() - self._shown > between

    def at(self) -> int:
        """The step that is shown next, counted from 1."""
        frame, self._shown = self.waiting[-1], time.perf_counter()
        return int(getattr(frame, "round", frame.k)) + 1

    def pop(self) -> list[Any]:
        frames, self.waiting, self._shown = self.waiting, [], time.perf_counter()
        return frames

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began
