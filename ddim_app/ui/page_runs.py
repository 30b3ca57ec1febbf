"""Connects a page to the engine: passes the frames of a run to the page's async handler, and ends the run when the page goes."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ddim_app.engine import Engine, Finished
from ddim_app.engine.tickets import Ticket
from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.ui.hosting.visitors import VisitorNames
from ddim_app.ui.run_history import RunHistory

News = Plan | list[Any] | Finished | str
Tell = Callable[[object], None]
GONE = object()
"""Sent to a handler whose page was closed, or has started another run, to end it."""


@dataclass
class PageRuns:
    """The runs of all pages. When a page closes, reloads or drops its stream, no further network call is made for its run."""

    engine: Engine
    callers: VisitorNames = field(default_factory=VisitorNames)
    pages: dict[str | None, set[Tell]] = field(default_factory=dict)
    """Who listens for each page's runs."""
    run_history: RunHistory = field(default_factory=RunHistory)
    _reached: dict[str | None, tuple[int, int] | None] = field(default_factory=dict)
    """How far each page's run is, (steps done, steps in all), or None before its first step."""

    async def stream(self, recipe: BaseRecipe, request: gr.Request, *, alone: bool = False) -> AsyncGenerator[list[News], None]:
        """What has happened since the last time, in lists: sentences while a model loads, the Plan, frames, then Finished.

        A slow page gets several frames at once and never slows the loop. A run that is `alone` ends the page's others. The
        stream ends without Finished when the page has left. Raises gr.Error with a sentence when the run cannot start.
        """
        here, arrived = asyncio.get_running_loop(), asyncio.Queue[object]()

        def tell(item: object) -> None:
            here.call_soon_threadsafe(arrived.put_nowait, item)

        session = request.session_hash
        if alone:
            self.end(session)
        self.pages.setdefault(session, set()).add(tell)
        start = _RunStart(self.engine, recipe, tell, self.visitor(request))
        try:
            while True:
                items = [await arrived.get()]
                while not arrived.empty():
                    items.append(arrived.get_nowait())
                if GONE in items:
                    return
                wrong = next((item for item in items if isinstance(item, FieldError)), None)
                if wrong is not None:
                    raise gr.Error(str(wrong), print_exception=False)
                yield [item for item in items if isinstance(item, Plan | list | Finished | str)]
                if any(isinstance(item, Finished) for item in items):
                    return
        finally:  # end, error, Stop (CancelledError), closed page or dropped stream (GeneratorExit)
            start.give_up()
            listening = self.pages.get(session, set())
            listening.discard(tell)
            if not listening:
                self.pages.pop(session, None)

    def say(self, session: str | None, status: str | None, step: tuple[int, int] | None = None) -> str | None:
        """A page's status line; None when nothing runs any more.

        `step` is how far its run is, (steps done, steps in all), which is remembered for the moment that it is stopped.
        """
        if status is None:
            self._reached.pop(session, None)
        else:
            self._reached[session] = step
        return status

    def stop(self, request: gr.Request) -> Any:
        """The status line after Stop; the run's own handler is cancelled, or ended, and cannot say it."""
        runs = request.session_hash in self._reached
        step = self._reached.pop(request.session_hash, None)
        self.end(request.session_hash)
        if not runs:
            return gr.skip()
        if step is None:
            return "Stopped before the first step."
        return f"Stopped at step {step[0]} of {step[1]}. What was drawn stays."

    def visitor(self, request: gr.Request) -> str:
        """The visitor whose share of the machine a request counts towards."""
        return self.callers.name(request.session_hash, request)

    def arrive(self, request: gr.Request) -> None:
        """Notes a page that was opened."""
        self.callers.arrive(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """Ends the runs of a page that was closed."""
        self.callers.leave(request.session_hash)
        self._reached.pop(request.session_hash, None)
        self.end(request.session_hash)
        self.run_history.forget(request.session_hash)

    def end(self, session: str | None) -> None:
        """Ends the runs of a page."""
        for tell in self.pages.pop(session, set()):
            tell(GONE)


class _RunStart:
    """Starts a run on a thread of its own, since the model may have to be loaded first, or even downloaded."""

    def __init__(self, engine: Engine, recipe: BaseRecipe, tell: Tell, visitor: str) -> None:
        self._engine, self._recipe, self._tell, self._visitor = engine, recipe, tell, visitor
        self._ticket: Ticket | None = None
        self._given_up = False
        # With the handler's context, in which a host may keep whose request this is.
        threading.Thread(target=copy_context().run, args=(self._go,), name="start-run", daemon=True).start()

    def _go(self) -> None:
        finished = threading.Event()

        def emit(item: list[Any] | Finished) -> None:
            self._tell(item)
            if isinstance(item, Finished):
                finished.set()

        try:
            planned = self._engine.plan(self._recipe, self._tell)
            if self._given_up:
                return
            self._tell(planned)
            self._ticket = self._engine.start(planned, emit, self._visitor)
        except FieldError as error:
            self._engine.request_log.refused(error.field)
            self._tell(error)
        except Exception as error:  # a handler that waits for news must always hear of the end
            self._tell(Finished(self._recipe, f"The run could not start: {error}"))
        # Given up before there was a ticket: whoever sets its flag second sees the other's.
        if self._given_up:
            self.give_up()
        if self._ticket is not None:
            self._engine.drive(self._ticket, lambda: finished.is_set() or self._given_up)

    def give_up(self) -> None:
        self._given_up = True
        if self._ticket is not None:
            self._engine.stop(self._ticket)
