"""What is changed inside Gradio's own objects, each with its reason."""

from typing import Any

import gradio as gr

UNREAD_SECONDS = 120
"""Seconds after which the messages of an ended run are dropped if nobody reads them."""


class UnreadMessages:
    """Finds what was posted and never read. Gradio keeps the messages of such a run, with its pictures, for 2,000 sessions."""

    def __init__(self, demo: gr.Blocks) -> None:
        self._queue = demo._queue
        self._since: dict[str, tuple[frozenset[str], float]] = {}
        """The ended runs of each session, and since when there are these and no others."""

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
