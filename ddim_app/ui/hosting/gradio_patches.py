"""All that is read or changed inside Gradio's own objects, each with its reason; a test of each fails where Gradio changes it."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gradio as gr
from gradio import queueing, utils
from gradio.components import Component

UNREAD_SECONDS = 120
"""Seconds after which the messages of an ended run are dropped if nobody reads them."""
FAILED = "The server could not finish this, for a reason that its log names: try again, or tell whoever runs it."
LAUNCH = {"_frontend": False}
"""Option of `launch`: else gradio asks its own address within 3 s, and gives up where a busy machine takes longer."""
AnyComponent = TypeVar("AnyComponent", bound=Component)


class Mend(NamedTuple):
    """What one of Gradio's scripts is served with in the place of `found`, which it holds once."""

    file: str
    """The beginning of the script's name; the rest is a hash."""
    found: re.Pattern[str]
    put: str


MENDS = {
    # A fold or a tab that is opened for the first time hands its fields once more the values from before it was opened. Rendering
    # takes a busy browser a second, in which the fields are there already: what is typed meanwhile is to stay.
    "fields keep what is typed": Mend(
        "core",
        re.compile(r"(requestAnimationFrame\(\w+\)\);for\(let (\w+) of \w+\))(this\.#\w+\(\2\))"),
        r"\1{const now=await this.get_state(\2.id);if(now&&'value'in now)\2.props.props.value=now.value;\3}",
    ),
    # For each component all events are gone through, twice: a third of a second of this page's start. They are sorted once here.
    "events are sorted once": Mend(
        "core",
        re.compile(
            r"(find_attached_events\((\w+),(\w+)\)\{let (\w+)=)\3\.filter\((?:(?!\.filter\(Boolean\)).){1,160}\.filter\(Boolean\)"
            r"(;return \2\.props\.shared_props\.attached_events=\4,\2\})"
        ),
        r"\1((this.sorted_events??=new WeakMap).get(\3)??(()=>{const by={};for(const each of \3)"
        r"for(const[id,name]of new Map([...each.targets].reverse()))if(name)(by[id]??=[]).push(name);"
        r"this.sorted_events.set(\3,by);return by})())[\2.id]??[]\5",
    ),
    # For each input of each event all components are gone through, though those on the page are known by number.
    "components on the page are not looked for": Mend(
        "core",
        re.compile(r"(async get_state\((\w+)\)\{let (\w+)=this\.#\w+\.get\(\2\),\w+=)(\w+\(this\.root,\2\);)"),
        r"\1\3?null:\4",
    ),
    # The end of an event is told to each of its inputs too, as if all were cameras, and from then on at every turn of any event.
    "inputs are not told of an end": Mend(
        "statustracker",
        re.compile(r"(\w+\.includes\(\w+\)&&(\w+))(\?`input`:)"),
        r"\1&&\2!==`closed`\3",
    ),
    # As soon as the page stands, all of its components are made a second time, from the same description, and told their values.
    "components are made once": Mend(
        "core",
        re.compile(r"(\breload\((\w),(\w),\w,\w\)\{)(this\.(#\w+)=\3,this\.(#\w+)=\2;)"),
        r"\1if(this.\6===\2&&this.\5===\3&&!this.stands)return void(this.stands=!0);\4",
    ),
    # For each target of each event the component is looked for among all, twice, though nearly no event has arguments to set.
    "events without arguments set none": Mend(
        "Blocks",
        re.compile(r"(async set_event_args\(\w+,(\w+)\)\{)"),
        r"\1if(!Object.keys(\2).length)return()=>{};",
    ),
}


