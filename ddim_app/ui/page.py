"""The page: header, the settings column, the tabs, and the events between them."""

from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component

from ddim_app.engine import Engine
from ddim_app.engine.options import MAX_QUEUE
from ddim_app.models.names import canonical
from ddim_app.ui import controls as settings
from ddim_app.ui import text
from ddim_app.ui.assets import asset
from ddim_app.ui.compare import endpoint as compare_endpoint
from ddim_app.ui.compare import ladder_endpoint
from ddim_app.ui.compare.live import Live
from ddim_app.ui.compare.tab import EXAMPLES, CompareTab
from ddim_app.ui.fields import PRIVATE, on_any, only
from ddim_app.ui.hosting import request_limits
from ddim_app.ui.hosting.gradio_patches import keep_progress_to
from ddim_app.ui.hosting.visitors import VisitorNames
from ddim_app.ui.interpolate import endpoint as interpolate_endpoint
from ddim_app.ui.interpolate.tab import InterpolateTab
from ddim_app.ui.invert import endpoint as invert_endpoint
from ddim_app.ui.invert.tab import InvertTab
from ddim_app.ui.learn import LearnTab, chapters
from ddim_app.ui.learn import endpoint as learn_endpoint
from ddim_app.ui.matrix.tab import MatrixTab
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.recipe_bar import RecipeBar, ShareButtons
from ddim_app.ui.run_tab import RunTab

TITLE = "DDIM Explorer"
TABS: tuple[type[RunTab], ...] = (CompareTab, MatrixTab, InterpolateTab, InvertTab, LearnTab)
"""The tabs in the order of the page; the first one is open at the start."""
FOOTER = '<p><span></span> · <a href="?view=api">API</a> · <button type="button">Light / dark</button></p>'
SHEET_HEAD = '<h2>More settings</h2><button type="button">Close</button>'
CONCURRENT_RUNS = 16
"""Runs that share the device at a time; their rows go through the network together."""
WAITING_RUNS = MAX_QUEUE


def build_ui(
    engine: Engine, *, max_queue: int = WAITING_RUNS, behind_proxy: bool = False, live: bool = True, classroom: bool = False,
    set_bytes: int = 0,
) -> gr.Blocks:  # fmt: skip
    """The page over an engine; launch it with `launch_options()`.

    At most `max_queue` runs wait; more are refused at once. Where it is not `live`, nothing is run without a press on Run, and in
    a `classroom` nothing in the background but, once, the ladders of a class. Other models' stored sets are kept in `set_bytes`
    of this machine's cache; with none they are neither made nor looked for.
    """
    runs = PageRuns(engine, VisitorNames(behind_proxy), live, classroom, set_bytes)
    queued: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": CONCURRENT_RUNS}
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as demo:
        parts = _lay_out(runs)
        nothing = {"words": "", "reason": ""}
        footer = gr.HTML(nothing, html_template=FOOTER, js_on_load=asset("footer.js"), apply_default_css=False, elem_id="served-by")
        _add_endpoints(runs, parts.controls, queued)
        _connect_runs(runs, parts, queued)
        _connect_latents(parts.tabs)
        # In this order the browser goes over what follows a slider's move: Learn's panels come before all lines of costs.
        for tab in reversed(parts.tabs):
            tab.connect(demo)
        parts.bar.connect(demo)
        for tab, foot in zip(parts.tabs, parts.feet, strict=True):
            _connect_cost(tab, foot.cost, demo)
            foot.cost.props["places"] = foot.status.props["places"] = tab.elem_ids
        _connect_models(engine, parts, demo)
        # Both need torch, for which they wait; and the backend may have changed since the start.
        demo.load(lambda: _footer(engine), None, footer, **PRIVATE)
        demo.load(lambda: settings.precisions(engine), None, parts.controls.fields["precision"], **PRIVATE)
        demo.load(runs.arrive, **PRIVATE)
        demo.unload(runs.leave)
        demo.unload(parts.live.forget)
    keep_progress_to(demo, parts.bar.share.link)
    request_limits.guard(demo, runs)
    demo.queue(max_size=max_queue, default_concurrency_limit=4, api_open=False)
    return demo  # type: ignore[no-any-return]


class _Foot(NamedTuple):
    """What stands in the foot of the column while a tab is open."""

    cost: gr.HTML
    status: gr.HTML
    go: gr.Button
    stop: gr.Button


