"""Whose rows go into the next network call: those of runs that somebody waits for, then those of the background."""

import logging
import math
import time
from collections.abc import Callable, Hashable, Sequence

from ddim_app.diffusion.batch_sizes import bucket_of, half_bucket
from ddim_app.engine.row_batches import portion_of
from ddim_app.engine.tickets import Portion, Ticket

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that the background waits for a call of its own while others run, and that it makes itself small after them."""
SMALL = 4
"""Rows of a call of the background that somebody might have to wait for."""


class Turns:
    """Deals the rows of each call. Among equals, the runs that have waited longest come first.

    Rows of the background ride in the places that others leave free in their bucket, which cost nothing. Once they have waited
    for PATIENCE they get one call. Alone they have all places, but SMALL ones up to PATIENCE after a run that somebody waited
    for: the next may come at any moment, and waits for the call under way.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rooms: dict[Hashable, int] = {}
        """Rows that a call of a group may have since it ran out of memory."""
        self._in_front, self._relieved = -math.inf, -math.inf
        """When somebody last waited for a run, and when the background last got a call while somebody did."""

    def deal(self, waiting: Sequence[Ticket], most: int) -> list[Portion]:
        """Rows of the next call, at most that many and of one group; nothing where no run waits."""
        now = self._clock()
        front, back = ([ticket for ticket in waiting if ticket.background is behind] for behind in (False, True))
        for ticket in back:
            ticket.since = min(ticket.since, now)
        if front:
            self._in_front = now
        if front and not self._is_late(back, now):
            dealt = self._filled(front, most, [])
            dealt = self._filled(back, min(most, bucket_of(_rows(dealt))), dealt)
        else:
            if front:
                self._relieved = now
            dealt = self._filled(back, min(most, SMALL) if now - self._in_front < PATIENCE else most, [])
        for portion in dealt:
            portion.ticket.since = now
        return dealt

    def _is_late(self, back: Sequence[Ticket], now: float) -> bool:
        """Whether the background has waited long enough for a call, since it was served and since it last got one out of turn."""
        return bool(back) and now - max(min(ticket.since for ticket in back), self._relieved) >= PATIENCE

    def halve(self, group: Hashable, size: int) -> None:
        """Halves the room of a group whose call of that many rows did not fit into the memory."""
        self._rooms[group] = half_bucket(size)
        log.warning("out of memory: at most %d rows per call of this model from now on", self._rooms[group])

    def _filled(self, tickets: Sequence[Ticket], most: int, portions: Sequence[Portion]) -> list[Portion]:
        """The portions, and behind them rows of these tickets as long as there is room; the first of all decides the group."""
        order, dealt = sorted(tickets, key=lambda ticket: ticket.turn), list(portions)
        if not order:
            return dealt
        asked = dealt[0].ticket.network if dealt else order[0].network
        room = min(most, asked.max_rows, self._rooms.get(asked.group, most)) - _rows(dealt)
        for ticket in order:
            if ticket.network.group != asked.group or room < 1 or ticket.query is None:
                continue
            portion = portion_of(ticket, ticket.query, room)
            if not dealt or len(portion.t) <= room:
                dealt.append(portion)
                room -= len(portion.t)
        return dealt


def _rows(portions: Sequence[Portion]) -> int:
    return sum(len(portion.t) for portion in portions)
