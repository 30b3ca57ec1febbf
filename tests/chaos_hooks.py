"""What the server of `tests.chaos` lets happen to itself from inside, by signal: its clock jumps, its loop's thread dies."""

import ctypes
import itertools
import signal
import threading
import time
from typing import Any

DAY = 86_400


def install() -> None:
    """SIGUSR1 ends the batch loop's thread; SIGUSR2 moves the clock a day back, and the next time a day ahead."""
    real, offsets = time.time, itertools.cycle((-DAY, DAY))

    def jump(*_: Any) -> None:
        offset = next(offsets)
        time.time = lambda: real() + offset

    signal.signal(signal.SIGUSR1, lambda *_: end(next(each for each in threading.enumerate() if each.name == "batch-loop")))
    signal.signal(signal.SIGUSR2, jump)


def end(thread: threading.Thread) -> None:
    """Raises SystemExit in a thread, wherever it is: when it waits, as soon as it wakes."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
