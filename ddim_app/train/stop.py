"""Ctrl+C and SIGTERM: noticed at once where nothing can be lost, else after the current operation."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):  # noqa: N818 - it is no error
    """The user or the machine asked the program to end."""


class Stopper:
    """Remembers a signal. Inside `interruptible` it ends the work at once, elsewhere at the next `check`."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.together = False
        """Set while several processes train: none may leave alone, so only an agreement of all ends the work."""
        self._at_once = False

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    @property
    def requested(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + (self.signal or signal.SIGTERM)  # another process may have got the signal

    def check(self) -> None:
        """Raises Stopped once a signal has come."""
        if self.requested:
            raise Stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """For work that may be dropped anywhere, such as loading, or a forward and backward pass."""
        if not self.together:
            self.check()
        self._at_once = not self.together
        try:
            yield
        finally:
            self._at_once = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        if self._at_once:
            self._at_once = False
            raise Stopped
