"""Input components that hand over what they were given.

Gradio's own would round 3.7, pass `true`, or answer "x" with a Python error. Here the recipe judges every value, for page
and API alike, so the components must not.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr
from gradio.components import Component

PRIVATE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Options of events that only move values about: not queued, not in the API."""

AnyComponent = TypeVar("AnyComponent", bound=Component)


def on_any(
    events: list[Any], handler: Callable[..., Any], inputs: list[Component], outputs: list[Component], *, at_once: bool = False
) -> None:
    """Calls `handler` after any of these events; while it is busy only the last one waits.

    One that is not called `at_once` waits, up to a second, until the page's other unqueued requests are answered. Gradio sends
    an event that had to wait to all its listeners anew: two of them that wait on one event wake each other without end as soon
    as the server takes its time. What comes after a listener is sent to one alone, hence the step between, which stays in the
    browser.
    """
    turn = "() => []" if at_once else "async () => { await window.idle?.(); return []; }"
    passed_on = gr.on(events, None, None, None, js=turn, **PRIVATE)
    passed_on.then(handler, inputs, outputs, trigger_mode="always_last", **PRIVATE)


def raw(component: AnyComponent) -> AnyComponent:
    """The component, its payloads passed on untouched.

    An attribute rather than a subclass: gradio writes a .pyi file beside the source of every component class it meets. A
    component that is changed by gr.update loses it, so those are kept out of such updates.
    """
    component.preprocess = lambda payload: payload  # type: ignore[method-assign]
    return component


def dial(label: str, name: str, value: float, slider_range: tuple[float, float], step: float, info: str) -> gr.Number:
    """A slider over the usual values beside a number field for any; the field is the truth, and is returned.

    The two follow each other in the browser, without the server.
    """
    low, high = slider_range
    with gr.Row(elem_classes="dial"):
        slider = gr.Slider(
            low, high, min(value, high), step=step, label=label, info=info, scale=4, min_width=120, buttons=[],
            elem_id=f"{name}-slider",
        )  # fmt: skip
        number = gr.Number(value, label=f"{label}, exact", scale=1, min_width=84, step=step, elem_id=name, elem_classes="exact")
    slider.input(None, slider, number, js="value => value", **PRIVATE)
    to_slider = f"value => value === null || Number.isNaN(value) ? {low} : Math.min({high}, Math.max({low}, value))"
    number.change(None, number, slider, js=to_slider, **PRIVATE)
    return raw(number)