class EventQueue:
    """A page's queue of runs, which Gradio tells nothing about.

    It also keeps the messages of a run that nobody reads, with its pictures, for 2,000 sessions: `sweep` drops them.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self._queue = demo._queue
        self._since: dict[str, tuple[frozenset[str], float]] = {}
        """The ended runs of each session, and since when there are these and no others."""

    @property
    def waiting(self) -> int:
        """Runs that wait for their turn."""
        return len(self._queue)

    @property
    def most(self) -> int | None:
        """Runs that may wait."""
        return self._queue.max_size

    @property
    def is_busy(self) -> bool:
        """Whether a run waits or is going on."""
        return bool(self._queue.event_ids_to_events)

    @property
    def unread(self) -> int:
        """Sessions with messages that nobody has read yet."""
        return len(self._queue.pending_messages_per_session)

    def events(self, concurrency_id: str) -> list[Any]:
        """The waiting events of that concurrency id, each with `session_hash` and `request`."""
        queued = self._queue.event_queue_per_concurrency_id.get(concurrency_id)
        return list(queued.queue) if queued else []

    def sweep(self, now: float) -> int:
        """Drops messages that have waited for UNREAD_SECONDS since their runs ended; how many sessions lost theirs."""
        kept = self._queue.pending_messages_per_session
        ended = {session: self._runs(session) for session in list(kept) if self._has_ended(session)}
        known = self._since
        self._since = {
            session: known[session] if session in known and known[session][0] == runs else (runs, now)
            for session, runs in ended.items()
        }
        late = [session for session, (_, since) in self._since.items() if now - since >= UNREAD_SECONDS]
        for session in late:
            del self._since[session]
            kept.pop(session, None)
            self._queue.pending_event_ids_session.pop(session, None)
        return len(late)

    def _has_ended(self, session: str) -> bool:
        return not any(event in self._queue.event_ids_to_events for event in self._runs(session))

    def _runs(self, session: str) -> frozenset[str]:
        return frozenset(self._queue.pending_event_ids_session.get(session, ()))


def remember_config(block: Any) -> None:
    """Lets a block describe itself once: gradio asks every block for every new visitor, and reads signatures each time."""
    describe, known = block.get_config, None

    def get_config(cls: type | None = None) -> dict[str, Any]:
        nonlocal known
        if cls is not None:
            return dict(describe(cls))
        known = known or describe()
        return dict(known)

    block.get_config = get_config


def keep_to_uploads(component: Any) -> None:
    """Refuses addresses in the place of an uploaded file, which gradio would fetch."""
    move = component.async_move_resource_to_block_cache

    async def move_file(source: Any) -> Any:
        if isinstance(source, str) and "://" in source[:20]:
            raise gr.Error("A file must be uploaded; addresses are not opened.", print_exception=False)
        return await move(source)

    component.async_move_resource_to_block_cache = move_file


def tell_of_failures() -> None:
    """Gives a sentence to who waits for a run that fails unforeseen, to whom Gradio would say null."""

    def payload(error: BaseException | None, show_error: bool) -> dict[str, bool | str | float | None]:
        return utils.error_payload(error if isinstance(error, gr.Error) else gr.Error(FAILED), show_error)

    queueing.error_payload = payload  # type: ignore[attr-defined]


def raw(component: AnyComponent) -> AnyComponent:
    """The component, its payloads passed on untouched: Gradio's own would round 3.7, pass `true`, or fail on "x".

    An attribute rather than a subclass: gradio writes a .pyi file beside the source of every component class it meets. A
    component that is changed by gr.update loses it, so those are kept out of such updates.
    """
    return preprocessed(component, lambda payload: payload)


def preprocessed(component: AnyComponent, read: Callable[[Any], Any]) -> AnyComponent:
    """The component, with `read` in place of what Gradio makes of its payloads."""
    component.preprocess = read  # type: ignore[method-assign,assignment]
    return component


def event_data(event: gr.EventData) -> dict[str, Any]:
    """What a component of ours has sent with an event; nothing where that is no object."""
    return event._data if isinstance(event._data, dict) else {}


def keep_progress_to(demo: gr.Blocks, place: Component) -> None:
    """Events that show no progress of their own tell how they stand to `place` alone.

    At every turn of any event the browser goes over all components that were ever told so, which with every output of every
    event takes it longer than most answers take to come. It looks for each from the top of the page on; a button near the top is
    found at once, and draws nothing of it.
    """
    for fn in demo.fns.values():
        if fn.show_progress == "hidden":
            fn.show_progress_on = [place]


def wrap_validators(demo: gr.Blocks, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replaces the validators of all events."""
    for fn in demo.fns.values():
        if fn.validator is not None:
            fn.validator = wrap(fn.validator)


def wrap_server_functions(demo: gr.Blocks, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replaces the functions that components of ours call past the queue."""
    for block in demo.blocks.values():
        for function in getattr(block, "server_fns", ()):
            setattr(block, function.__name__, wrap(function))


def files_of_page(demo: gr.Blocks) -> frozenset[str]:
    """The files that belong to the page itself, which live in the cache with those of its answers."""
    return frozenset(path for block in demo.blocks.values() for path in getattr(block, "keep_in_cache", ()))


def forget_gone_files(demo: gr.Blocks) -> None:
    """Drops the names of files that are gone, which Gradio would keep for ever: it drops only those that it deletes itself."""
    for names in demo.temp_file_sets:
        names.difference_update([name for name in list(names) if not os.path.exists(name)])


def mended_scripts() -> dict[str, str]:
    """Names and texts of the scripts of Gradio's that are served with MENDS; one that a mend does not fit goes without it."""
    texts: dict[str, str] = {}
    for mend in MENDS.values():
        for path in Path(gr.__file__).parent.glob(f"templates/frontend/assets/{mend.file}-*.js"):
            text, count = mend.found.subn(mend.put, texts.get(path.name) or path.read_text("utf-8"))
            if count == 1:
                texts[path.name] = text
    return texts
