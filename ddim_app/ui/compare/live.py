"""Live: a setting of Compare answers while it is moved."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr

from ddim_app.engine import Finished
from ddim_app.errors import FieldError, whole
from ddim_app.lazy import Tensor
from ddim_app.runs.sampling import Frame, Recipe, SamplingPlan
from ddim_app.ui.assets import component_files
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.components import stage
from ddim_app.ui.fields import PRIVATE, only
from ddim_app.ui.hosting.gradio_patches import event_data
from ddim_app.ui.run_tab import KEEP, busy
from ddim_app.ui.run_view import RunView

LIVE_SECONDS = 2
"""A run that is thought to take longer waits for Run."""
MAX_SERIAL = 2**53


class Live:
    """The switch in the foot, and the runs behind it.

    The browser sends the next value when the first picture of the one before has arrived, the newest waits meanwhile, and only
    after a second it overtakes. Runs carry a serial number; a newer one ends the tab's older run on that page, and the browser
    drops what still comes of it.
    """

    def __init__(self, begin: dict[str, Any], is_live: bool = True) -> None:
        self._newest: dict[str | None, int] = {}
        """The serial of the newest value of each page."""
        about: dict[str, Any] = {"begin": list(begin.values()), "names": list(begin), "allowed": is_live}
        self.switch = only(
            gr.HTML({}, **about, **component_files("live"), apply_default_css=False, elem_id="live"), "compare", "interpolate"
        )

    def connect(self, tab: CompareTab, status: gr.HTML, follow: Any) -> None:
        """Runs what the switch asks for, and tells it of every change of the tab's settings."""
        self.tab = tab
        changes = [field.change for field in tab.inputs]  # type: ignore[attr-defined]
        told = "(...values) => { window.setting(values); return []; }"
        gr.on(changes, None, tab.inputs, None, js=told, **PRIVATE)
        event = self.switch.input(
            self.run, tab.inputs, [self.switch, status, *tab.outputs], show_progress="hidden", trigger_mode="multiple",
            api_visibility="private", concurrency_id="live", concurrency_limit=16,
        )  # fmt: skip
        follow(event, "await window.landed();")

    def forget(self, request: gr.Request) -> None:
        """Forgets a page that was closed."""
        self._newest.pop(request.session_hash, None)

    async def run(self, request: gr.Request, event: gr.EventData, *values: Any) -> AsyncGenerator[list[Any], None]:
        """The run of a setting: one picture of each arm first, then all with their steps; or why there is none."""
        tab, session = self.tab, request.session_hash
        nothing, serial = [KEEP] * len(tab.outputs), 0
        try:
            serial = whole("serial", event_data(event).get("serial"), 1, MAX_SERIAL)
            self._newest[session] = max(serial, self._newest.get(session, 0))
            if tab.runs.starting:
                yield [KEEP, busy(tab.runs.starting, live=True), *nothing]
                await tab.runs.begun()
            planned, _ = await asyncio.to_thread(tab.prepare, values)
            costly = self._too_costly(planned)
        except FieldError as error:
            tab.runs.engine.request_log.refused(error.field)
            yield [{"serial": serial, "wrong": {error.field: tab.in_page_words(error)}}, *self._still(session)]
            return
        if self._newest.get(session) != serial:
            return
        spent = tab.runs.spent(request, planned) if costly is None else None
        if costly is not None or spent:
            yield [{"serial": serial, "costly": costly or 0}, *self._still(session, spent)]
            return
        tab.runs.reached((session, tab.name))
        yield [{"serial": serial}, busy("Starting", live=True), *nothing]
        if self._newest.get(session) != serial:  # a newer one has begun at this yield: going on would end its run in turn
            return
        show = RunView(planned, serial)
        if show.recipe.pictures > 1:
            try:
                first = await self._first_picture(show.recipe, request)
            except gr.Error as error:
                yield [{"serial": serial, "wrong": True}, tab.refused(error), *nothing]
                raise
            if first is None:  # Run was pressed, or Stop, or the page has left: nothing more of this one
                return
            if first:
                yield [KEEP, KEEP, stage.preview(show.recipe, first, serial), *nothing[1:]]
        if self._newest.get(session) == serial:
            async for shown in tab.streamed(show, request, live=True):
                yield [KEEP, *shown]

    def _still(self, session: str | None, spent: str | None = None) -> list[Any]:
        """Status line and outputs where nothing runs for the newest setting; `spent` is why the visitor may have no more."""
        place = (session, self.tab.name)
        self.tab.runs.end(place)
        self.tab.runs.ended(place)
        words = f"Live pauses, stored pictures go on: {spent}." if spent else ""
        return [words, *[KEEP] * len(self.tab.outputs)]

    def _too_costly(self, planned: Recipe | SamplingPlan) -> float | None:
        """Seconds of a run that is not made unasked; 0 where its model would be downloaded, or none is made here."""
        if isinstance(planned, Recipe) or not self.tab.runs.makes_unasked:
            return 0
        seconds = self.tab.runs.engine.seconds(planned)
        return seconds if seconds is not None and seconds > LIVE_SECONDS else None

    async def _first_picture(self, recipe: Recipe, request: gr.Request) -> list[Tensor] | None:
        """The finished first picture of each arm, (1, C, H, W); none where the run failed, None where it was ended."""
        finals: dict[int, Tensor] = {}
        is_through = False
        async with aclosing(
            self.tab.runs.stream(replace(recipe, pictures=1), request, self.tab.name, words=self.tab.in_page_words)
        ) as stream:
            async for news in stream:
                frames = [frame for item in news if isinstance(item, list) for frame in item]
                finals |= {frame.arm: frame.x_t for frame in frames if isinstance(frame, Frame) and frame.is_last}
                is_through |= any(isinstance(item, Finished) for item in news)
        if not is_through:
            return None
        return [finals[arm] for arm in range(len(recipe.arms))] if len(finals) == len(recipe.arms) else []
