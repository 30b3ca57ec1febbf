"""What every request of the page is checked for before it is queued: room on the disk, and the visitor's share of the machine."""

import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from ddim_app.engine.limits import SERVER
from ddim_app.errors import FieldError
from ddim_app.ui.controls import Verdicts
from ddim_app.ui.hosting.gradio_patches import (
    EventQueue,
    keep_to_uploads,
    remember_config,
    tell_of_failures,
    wrap_server_functions,
    wrap_validators,
)
from ddim_app.ui.hosting.server import log
from ddim_app.ui.page_runs import PageRuns

PROBE_BYTES = 65_536


def check_room(folder: Path) -> None:
    """Raises FieldError when the folder of pictures cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        log.error("the folder for pictures cannot be written to: %s", error)
        raise FieldError(SERVER, "has no room left for pictures: try again later, or tell whoever runs it") from error


def guard(demo: gr.Blocks, runs: PageRuns) -> None:
    """Counts every refusal of the page's validators, and refuses a visitor who has too much under way before the queue does."""
    tell_of_failures()
    wrap_validators(demo, lambda validator: _judged(validator, demo, runs))
    wrap_server_functions(demo, lambda function: _counted(function, runs))
    for block in demo.blocks.values():
        remember_config(block)
        if isinstance(block, gr.components.Component):
            keep_to_uploads(block)


def _judged(validator: Callable[..., Verdicts], demo: gr.Blocks, runs: PageRuns) -> Callable[..., list[dict[str, Any]]]:
    queue = EventQueue(demo)

    def judge(request: gr.Request, *values: Any) -> list[dict[str, Any]]:
        try:
            runs.engine.budget.check_share(_waiting(queue, runs, request) + runs.engine.visitors.runs(runs.visitor(request)))
            check_room(Path(demo.GRADIO_CACHE))
            if runs.engine.closing:
                raise FieldError(SERVER, "is about to be restarted, and takes no new runs: try again in a minute")
        except FieldError as error:
            runs.engine.request_log.refused(error.field)
            return [gr.validate(i > 0, str(error)) for i in range(len(values))]
        verdicts = validator(request, *values)
        if verdicts.refused is not None:
            runs.engine.request_log.refused(verdicts.refused)
        return list(verdicts)

    return judge


def _waiting(queue: EventQueue, runs: PageRuns, request: gr.Request) -> int:
    """Runs of the visitor's that wait in the queue."""
    name = runs.visitor(request).name
    return sum(runs.callers.of(event.session_hash, event.request).name == name for event in queue.events("device"))


def _counted(function: Callable[..., Any], runs: PageRuns) -> Callable[..., Any]:
    """A function that the page calls past the queue, counted as a run of its visitor's."""

    @wraps(function)
    def counted(request: gr.Request, *values: Any) -> Any:
        with runs.engine.visitors.counted(runs.callers.of(None, request)):
            return function(*values)

    counted.__annotations__ = {"request": gr.Request}
    return counted
