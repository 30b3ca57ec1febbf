"""The page: header, the settings column, the tabs, and the events between them."""

import html
from typing import Any, NamedTuple

import gradio as gr

from ddim_app.engine import Engine
from ddim_app.engine.options import MAX_QUEUE
from ddim_app.errors import FieldError
from ddim_app.runs import forms
from ddim_app.ui import controls as settings
from ddim_app.ui import text
from ddim_app.ui.compare import endpoint as compare_endpoint
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.fields import PRIVATE, on_any
from ddim_app.ui.hosting import request_limits
from ddim_app.ui.hosting.visitors import VisitorNames
from ddim_app.ui.interpolate import endpoint as interpolate_endpoint
from ddim_app.ui.interpolate.tab import InterpolateTab
from ddim_app.ui.invert import endpoint as invert_endpoint
from ddim_app.ui.invert.tab import InvertTab
from ddim_app.ui.learn import LearnTab
from ddim_app.ui.learn import endpoint as learn_endpoint
from ddim_app.ui.matrix.tab import MatrixTab
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.recipe_bar import RecipeBar
from ddim_app.ui.run_tab import RunTab

TITLE = "DDIM Explorer"
TABS: tuple[type[RunTab], ...] = (CompareTab, MatrixTab, InterpolateTab, InvertTab, LearnTab)
"""The tabs in the order of the page; the first one is open at the start."""
CONCURRENT_RUNS = 16
"""Runs that share the device at a time; their rows go through the network together."""
WAITING_RUNS = MAX_QUEUE


def build_ui(engine: Engine, *, max_queue: int = WAITING_RUNS, behind_proxy: bool = False) -> gr.Blocks:
    """The page over an engine; launch it with `launch_options()`. At most `max_queue` runs wait; more are refused at once."""
    runs = PageRuns(engine, VisitorNames(behind_proxy))
    queued: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": CONCURRENT_RUNS}
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as demo:
        header = gr.HTML(_header(engine), elem_id="header", padding=False)
        parts = _lay_out(runs)
        _add_endpoints(runs, parts.controls, queued)
        _connect_runs(runs, parts, queued)
        _connect_latents(parts.tabs)
        # In this order the browser goes over what follows a slider's move: Learn's panels come before all lines of costs.
        for tab in reversed(parts.tabs):
            tab.connect(demo)
        parts.bar.connect(demo)
        _connect_cost(engine, parts.controls, parts.cost, demo)
        _connect_models(engine, parts.controls, demo)
        demo.load(lambda: _header(engine), None, header, **PRIVATE)  # the backend may have changed since the start
        demo.load(runs.arrive, **PRIVATE)
        demo.unload(runs.leave)
    _tell_no_other(demo, header)
    request_limits.guard(demo, runs)
    demo.queue(max_size=max_queue, default_concurrency_limit=4, api_open=False)
    return demo  # type: ignore[no-any-return]


class _Parts(NamedTuple):
    """The parts of the page that events connect."""

    controls: settings.Controls
    buttons: list[gr.Button]
    """Run, of each tab."""
    stop: gr.Button
    cost: gr.HTML
    status: gr.HTML
    tabs: list[RunTab]
    places: list[gr.Tab]
    bar: RecipeBar


def _lay_out(runs: PageRuns) -> _Parts:
    """The settings column at the left, the tabs and the recipe bar at the right."""
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=0, min_width=320, elem_id="side"):
            controls = settings.build(runs.engine)
            with gr.Row(elem_id="actions"):
                buttons = [_go_button(kind, visible=kind is TABS[0]) for kind in TABS]
                stop = gr.Button("Stop", elem_id="stop", min_width=60, scale=1)
            cost = text.line("", "cost")
            status = text.line("Press Run, or Ctrl+Enter.", "status", live=True)
        with gr.Column(scale=1, min_width=320, elem_id="main"):
            tabs, places = [], []
            with gr.Tabs(elem_id="tabs"):
                for kind in TABS:
                    with gr.Tab(kind.title, id=kind.name) as place:
                        tabs.append(kind(runs, controls))
                        tabs[-1].place = place
                    places.append(place)
            bar = RecipeBar(runs, controls, tabs)
    return _Parts(controls, buttons, stop, cost, status, tabs, places, bar)