class _Parts(NamedTuple):
    """The parts of the page that events connect."""

    controls: settings.Controls
    tabs: list[RunTab]
    feet: list[_Foot]
    live: Live
    bar: RecipeBar


def _lay_out(runs: PageRuns) -> _Parts:
    """The top bar, the headline, the settings column at the left, the open tab and the recent runs at the right."""
    gr.HTML(html_template=_header(), js_on_load=asset("header.js"), apply_default_css=False, elem_id="header")
    share = ShareButtons()
    gr.HTML(
        {chip: [example.title, example.sentence] for chip, example in EXAMPLES.items()}, html_template=_headlines(),
        js_on_load=asset("headlines.js"), apply_default_css=False, elem_id="headlines",
    )  # fmt: skip
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=0, min_width=288, elem_id="side"):
            contents = only(chapters.contents(), "learn")
            gr.HTML(html_template=SHEET_HEAD, js_on_load=asset("sheet.js"), apply_default_css=False, elem_id="sheet-head")
            with gr.Column(elem_id="settings"):
                controls = settings.build(runs.engine)
            with gr.Column(elem_id="foot"):
                with gr.Row(elem_id="about-run"):
                    fields = {**controls.fields, "more_arms": controls.more_arms}
                    live = Live({name: field.value for name, field in fields.items()}, runs.is_live)
                    costs = [only(text.cost(_named("cost", kind)), kind.name) for kind in TABS]
                feet = [_foot(kind, cost) for kind, cost in zip(TABS, costs, strict=True)]
        with gr.Column(scale=1, min_width=320, elem_id="main"):
            tabs = []
            with gr.Tabs(elem_id="tabs"):
                for kind in TABS:
                    with gr.Tab(kind.title, id=kind.name) as place:
                        tabs.append(kind(runs, controls))
                        tabs[-1].place = place
            bar = RecipeBar(runs, controls, tabs, share)
    for tab in tabs:
        if isinstance(tab, CompareTab | InterpolateTab):
            tab.share_gif(share.gif, share.file)
        elif isinstance(tab, LearnTab):
            tab.contents = contents
    return _Parts(controls, tabs, feet, live, bar)


def _named(name: str, kind: type[RunTab]) -> str:
    return name if kind is TABS[0] else f"{name}-{kind.name}"


def _foot(kind: type[RunTab], cost: gr.HTML) -> _Foot:
    status = only(text.status(kind.name, _named("status", kind)), kind.name)
    go = gr.Button(kind.go, variant="primary", elem_id=_named("run", kind), elem_classes=["go"], min_width=80)
    stop = gr.Button("Stop", elem_id=_named("stop", kind), elem_classes=["halt"], min_width=80)
    return _Foot(cost, status, only(go, kind.name), only(stop, kind.name))


def _connect_runs(runs: PageRuns, parts: _Parts, queued: dict[str, Any]) -> None:
    """What starts runs and stops them, and what follows the open tab."""
    for tab, foot in zip(parts.tabs, parts.feet, strict=True):
        presses = (_rolled(foot.go.click, parts.controls.seed), *tab.also)
        started = [_run_on(press, runs, tab, foot.status, queued) for press in presses]
        started += [_run_on(event, runs, tab, foot.status, queued, tab.run_unasked) for event in tab.unasked]
        if isinstance(tab, CompareTab):
            started.append(parts.bar.start(foot.status, queued))
            parts.live.connect(tab, foot.status, parts.bar.follow)
        for event in (*started, foot.stop.click(tab.stop, None, foot.status, cancels=started, **PRIVATE)):
            parts.bar.follow(event)
        # Gradio's own row of tabs is hidden: the one in the top bar presses its buttons, and learns here what is open.
        opened = tab.place.select(None, None, None, js=f"() => {{ window.opened('{tab.name}'); return []; }}", **PRIVATE)
        parts.bar.tell(opened)


def _add_endpoints(runs: PageRuns, controls: settings.Controls, queued: dict[str, Any]) -> None:
    """Adds the endpoints of the API."""
    compare_endpoint.build(runs, controls, queued)
    ladder_endpoint.build(runs, controls, queued)
    invert_endpoint.build(runs, controls, queued)
    learn_endpoint.build(runs, queued)
    interpolate_endpoint.build(runs, controls, queued)


