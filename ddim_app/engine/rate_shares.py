"""How much of the networks' work somebody has had of late: evaluations, averaged over ten minutes."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

MINUTES = 10
"""The time that a share is averaged over: whoever was away may have all of it at once."""


@dataclass(eq=False)
class Piece:
    """What one run has taken of somebody's share."""

    name: str
    since: float
    """When it began, in seconds on the clock of `RateShares`."""
    evaluations: int


class RateShares:
    """The evaluations of the last MINUTES, by the name of who asked for them; `per_minute` of None counts nothing.

    A run counts in whole from its start, and what it did not make is given back at its end. It fits where it stays within
    MINUTES * per_minute evaluations, and always where nothing was taken: no run that a host allows waits for ever.
    """

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._pieces: deque[Piece] = deque()
        """The oldest first."""
        self._sums: Counter[str] = Counter()

    def wait(self, name: str, evaluations: int) -> float:
        """Seconds until a run of so many evaluations fits into that share; 0 where it does."""
        now = self._forget()
        taken = self._sums[name]
        over = 0 if self.per_minute is None else taken + evaluations - MINUTES * self.per_minute
        seconds = 0.0
        for piece in self._pieces if taken and over > 0 else ():
            if piece.name == name and over > 0:
                over -= piece.evaluations
                seconds = piece.since + 60 * MINUTES - now
        return seconds

    def take(self, name: str, evaluations: int) -> Piece:
        """Counts a run in."""
        piece = Piece(name, self._forget(), evaluations)
        if self.per_minute is not None:
            self._pieces.append(piece)
            self._sums[name] += evaluations
        return piece

    def give_back(self, piece: Piece, unused: int) -> None:
        """Takes off what a run did not make, unless it has been forgotten since."""
        if piece.name in self._sums:
            back = min(unused, piece.evaluations)
            piece.evaluations -= back
            self._subtract(piece.name, back)

    def _forget(self) -> float:
        """Drops what is older than MINUTES; the time now."""
        now = self._clock()
        while self._pieces and now - self._pieces[0].since >= 60 * MINUTES:
            piece = self._pieces.popleft()
            self._subtract(piece.name, piece.evaluations)
            piece.evaluations = 0
        return now

    def _subtract(self, name: str, evaluations: int) -> None:
        self._sums[name] -= evaluations
        if self._sums[name] <= 0:
            del self._sums[name]