def _connect_runs(runs: PageRuns, parts: _Parts, queued: dict[str, Any]) -> None:
    """What starts runs, Stop, and which Run button is there."""
    started = [
        _run_on(event, tab, parts.controls, parts.status, queued)
        for tab, button in zip(parts.tabs, parts.buttons, strict=True)
        for event in (_rolled(button.click, parts.controls), *tab.also)
    ]
    started.append(parts.bar.start(parts.status, queued))
    for event in (*started, parts.stop.click(runs.stop, None, parts.status, cancels=started, **PRIVATE)):
        parts.bar.follow(event)
    for kind, place in zip(TABS, parts.places, strict=True):
        show = [gr.update(visible=other is kind) for other in TABS] + [gr.update(visible=kind is TABS[0])]
        place.select(lambda show=show: show, None, [*parts.buttons, parts.cost], **PRIVATE)


def _add_endpoints(runs: PageRuns, controls: settings.Controls, queued: dict[str, Any]) -> None:
    """Adds the endpoints of the API."""
    compare_endpoint.build(runs, controls, queued)
    invert_endpoint.build(runs, controls, queued)
    learn_endpoint.build(runs, queued)
    interpolate_endpoint.build(runs, controls, queued)


def _tell_no_other(demo: gr.Blocks, place: gr.HTML) -> None:
    """Events that show no progress of their own tell how they stand to `place` alone.

    At every turn of any event the browser goes over all components that were ever told so, which with every output of every
    event takes it longer than most answers take to come.
    """
    for fn in demo.fns.values():
        if fn.show_progress == "hidden":
            fn.show_progress_on = [place]


def _header(engine: Engine) -> str:
    words, reason = map(html.escape, engine.served_by())
    return f'<header><h1>{TITLE}</h1><p>Same noise, two samplers.</p><span class="chip" title="{reason}">{words}</span></header>'


def _go_button(kind: type[RunTab], visible: bool) -> gr.Button:
    """The Run button of a tab, in the settings column; only that of the open tab is there."""
    elem_id = "run" if kind is TABS[0] else f"run-{kind.name}"
    return gr.Button(kind.go, variant="primary", elem_id=elem_id, elem_classes="go", min_width=80, scale=2, visible=visible)


def _rolled(click: Any, controls: settings.Controls) -> Any:
    """The press of a Run button, once the page has settled and the seed is rolled, in the browser, where it is not kept."""
    roll = "async (keep, seed) => { await window.settled(); return keep ? seed : Math.floor(Math.random() * 2 ** 32); }"
    return click(None, [controls.keep_seed, controls.seed], controls.seed, js=roll, **PRIVATE)


def _run_on(event: Any, tab: RunTab, controls: settings.Controls, status: gr.HTML, queued: dict[str, Any]) -> Any:
    """Starts the tab's run after `event`; returns what Stop has to cancel."""
    names = [*controls.fields, *tab.more_fields]
    return event.then(
        tab.run, tab.inputs, [status, *tab.outputs], validator=settings.validator(tab.check, names), show_progress="hidden",
        trigger_mode="multiple", api_visibility="private", **queued,
    )  # fmt: skip


def _connect_latents(tabs: list[Any]) -> None:
    """Lets Invert send what it has found to Interpolate, as its first end."""
    named = {tab.name: tab for tab in tabs}
    interpolate: InterpolateTab = named[InterpolateTab.name]
    named[InvertTab.name].send_to(interpolate.files[0], interpolate.title)


def _connect_models(engine: Engine, controls: settings.Controls, demo: gr.Blocks) -> None:
    """Keeps the list of models as the folders are, so that a training run shows up in an open page."""
    known = gr.State(engine.catalogue.names())

    def look(shown: list[str]) -> Any:
        names = engine.catalogue.names()
        if names == shown:
            return gr.skip(), gr.skip(), gr.skip()
        return gr.update(choices=names), gr.update(choices=["", *names]), names

    lists = [controls.fields["model"], controls.fields["second_model"]]
    changed = gr.Button("New models", visible="hidden", elem_id="new-models")  # pressed by the script of the page
    gr.on([demo.load, changed.click], look, known, [*lists, known], **PRIVATE)


def _connect_cost(engine: Engine, controls: settings.Controls, cost: gr.HTML, demo: gr.Blocks) -> None:
    def say(*values: Any) -> str:
        try:
            recipe = settings.checked(engine, forms.compare, controls.named(values))
            if not all(map(engine.is_here, recipe.models)):
                return text.DOWNLOADED
            plan = engine.plan(recipe)
        except FieldError as error:
            return str(error)
        return text.sampling_cost_line(plan, engine.calls(plan), engine.seconds(plan))

    changes: list[Any] = [field.change for field in controls.fields.values()]  # type: ignore[attr-defined]
    on_any([demo.load, *changes], say, controls.inputs, [cost])
