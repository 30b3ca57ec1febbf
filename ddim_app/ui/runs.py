"""Runs seen from the page: frames of the engine's thread brought into an async handler that can be stopped at any moment."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import gradio as gr

from ddim_app.engine import Engine, Frame, Plan
from ddim_app.loop import End, Ticket
from ddim_app.recipe import FieldError, Recipe

News = Plan | list[Frame] | Recipe | str
Wake = Callable[[object], None]


@dataclass
class Runs:
    """The runs of all pages. A page that closes, reloads or drops its stream loses its rows at the next network call."""

    engine: Engine
    _pages: dict[str | None, set[Wake]] = field(default_factory=dict)
    _said: dict[str | None, str] = field(default_factory=dict)

    async def stream(self, recipe: Recipe, request: gr.Request) -> AsyncGenerator[list[News], None]:
        """What has happened since the last time, in lists: sentences while a model loads, the Plan, then frames, at
        the end the recipe that makes the pictures again.

        A slow page gets several frames at once and never slows the loop. Raises gr.Error with a sentence when the run cannot
        start or has to end.
        """
        here, arrived = asyncio.get_running_loop(), asyncio.Queue[object]()

        def emit(item: object) -> None:
            here.call_soon_threadsafe(arrived.put_nowait, item)

        session = request.session_hash
        self._pages.setdefault(session, set()).add(emit)
        start = _Start(self.engine, recipe, emit)
        try:
            ended = False
            while not ended:
                items = [await arrived.get()]
                while not arrived.empty():
                    items.append(arrived.get_nowait())
                news: list[News] = [item for item in items if isinstance(item, Plan | list | str)]
                if End() in items and start.ticket is not None:
                    news.append(self.engine.made(recipe, start.ticket))
                if news:
                    yield news
                for item in items:
                    if isinstance(item, FieldError) or (isinstance(item, End) and item.error):
                        raise gr.Error(str(item) if isinstance(item, FieldError) else str(item.error), print_exception=False)
                    ended = ended or isinstance(item, End)
        finally:  # end, error, Stop (CancelledError), closed page or dropped stream (GeneratorExit)
            start.give_up()
            wakes = self._pages.get(session, set())
            wakes.discard(emit)
            if not wakes:
                self._pages.pop(session, None)

    def say(self, session: str | None, status: str) -> str:
        """The status line of a page's run, remembered for the moment it is stopped."""
        self._said[session] = status
        return status

    def stopped(self, request: gr.Request) -> str:
        """The status line after Stop; the handler itself is cancelled and cannot say it."""
        status = self._said.pop(request.session_hash, "")
        if not status.startswith("Step "):
            return "Stopped before the first step." if status == "Starting" else status
        return f"Stopped at {status.split(' · ')[0].lower()}. What was drawn stays."

    def close_page(self, request: gr.Request) -> None:
        """Ends the runs of a page that was closed; gradio calls it for `demo.unload`."""
        for wake in list(self._pages.get(request.session_hash, ())):
            wake(End())
        self._said.pop(request.session_hash, None)


class _Start:
    """Starts a run on a thread of its own, since the model may have to be loaded first, or even downloaded."""

    def __init__(self, engine: Engine, recipe: Recipe, emit: Wake) -> None:
        self._engine, self._recipe, self._emit = engine, recipe, emit
        self.ticket: Ticket | None = None
        self._given_up = False
        threading.Thread(target=self._go, name="start-run", daemon=True).start()

    def _go(self) -> None:
        try:
            self._engine.model(self._recipe.model, self._emit)
            self._emit(self._engine.plan(self._recipe))
            self.ticket = self._engine.start(self._recipe, self._emit)
        except FieldError as error:
            self._emit(error)
        except Exception as error:  # a handler that waits for news must always hear of the end
            self._emit(End(f"The run could not start: {error}"))
        # Given up before there was a ticket: whoever sets its flag second sees the other's.
        if self._given_up:
            self.give_up()

    def give_up(self) -> None:
        self._given_up = True
        if self.ticket is not None:
            self._engine.stop(self.ticket)
