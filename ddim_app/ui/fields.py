"""Input components that hand over what they were given.

Gradio's own would round 3.7, pass `true`, or answer "x" with a Python error. Here the recipe judges every value, for page
and API alike, so the components must not.
"""

import html
import json
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr
from gradio.components import Component

from ddim_app.ui.assets import component_files
from ddim_app.ui.hosting.gradio_patches import raw as raw

PRIVATE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Options of events that only move values about: not queued, not in the API."""

HERE = "if ('{0}' !== (document.body.dataset.tab ?? '{0}')) throw 'closed';"
"""JavaScript that lets an event go on only while that tab is open: what it throws ends the event without a word."""


AnyComponent = TypeVar("AnyComponent", bound=Component)


def on_any(
    events: list[Any],
    handler: Callable[..., Any],
    inputs: list[Component],
    outputs: list[Component],
    *,
    at_once: bool = False,
    tab: str = "",
) -> None:
    """Calls `handler` after any of these events, while `tab` is open if one is named; while it is busy only the last one waits.

    One that is not called `at_once` waits until nobody drags a slider any more, and then, up to a second, until the page's other
    unqueued requests are answered. Gradio sends an event that had to wait to all its listeners anew: two of them that wait on
    one event wake each other without end as soon as the server takes its time. What comes after a listener is sent to one
    alone, hence the step between, which stays in the browser; where it throws, nothing comes after it.
    """
    wait = "" if at_once else "while (window.dragging) await new Promise(next => setTimeout(next, 50)); await window.idle?.();"
    here = HERE.format(tab) if tab else ""
    passed_on = gr.on(events, None, None, None, js=f"async () => {{ {here} {wait} return []; }}", **PRIVATE)
    passed_on.then(handler, inputs, outputs, trigger_mode="always_last", **PRIVATE)


def pressed() -> gr.Textbox:
    """An input for what was pressed last in a component of ours, which the listener's `js` puts there.

    Where a press has to wait until the one before is answered, Gradio sends the data of the event before once more.
    """
    return raw(gr.Textbox(visible=False))


def dial(
    label: str, name: str, value: float, slider_range: tuple[float, float], step: float, about: str = "", **looks: Any
) -> gr.HTML:
    """A slider over the usual values with a field for any, as one component; its value is the field's number, None when empty.

    `looks`: `marks`, at which it stops while it is dragged; `ticks`, (value, words) under it; `log` positions; `blend`, from
    DDIM's colour to DDPM's; `tools`, a seed's dice and lock.
    """
    low, high = slider_range
    usual: dict[str, Any] = {"marks": [], "ticks": [], "log": False, "blend": False, "tools": False}
    told = {"own": name, "low": low, "high": high, "step": step, "about": about, **usual, **looks}
    return _number(gr.HTML(value, label=label, **told_files("dial", told), apply_default_css=False, elem_id=name))


def told_files(name: str, told: Any, *shared: str) -> dict[str, Any]:
    """The files of an input component, whose script finds what it is told in `dataset.looks` of the element named as it is.

    In the template, not among the properties: an update that changes nothing would lose those of one that is not there yet.
    """
    files, attribute = component_files(name, *shared), html.escape(json.dumps(told, ensure_ascii=False))
    before = f'class="{name}"'
    return files | {"html_template": files["html_template"].replace(before, f'{before} data-looks="{attribute}"', 1)}


def segments(label: str, name: str, value: int, options: list[int]) -> gr.HTML:
    """A choice of a few numbers in one row."""
    return _number(
        gr.HTML(value, label=label, options=options, **component_files("choice"), apply_default_css=False, elem_id=name)
    )  # fmt: skip


def _number(component: gr.HTML) -> gr.HTML:
    """The component, described to API callers as the number that it is."""
    component.api_info = lambda: {"type": "number"}  # type: ignore[method-assign]
    component.example_payload = component.example_value = lambda: component.value  # type: ignore[method-assign]
    return component


def only(component: AnyComponent, *tabs: str) -> AnyComponent:
    """The component, in sight only while one of these tabs is open; see `body[data-tab]` in page.css."""
    component.elem_classes = [*component.elem_classes, "only", *(f"in-{tab}" for tab in tabs)]
    return component
