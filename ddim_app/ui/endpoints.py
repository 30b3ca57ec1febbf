"""What the API's endpoints share: texts of parameters, the check before the queue, and a run from raw values to its outcome."""

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import gradio as gr

from ddim_app.engine import Finished
from ddim_app.models.classes import ANY
from ddim_app.runs.base import BaseRecipe, Plan
from ddim_app.ui.controls import validator
from ddim_app.ui.fields import raw
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.progress import ProgressEvents

PARAMETERS = {
    "model": "name of a model of this app, or an id on the Hugging Face Hub",
    "steps": "transitions, 1 to the model's train timesteps",
    "eta": "DDIM's stochasticity, 0 to 2",
    "seed": "0 to 2^32 - 1; picture i has seed + i",
    "pictures": "how many, 1 to 16",
    "spacing": "leading, trailing, linspace, quadratic, quadratic-paper or log-snr",
    "variance": "DDPM's: small, large, or learned where the network has one; analytic, DDIM's too, where it is estimated",
    "clip": "what is done to the predicted picture: clip, off or dynamic",
    "precision": "fast, fp32 or fp64",
    "noise_seed": "names the step noise; empty: follows the seed",
    "branch": "another step noise for the same seeds",
    "bucket": "rows of every network call, as a finished recipe names it to make the same bits again; 0: whatever comes",
    "class_label": "a class of a model that has some, by its name or number, or none, the null class; empty or any: by the seed",
    "guidance": "of a class: 1 is the class alone, 0 none; above 1 two evaluations a step, up to 20",
}
"""The texts of parameters that mean the same in several endpoints."""


def class_fields(*names: str) -> dict[str, Any]:
    """The components of NO_CLASS, or of those that are named, in the API, where they are the last and may be left out."""
    fields = {"class_label": gr.Textbox(ANY, label="Class"), "guidance": gr.Number(1, label="Guidance w")}
    return {name: raw(fields[name]) for name in names or fields}


class Outcome(NamedTuple):
    """A run that has ended well."""

    plan: Any
    """Its plan, with the recipe as made."""
    result: Any
    """What it has come to, a type of its kind's own."""
    seconds: float


@dataclass(frozen=True)
class Endpoint:
    """One named endpoint: what it takes, and what it makes of a run."""

    name: str
    summary: str
    """Its first line in the API's description."""
    returns: str
    fields: Mapping[str, Any]
    """The component of each parameter, in the order of the API."""
    outputs: Sequence[Any]
    recipe_of: Callable[[dict[str, Any]], BaseRecipe]
    """The recipe of raw values by name; raises FieldError."""
    answer: Callable[[Outcome, dict[str, Any]], Any]
    """The outputs' values for the outcome of a run with these raw values."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Texts of the parameters that differ from PARAMETERS."""
    optional: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the parameters that may be left out."""

    def add(self, runs: PageRuns, button: gr.Button, queued: dict[str, Any]) -> None:
        """Puts the endpoint behind a button of the open Blocks. `queued` are the event options of all that uses the device."""

        judge = validator(runs, self.name, functools.partial(self._prepare, runs), list(self.fields))
        button.click(
            self._handler(runs), list(self.fields.values()), list(self.outputs), api_name=self.name,
            validator=judge, trigger_mode="multiple", **queued,
        )  # fmt: skip

    def _prepare(self, runs: PageRuns, values: tuple[Any, ...]) -> BaseRecipe | Plan:
        return runs.planned(self.recipe_of(dict(zip(self.fields, values, strict=True))))

    def _handler(self, runs: PageRuns) -> Callable[..., AsyncGenerator[Any, None]]:
        """The event's function, with the signature and the docstring that gradio describes the endpoint by."""

        async def handler(request: gr.Request, *values: Any) -> AsyncGenerator[Any, None]:
            named = dict(zip(self.fields, values, strict=True))
            run = await runs.prepared(request, self.name, values, functools.partial(self._prepare, runs))
            async for item in outcome(runs, run, request):
                yield await asyncio.to_thread(self.answer, item, named) if isinstance(item, Outcome) else self._waiting(item)

        kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
        names = [inspect.Parameter(name, kind, default=self.optional.get(name, empty)) for name in self.fields]
        handler.__signature__ = inspect.Signature([inspect.Parameter("request", kind), *names])  # type: ignore[attr-defined]
        handler.__annotations__ = {"request": gr.Request}
        handler.__name__ = self.name
        texts = [f"    {name}: {self.parameters.get(name, PARAMETERS.get(name))}" for name in self.fields]
        handler.__doc__ = "\n".join([self.summary, "", "Args:", *texts, "", "Returns:", f"    {self.returns}"])
        return handler

    def _waiting(self, progress: dict[str, int]) -> Any:
        """The outputs while a run goes on: no pictures, no file, and the progress as the summary, which is the last."""
        blanks: list[Any] = [[] if isinstance(output, gr.Gallery) else None for output in self.outputs[:-1]]
        return (*blanks, progress) if blanks else progress


async def outcome(runs: PageRuns, run: BaseRecipe | Plan, request: gr.Request) -> AsyncGenerator[dict[str, int] | Outcome, None]:
    """Progress now and then, then the Outcome; nothing more when the caller has left. Raises gr.Error with the run's sentence."""
    began, progress = time.perf_counter(), ProgressEvents()
    plan, collector, finished = None, None, None
    async with aclosing(runs.stream(run, request)) as stream:
        async for news in stream:
            for item in news:
                if isinstance(item, Plan):
                    plan, collector = item, item.collector()
                elif isinstance(item, Finished):
                    finished = item
                elif isinstance(item, list) and collector is not None:
                    for event in item:
                        collector.add(event)
            if step := progress.of(news):
                yield step
    if finished is None:
        return
    if finished.error or plan is None or collector is None:
        raise gr.Error(finished.error or "The run ended without a result.", print_exception=False)
    yield Outcome(replace(plan, recipe=finished.recipe), collector.result, time.perf_counter() - began)
