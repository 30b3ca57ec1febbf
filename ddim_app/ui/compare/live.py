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
AT_ONCE_SECONDS = 0.3
"""A run that is thought to take less says nothing of its beginning."""
HELD_SECONDS = 0.1
"""How long a slider that is held has to rest until the steps of a run follow its pictures, and the others its first ones."""
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
        told = f"(...values) => {{ window.setting(values); {tab.marks} return []; }}"
        gr.on(changes, None, tab.inputs, None, js=told, **PRIVATE)
        event = self.switch.input(
            self.run, tab.inputs, [self.switch, status, *tab.outputs], show_progress="hidden", trigger_mode="multiple",
            api_visibility="private", concurrency_id="live", concurrency_limit=16,
        )  # fmt: skip
        follow(event, "await window.landed();")
        follow(self.switch.select(None, None, None, js="() => []", **PRIVATE))

    def forget(self, request: gr.Request) -> None:
        """Forgets a page that was closed."""
        self._newest.pop(request.session_hash, None)

    async def run(self, request: gr.Request, event: gr.EventData, *values: Any) -> AsyncGenerator[list[Any], None]:
        """The run of a setting: one picture of each arm first, then all with their steps; or why there is none."""
        tab, session, asked = self.tab, request.session_hash, event_data(event)
        serial = 0
        try:
            serial = whole("serial", asked.get("serial"), 1, MAX_SERIAL)
            self._newest[session] = max(serial, self._newest.get(session, 0))
            if tab.runs.starting:
                yield [KEEP, busy(tab.runs.starting, live=True), *[KEEP] * len(tab.outputs)]
                await tab.runs.begun()
            planned, _ = await asyncio.to_thread(tab.prepare, values)
            seconds = self._seconds(planned)
        except FieldError as error:
            tab.runs.engine.request_log.refused(error.field)
            yield [{"serial": serial, "wrong": {error.field: tab.in_page_words(error)}}, *self._still(session)]
            return
        if self._is_overtaken(session, serial):
            return
        is_costly = seconds is None or seconds > LIVE_SECONDS
        spent = None if is_costly else tab.runs.spent(request, planned)
        if is_costly or spent:
            yield [{"serial": serial, "costly": 0 if spent else seconds or 0}, *self._still(session, spent)]
            return
        tab.runs.reached((session, tab.name))
        if not seconds or seconds > AT_ONCE_SECONDS:  # each thing that is said costs the browser some 10 ms
            yield [{"serial": serial}, busy("Starting", live=True), *[KEEP] * len(tab.outputs)]
        async with aclosing(self._pictures(RunView(planned, serial), request, bool(asked.get("held")))) as stream:
            async for shown in stream:
                yield shown

    async def _pictures(self, show: RunView, request: gr.Request, is_held: bool) -> AsyncGenerator[list[Any], None]:
        """What the page is shown of a run, until a newer one has begun: going on would end that one in turn."""
        tab, session, serial = self.tab, request.session_hash, show.about
        if show.recipe.pictures > 1 and not self._is_overtaken(session, serial):
            try:
                first = await self._first_picture(show.recipe, request)
            except gr.Error as error:
                yield [{"serial": serial, "wrong": True}, tab.refused(error), *[KEEP] * len(tab.outputs)]
                raise
            if first is None:  # Run was pressed, or Stop, or the page has left: nothing more of this one
                return
            if first:
                yield [KEEP, KEEP, stage.preview(show.recipe, first, serial), *[KEEP] * (len(tab.outputs) - 1)]
                if is_held:  # the next setting is about to come, and would wait for a network call of all pictures of this one
                    await asyncio.sleep(HELD_SECONDS)
        if self._is_overtaken(session, serial):
            return
        async with aclosing(tab.streamed(show, request, live=True)) as stream:
            async for shown in stream:
                yield [KEEP, *shown]
                if show.made is not None and is_held:  # the pictures are there: while the slider goes on nobody needs their steps
                    is_held = False
                    await asyncio.sleep(HELD_SECONDS)
                    if self._is_overtaken(session, serial):
                        return

    def _is_overtaken(self, session: str | None, serial: int) -> bool:
        return self._newest.get(session) != serial

    def _still(self, session: str | None, spent: str | None = None) -> list[Any]:
        """Status line and outputs where nothing runs for the newest setting; `spent` is why the visitor may have no more."""
        place = (session, self.tab.name)
        self.tab.runs.end(place)
        self.tab.runs.ended(place)
        words = f"Live pauses, stored pictures go on: {spent}." if spent else ""
        return [words, *[KEEP] * len(self.tab.outputs)]

    def _seconds(self, planned: Recipe | SamplingPlan) -> float | None:
        """Seconds that a run is thought to take, 0 where nothing is known of it; None where its model would be downloaded, or
        none is made unasked here."""
        if isinstance(planned, Recipe) or not self.tab.runs.makes_unasked:
            return None
        return self.tab.runs.engine.seconds(planned) or 0

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
