"""How far a run of the API is, told now and then."""

import time
from typing import Any

from ddim_app.runs.base import Plan

EVERY_SECONDS = 0.2
"""Seconds between two progress events; each costs the server about as much as a small network call."""


class ProgressEvents:
    """Turns what a run reports into progress events that are far enough apart."""

    def __init__(self) -> None:
        self._steps = 0
        self._told = -EVERY_SECONDS

    def of(self, news: list[Any]) -> dict[str, int] | None:
        """The event to send after what `PageRuns.stream` yielded last, or None."""
        self._steps = next((item.transitions for item in news if isinstance(item, Plan)), self._steps)
        frames = [item for item in news if isinstance(item, list)]
        now = time.monotonic()
        if not frames or now - self._told < EVERY_SECONDS:
            return None
        self._told = now
        return {"step": frames[-1][-1].k + 1, "steps": self._steps}