def _header() -> str:
    tabs = "".join(
        f'<button type="button" role="tab" data-tab="{kind.name}" aria-selected="{str(kind is TABS[0]).lower()}" '
        f'tabindex="{0 if kind is TABS[0] else -1}">{kind.title}</button>'
        for kind in TABS
    )
    more = '<button type="button" class="more" aria-expanded="false" aria-label="More: GIF, Python, drop a picture">⋯</button>'
    return f'<header><b>{TITLE}</b><nav role="tablist" aria-label="Views">{tabs}</nav>{more}</header>'


def _headlines() -> str:
    blocks = (f'<div class="only in-{kind.name}"><h1>{kind.headline}</h1><p>{kind.sentence}</p></div>' for kind in TABS)
    return "".join(blocks)


def _footer(engine: Engine) -> dict[str, str]:
    """What evaluates new runs, and how that came about."""
    words, reason = engine.served_by()
    return {"words": words, "reason": reason}


def _rolled(click: Any, seed: Component) -> Any:
    """The press of a Run button, once the page has settled and the seed is rolled, in the browser, where it is not kept."""
    roll = "async seed => { await window.settled(); return window.rolled(seed); }"
    return click(None, seed, seed, js=roll, **PRIVATE)


def _run_on(event: Any, runs: PageRuns, tab: RunTab, status: gr.HTML, queued: dict[str, Any], run: Any = None) -> Any:
    """Starts the tab's run, or what takes its place, once `event` has succeeded; returns what Stop has to cancel."""
    names = [*tab.settings.fields, *tab.more_fields]
    judge = settings.validator(runs, tab.name, tab.prepare, names, tab.says_itself, tab.in_page_words)
    return event.success(
        run or tab.run, tab.inputs, [status, *tab.outputs], validator=judge, show_progress="hidden",
        trigger_mode="multiple", api_visibility="private", js=f"(...values) => {{ {tab.told} return values; }}", **queued,
    )  # fmt: skip


def _connect_latents(tabs: list[Any]) -> None:
    """Lets Invert send what it has found to Interpolate, as its first end."""
    named = {tab.name: tab for tab in tabs}
    interpolate: InterpolateTab = named[InterpolateTab.name]
    named[InvertTab.name].send_to(interpolate.ends, interpolate.settings.fields["eta"], interpolate.title)


def _connect_models(engine: Engine, parts: _Parts, demo: gr.Blocks) -> None:
    """Keeps the list of models as the folders are, and says what is known of the one that is chosen."""
    controls, ladder = parts.controls, next(tab.ladder for tab in parts.tabs if isinstance(tab, CompareTab))
    known = gr.State(engine.catalogue.names())

    def look(shown: list[str]) -> Any:
        names = engine.catalogue.names()
        if names == shown:
            return gr.skip(), gr.skip(), gr.skip()
        return gr.update(choices=names), gr.update(choices=["", *names]), names

    lists = [controls.fields["model"], controls.fields["second_model"]]
    changed = gr.Button("New models", visible="hidden", elem_id="new-models")  # pressed by the script of the page
    gr.on([demo.load, changed.click], look, known, [*lists, known], **PRIVATE)
    for field in lists:  # of the address of a page the id is shown
        field.change(_id_of, field, field, trigger_mode="multiple", **PRIVATE)  # type: ignore[attr-defined]
    model: Any = controls.fields["model"]
    controls.training.connect(engine, demo, model)
    classes = [controls.fields[name] for name in settings.NO_CLASS]

    def about(request: gr.Request, name: Any, *shown: Any) -> list[Any]:
        told = [settings.licence_of(engine, name), *settings.classes_of(engine, name, *shown)]
        return [*told, ladder.sets.asked(request, name)]

    named = [demo.load, model.change, controls.fetched.click]  # a link names another model while the first answer is on its way
    on_any(named, about, [model, *classes], [controls.licence, *classes, ladder.card], at_once=True)
    demo.unload(ladder.sets.leave)


def _id_of(name: Any) -> Any:
    """The name that a model goes by, where another was typed."""
    return canonical(name) if isinstance(name, str) and canonical(name) != name else gr.skip()


def _connect_cost(tab: RunTab, cost: gr.HTML, demo: gr.Blocks) -> None:
    """Keeps the line of what a run takes as the tab's inputs are, while the tab is open."""
    changes = [field.change for field in tab.inputs]  # type: ignore[attr-defined]
    on_any([demo.load, tab.place.select, tab.settings.fetched.click, *changes], tab.cost_line, tab.inputs, [cost], tab=tab.name)
