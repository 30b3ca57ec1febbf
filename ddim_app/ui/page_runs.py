"""Connects a page to the engine: passes the frames of a run to the page's async handler, and ends the run when the page goes."""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ddim_app.engine import Engine, Finished, RunHandle
from ddim_app.engine.limits import Visitor
from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.ui.hosting.visitors import VisitorNames
from ddim_app.ui.run_history import RunHistory

MOST_PREPARED = 64
News = Plan | list[Any] | Finished | str
Tell = Callable[[object], None]
Words = Callable[[FieldError], str]
"""What is said of an error: with the API's name of its field, or with the page's."""
Place = tuple[str | None, str]
"""Where a run is shown: the page, by its session, and the tab; "" for callers of the API."""
GONE = object()
"""Sent to a handler whose page was closed, or whose tab has started another run, to end it."""


@dataclass
class PageRuns:
    """The runs of all pages. When a page closes, reloads or drops its stream, no further network call is made for its run."""

    engine: Engine
    callers: VisitorNames = field(default_factory=VisitorNames)
    is_live: bool = True
    """Whether the host lets pages run what nobody has pressed Run for."""
    is_classroom: bool = False
    """Whether the visitors are a class, for which nothing is made in the background."""
    set_bytes: int = 0
    """Bytes of disk for stored sets of models other than the bundled one."""
    places: dict[Place, set[Tell]] = field(default_factory=dict)
    """Who listens for the runs of each place."""
    run_history: RunHistory = field(default_factory=RunHistory)
    _prepared: OrderedDict[tuple[str | None, str], tuple[tuple[Any, ...], Any]] = field(default_factory=OrderedDict)
    _reached: dict[Place, tuple[int, int] | None] = field(default_factory=dict)
    """How far each place's run is, (steps done, steps in all), or None before its first step."""

    def prepare(self, request: gr.Request, name: str, values: tuple[Any, ...], made: Any) -> None:
        """Keeps what a check has made of raw values, for the handler `name` that is called with them next.

        Raises FieldError where the run of what was made is more than the visitor may have at the moment.
        """
        planned = made[0] if isinstance(made, tuple) else made
        if isinstance(planned, Plan):
            self.engine.visitors.check(self.visitor(request), self.engine.cost(planned))
        self._prepared[request.session_hash, name] = values, made
        while len(self._prepared) > MOST_PREPARED:
            self._prepared.popitem(last=False)

    @property
    def starting(self) -> str:
        """What is said of a run that has to wait until the server has imported torch; nothing afterwards."""
        return "Starting: loading PyTorch" if self.engine.is_starting else ""

    async def begun(self) -> None:
        """Waits until runs can be made."""
        while self.starting:
            await asyncio.sleep(0.1)

    async def prepared(
        self, request: gr.Request, name: str, values: tuple[Any, ...], prepare: Callable[..., Any], words: Words = str
    ) -> Any:
        """What was made of these values for this handler, or else what `prepare` makes of them; raises gr.Error."""
        await self.begun()
        known, made = self._prepared.pop((request.session_hash, name), (None, None))
        if known == values:
            return made
        try:
            return await asyncio.to_thread(prepare, values)
        except FieldError as error:
            self.engine.request_log.refused(error.field)
            raise gr.Error(words(error), print_exception=False) from error

    @property
    def makes_unasked(self) -> bool:
        """Whether runs are made that nobody has pressed Run for; never where each has a GPU leased for it."""
        return self.is_live and self.engine.loop.threaded

    @property
    def fills_unasked(self) -> bool:
        """Whether what is made in the background, behind a run, begins by itself."""
        return self.makes_unasked and not self.is_classroom

    def spent(self, request: gr.Request, *plans: Plan) -> str | None:
        """Why a page may not have these runs, which nobody has pressed Run for, at the moment; None where it may."""
        try:
            self.engine.visitors.check(self.visitor(request), sum(map(self.engine.cost, plans)))
        except FieldError as error:
            return str(error)
        return None

    def planned(self, recipe: BaseRecipe, second: str = "second_model") -> BaseRecipe | Plan:
        """The recipe's plan; the recipe itself while a model has still to be downloaded.

        Raises FieldError, in which the field of a recipe's other model is called `second`, as on the page and in the API; what
        is wrong with the first one was found before there was a recipe.
        """
        if self.away(recipe):
            return recipe
        try:
            plan: Plan = self.engine.plan(recipe)
        except FieldError as error:
            if error.field == "decode_model" or (error.field == "model" and len(recipe.models) > 1):
                raise FieldError(second, error.reason) from error
            raise
        return plan

    def away(self, recipe: BaseRecipe) -> list[str]:
        """The models of a recipe that would have to be downloaded."""
        engine = self.engine
        return [name for name in recipe.models if not engine.is_here(name) and engine.catalogue.is_on_hub(name)]

    async def stream(
        self, run: BaseRecipe | Plan, request: gr.Request, tab: str = "", *, background: bool = False, words: Words = str
    ) -> AsyncGenerator[list[News], None]:
        """What has happened since the last time, in lists: sentences while a model loads, the Plan, frames, then Finished.

        A slow page gets several frames at once and never slows the loop. A run of a tab ends that tab's other one on its page.
        The stream ends without Finished when the page has left. Raises gr.Error with a sentence when the run cannot start.
        """
        here, arrived = asyncio.get_running_loop(), asyncio.Queue[object]()

        def tell(item: object) -> None:
            here.call_soon_threadsafe(arrived.put_nowait, item)

        place = (request.session_hash, tab)
        if tab:
            self.end(place)
        self.places.setdefault(place, set()).add(tell)
        start = _RunReader(self.engine, run, tell, self.visitor(request), background)
        try:
            while True:
                items = [await arrived.get()]
                while not arrived.empty():
                    items.append(arrived.get_nowait())
                if GONE in items:
                    return
                wrong = next((item for item in items if isinstance(item, FieldError)), None)
                if wrong is not None:
                    raise gr.Error(words(wrong), print_exception=False) from wrong
                yield [item for item in items if isinstance(item, Plan | list | Finished | str)]
                if any(isinstance(item, Finished) for item in items):
                    return
        finally:  # end, error, Stop (CancelledError), closed page or dropped stream (GeneratorExit)
            start.give_up()
            listening = self.places.get(place, set())
            listening.discard(tell)
            if not listening:
                self.places.pop(place, None)

    def reached(self, place: Place, step: tuple[int, int] | None = None) -> None:
        """Remembers how far a place's run is, (steps done, steps in all), for the moment that it is stopped."""
        self._reached[place] = step

    def ended(self, place: Place) -> None:
        """Forgets how far a place's run was: it is over."""
        self._reached.pop(place, None)

    def stop(self, place: Place) -> Any:
        """The status line after Stop; the run's own handler is cancelled, or ended, and cannot say it."""
        runs = place in self._reached
        step = self._reached.pop(place, None)
        self.end(place)
        if not runs:
            return gr.skip()
        if step is None:
            return "Stopped before the first step."
        return f"Stopped at step {step[0]} of {step[1]}. What was drawn stays."

    def visitor(self, request: gr.Request) -> Visitor:
        """The visitor whose share of the machine a request counts towards."""
        return self.callers.of(request.session_hash, request)

    def arrive(self, request: gr.Request) -> None:
        """Notes a page that was opened."""
        self.callers.arrive(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """Ends the runs of a page that was closed."""
        self.callers.leave(request.session_hash)
        for place in [place for place in {*self._reached, *self.places} if place[0] == request.session_hash]:
            self.ended(place)
            self.end(place)
        self.run_history.forget(request.session_hash)

    def end(self, place: Place) -> None:
        """Ends the runs of a place."""
        for tell in self.places.pop(place, set()):
            tell(GONE)


class _RunReader:
    """Starts a run and reads it on a thread of its own, since the model may have to be loaded first, or even downloaded."""

    def __init__(self, engine: Engine, run: BaseRecipe | Plan, tell: Tell, visitor: Visitor, background: bool) -> None:
        self._engine, self._run, self._tell, self._visitor, self._background = engine, run, tell, visitor, background
        self._handle: RunHandle | None = None
        self._given_up = threading.Event()
        # With the handler's context, in which a host may keep whose request this is.
        threading.Thread(target=copy_context().run, args=(self._go,), name="read-run", daemon=True).start()

    def _go(self) -> None:
        try:
            planned = self._run if isinstance(self._run, Plan) else self._engine.plan(self._run, self._tell)
            if self._given_up.is_set():
                return
            self._tell(planned)
            self._handle = handle = self._engine.run(planned, self._visitor, self._background)
            # Given up before there was a handle: whoever sets its flag second sees the other's.
            if self._given_up.is_set():
                handle.stop()
            while (events := handle.read()) is not None:
                self._tell(events)
            if handle.recipe is not None:
                self._tell(Finished(handle.recipe, handle.error))
        except FieldError as error:
            self._engine.request_log.refused(error.field)
            self._tell(error)
        except Exception as error:  # a handler that waits for news must always hear of the end
            made = self._run.recipe if isinstance(self._run, Plan) else self._run
            self._tell(Finished(made, f"The run could not start: {error}"))

    def give_up(self) -> None:
        self._given_up.set()
        if self._handle is not None:
            self._handle.stop()
