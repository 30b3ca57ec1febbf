"""What all tabs share whose Run streams a run of the engine to the page."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.ui import text
from ddim_app.ui.controls import Controls
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_view import STARTING, RunView

KEEP: Any = gr.skip()
UNASKED_SECONDS = 15
"""A run that is thought to take longer waits for Run when only a setting was moved."""
GOES = "goes => { if (!goes) throw 'waits for Run'; return []; }"
"""JavaScript behind which only what may go on goes on."""


def busy(words: str, part: float = 0, live: bool = False) -> dict[str, Any]:
    """A status line while a run goes on, `part` of which is done; a `live` one is only spoken of when it takes its time."""
    return {"words": words, "part": part, "live": live}


class RunTab(ABC):
    """A tab: its components, made as it is, and the handler behind its Run button.

    The first of the handler's outputs is the status line; the others are the tab's own.
    """

    title: str
    """What stands on the tab."""
    name: str
    """Its id, and the end of its Run button's, `run-NAME`."""
    headline: str
    sentence: str
    """What stands over the page while it is open: what is to be seen, and why it is so."""
    go = "Run"
    """What stands on its Run button."""
    place: gr.Tab
    """The tab's place on the page; known once the page is built."""
    inputs: list[Component]
    """The settings column's fields, then the tab's own."""
    outputs: list[Component]
    says_itself: tuple[str, ...] = ()
    """Names of fields whose refusals the run says itself, as a message of its own."""
    behind_words = "in the background"
    """Where the evaluations are made that Live adds to a run."""
    more_fields: tuple[str, ...] = ()
    """Names of the tab's own inputs, for messages on them."""
    second_field = "second_model"
    """Name of the input that a recipe has its other model from."""
    told = ""
    """JavaScript that is told of the `values` of a run as it is asked for."""

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        self.runs, self.settings = runs, settings.of(self.name)
        self.also: list[Any] = []
        """Other events after which a run is to start."""
        self.unasked: list[Any] = []
        """Events after which `run_unasked` is to start."""

    def connect(self, demo: gr.Blocks) -> None:  # noqa: B027  (most tabs need nothing)
        """Adds the events that need the whole page."""

    def prepare(self, values: tuple[Any, ...]) -> Any:
        """(the plan of these values, or their recipe while a model is still to be downloaded; what the board wants to know).

        Raises FieldError when the tab could not run with them.
        """
        recipe, about = self.recipe_of(values)
        return self.runs.planned(recipe, self.second_field), about

    def cost_line(self, *values: Any) -> Any:
        """What a run takes, or which field is wrong, with its sentence."""
        engine = self.runs.engine
        try:
            recipe, _ = self.recipe_of(values)
            for i, name in enumerate(recipe.models):
                if refusal := engine.refusal(name):
                    raise FieldError(self.second_field, refusal.reason) if i else refusal
            if away := self.runs.away(recipe):
                return text.LOADED if all(map(engine.catalogue.is_fetched, away)) else text.DOWNLOADED
            plan: Any = self.runs.planned(recipe, self.second_field)
        except FieldError as error:
            return {"wrong": self.wrong(values, error)}
        if self.stored(plan):
            return f"{self.ends_words(plan)}stored: {plan.evaluations:,} evaluations"
        seconds, gpu = engine.seconds(plan), engine.gpu_seconds(plan)
        return self.ends_words(plan) + text.cost_line(
            plan, engine.calls(plan), seconds, self.behind(recipe), gpu, self.behind_words
        )

    def wrong(self, values: tuple[Any, ...], error: FieldError) -> dict[str, str]:
        """What is said of every wrong field, by its name; `error` is why these values were refused.

        A value that is refused is taken as the page begins with it, and what is left is judged again; without its model none is.
        """
        said, judged, names = {error.field: self.in_page_words(error)}, list(values), [*self.settings.fields, *self.more_fields]
        while error.field in names[1 : len(judged)]:
            place = names.index(error.field)
            judged[place] = self.inputs[place].value
            try:
                self.prepare(tuple(judged))
                break
            except FieldError as another:
                if another.field in said:
                    break
                said[another.field], error = self.in_page_words(another), another
        return said

    def in_page_words(self, error: FieldError) -> str:
        """The sentence of an error with the name that its field has on the page."""
        field = self.named_inputs.get(error.field)
        return f"{field.label or error.field} {error.reason}" if field else str(error)

    def refused(self, error: gr.Error) -> Any:
        """A status line that says why a run could not start, and marks the field that it is about."""
        cause = error.__cause__
        if not isinstance(cause, FieldError):
            return error.message
        return {"words": self.in_page_words(cause), "wrong": {cause.field: self.in_page_words(cause)}}

    @property
    def named_inputs(self) -> dict[str, Any]:
        """The inputs by the names of their fields."""
        return dict(zip([*self.settings.fields, *self.more_fields], self.inputs, strict=False))

    @property
    def elem_ids(self) -> dict[str, str]:
        """Where on the page each field is."""
        return {name: field.elem_id for name, field in self.named_inputs.items() if field.elem_id}

    def ends_words(self, plan: Any) -> str:
        """What is said before the cost."""
        return ""

    def behind(self, recipe: Any) -> int:
        """Evaluations that Live adds to a run."""
        return 0

    @abstractmethod
    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Any, Any]:
        """The recipe of the raw values of the tab's inputs, and what else its board wants to know; raises FieldError."""

    @property
    def restored_to(self) -> list[Component]:
        """What a recipe sets: the inputs, and what else shows one of them."""
        return self.inputs

    def values_of(self, recipe: BaseRecipe) -> list[Any] | None:
        """What `restored_to` has to be for this recipe; None when nothing makes it say it."""
        return None

    def stored_recipe(self, settings: Any = None) -> BaseRecipe | None:
        """The recipe of what it shows before it has run anything, or of stored pictures of these settings; None of neither."""
        return None

    def anchor(self, chapter: Any) -> str:
        """What a link to the open chapter ends with; nothing where the links are those of runs."""
        return ""

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

    def early(self, board: Any, newest: dict[int, Any]) -> list[Any]:
        """The outputs that show what each arm of a live run has come to, before all of it is made ready."""
        return self._nothing()

    async def run(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        """Streams a run to the page."""
        if self.runs.starting:
            yield [busy(self.runs.starting), *self._nothing()]
        show = RunView(*await self.runs.prepared(request, self.name, values, self.prepare, self.in_page_words))
        if stored := self.answered(show.run, request):
            yield stored
            return
        async for shown in self.streamed(show, request):
            yield shown

    def stored(self, plan: Any) -> list[Any] | None:
        """The tab's outputs of a run whose pictures are stored; None where it has to be made."""
        return None

    def answered(self, run: Any, request: gr.Request) -> list[Any] | None:
        """Status line and outputs of a run that takes no evaluation, in the place of one that is under way; None of any other."""
        stored = self.stored(run) if isinstance(run, Plan) else None
        if stored is None:
            return None
        place = (request.session_hash, self.name)
        self.runs.end(place)
        self.runs.ended(place)
        made = run.recipe.made({model.name: model.sha256 for model in run.models})
        self.runs.run_history.choose(request.session_hash, made, self.title)
        return [text.FROM_STORE, *stored]

    def run_unasked(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        """Streams a run that nobody has pressed Run for."""
        return self.run(request, *values)

    def is_quick(self, values: tuple[Any, ...]) -> bool:
        """Whether a run of these values does not take long; one that cannot be, or needs a download first, is none."""
        try:
            plan, _ = self.prepare(values)
        except FieldError:  # said on its field
            return False
        return isinstance(plan, Plan) and (self.runs.engine.seconds(plan) or 0) <= UNASKED_SECONDS

    async def streamed(self, show: RunView, request: gr.Request, *, live: bool = False) -> AsyncGenerator[list[Any], None]:
        """Status line and outputs as the run goes on; of a `live` one, which has said that it starts, they come at its end."""
        self.runs.reached(place := (request.session_hash, self.name))
        if not live:
            yield [busy(show.note), *self.before(show.recipe)]
        try:
            async with aclosing(self.runs.stream(show.run, request, self.name, words=self.in_page_words)) as stream:
                async for news in stream:
                    show.take(news)
                    if show.plan is not None and show.board is None:
                        show.board = self.board(show.plan, show.about)
                        if show.note != STARTING:  # its model was fetched, and the words are about that still
                            yield [busy(text.first_step_line(show.plan), live=live), *self._nothing()]
                    if show.plan is None:
                        yield [busy(show.note, live=live), *self._nothing()]
                    elif show.due(live):
                        step = show.at()
                        shown = self._nothing() if live else await asyncio.to_thread(self.update, show.board, show.plan, show.pop())
                        if place not in self.runs.places:  # stopped meanwhile: nothing may overwrite what Stop has said
                            return
                        self.runs.reached(place, (step, show.plan.transitions))
                        yield [busy(show.line(step), step / show.plan.transitions, live), *shown]
        except gr.Error as error:
            self.runs.ended(place)
            yield [self.refused(error), *self._nothing()]
            raise
        finally:
            if show.made is None and show.plan is not None and not live and self.runs.callers.is_open(place[0]):  # stopped
                self.runs.run_history.add(place[0], show.plan, show.newest, finished=False, tab=self.title)
        if show.made is None:  # the page has left, or has started another run
            return
        # Not in a `finally`: a run that is stopped leaves its status to the handler of Stop, which may come later.
        self.runs.ended(place)
        if show.plan is not None:
            if live and not show.error:
                yield [KEEP, *await asyncio.to_thread(self.early, show.board, show.newest)]
            yield await self._ending(place[0], show, replace(show.plan, recipe=show.made), live)
        if show.error:
            raise gr.Error(show.error, print_exception=False)

    def stop(self, request: gr.Request) -> Any:
        """Ends the tab's run on this page; what its status line says then."""
        return self.runs.stop((request.session_hash, self.name))

    async def _ending(self, session: str | None, show: RunView, plan: Any, live: bool) -> list[Any]:
        """What the page is told last of a run, whose plan has the recipe as made; the run goes into the page's history."""
        self.runs.run_history.add(session, plan, show.newest, finished=show.error is None, live=live, tab=self.title)
        asked = show.recipe.backend
        status = show.error or text.done_line(plan, show.seconds, self.runs.engine.made_with(plan, asked))
        return [status, *await asyncio.to_thread(self.last, show.board, plan, show.pop(), show.error)]

    def _nothing(self) -> list[Any]:
        return [KEEP] * len(self.outputs)
