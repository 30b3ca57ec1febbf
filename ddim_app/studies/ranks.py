"""The processes that share one command: their number, what they tell each other, and how they end together.

They meet at the place that torchrun or `accelerate launch` names, and tell each other only small texts and counts, by torch's
store; pictures go through the folder that all of them see. A single process has a store of its own, and takes the same way.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from torch.distributed import HashStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from ddim_app.backends import launch
from ddim_app.errors import FieldError, RunError, shown

BEAT_SECONDS = 0.5
"""Between two signs of life of a process."""
SILENT_SECONDS = 60.0
"""Without a sign of life, after which a process is taken to be dead."""
MEET_SECONDS = 600.0
"""How long processes wait for each other at the start."""
POLL_SECONDS = 0.1
LAST_WORDS_SECONDS = 3.0
"""How long a process that fails waits for the others to have heard why: launchers end them at once when it is gone."""


class Ranks:
    """This process among those of the command. One thread uses it; another gives and watches signs of life meanwhile."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self._fault: str | None = None
        self._over = threading.Event()
        self._store = self._meet()
        if self.size > 1:
            threading.Thread(target=self._beat, name="signs of life", daemon=True).start()

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def check(self) -> None:
        """Raises RunError once another process has failed or is gone."""
        if self._fault is not None:
            raise RunError(self._fault)

    def agree(self, values: Mapping[str, Any]) -> None:
        """Raises FieldError where this process was given something else than the first."""
        theirs = json.loads(self.told("given", lambda: json.dumps(values)))
        mine = json.loads(json.dumps(values))
        for name in mine:
            if mine[name] != theirs.get(name):
                raise FieldError(
                    name, f"must be the same for all processes; process 0 has {shown(theirs.get(name))}, "
                    f"process {self.rank} {shown(mine[name])}",
                )  # fmt: skip

    def told(self, name: str, make: Callable[[], str]) -> str:
        """A text that the first process makes, known to all."""
        if self.is_first:
            self._store.set(self._key(name), make())
        self.wait(lambda: self._has(name))
        return self._get(name).decode()

    def count(self, name: str, more: int = 0) -> int:
        """A number that all processes add to, after this addition."""
        return int(self._store.add(self._key(name), more))

    def wait(self, is_so: Callable[[], bool], meanwhile: Callable[[], None] = lambda: None) -> None:
        """Returns when it is so; raises RunError when another process has failed or is gone."""
        while not is_so():
            self.check()
            meanwhile()
            time.sleep(POLL_SECONDS)

    @contextmanager
    def together(self) -> Iterator[None]:
        """For all that the processes do: when one fails or is ended, all end, each with a sentence as a RunError.

        The first process, which may hold the store, leaves last.
        """
        before = {number: signal.signal(number, _end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
            self._leave()
        except BaseException as error:
            told = self._failed(error)
            if told is error:
                raise
            raise told from error
        finally:
            self._over.set()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _leave(self) -> None:
        self.count("done", 1)
        self._store.set(self._key(f"done/{self.rank}"), "")
        if self.is_first:
            self.wait(lambda: self.count("done") == self.size)

    def _failed(self, error: BaseException) -> BaseException:
        """What this process ends with, after the others have been told."""
        if isinstance(error, _Ended) and self.size > 1:
            time.sleep(2 * BEAT_SECONDS)  # for the word of whoever is to blame
        if self._fault is not None:
            return RunError(self._fault)
        told = RunError(f"ended by {signal.Signals(error.number).name}") if isinstance(error, _Ended) else error
        if self.size > 1:
            self._tell_others(str(told) if isinstance(told, ValueError | RunError | OSError) else repr(told))
        return told

    def _tell_others(self, why: str) -> None:
        try:
            self._store.set(self._key("failed"), f"process {self.rank} has ended: {why}")
            self.count("heard", 1)
            limit = time.monotonic() + LAST_WORDS_SECONDS
            while self.count("heard") < self.size and time.monotonic() < limit:
                time.sleep(POLL_SECONDS)
        except RuntimeError:  # the store is gone as well
            return

    def _beat(self) -> None:
        """Gives signs of life, and watches those of the others, until the command is over."""
        seen: dict[int, tuple[bytes, float]] = {}
        beats = 0
        while not self._over.wait(BEAT_SECONDS):
            try:
                beats += 1
                self._store.set(self._key(f"beat/{self.rank}"), str(beats))
                fault = self._heard() or self._silent(seen)
            except RuntimeError:
                fault = "the process that the others meet at is gone"
            if fault and not self._over.is_set():
                self._fault = fault
                return

    def _heard(self) -> str | None:
        if not self._has("failed"):
            return None
        self.count("heard", 1)
        return self._get("failed").decode()

    def _silent(self, seen: dict[int, tuple[bytes, float]]) -> str | None:
        """The sentence for a process that has given no sign for too long; `seen` has the last sign of each, and when it came."""
        now = time.monotonic()
        for rank in range(self.size):
            if rank == self.rank or self._has(f"done/{rank}"):
                continue
            sign = self._get(f"beat/{rank}") if self._has(f"beat/{rank}") else b""
            if rank not in seen or seen[rank][0] != sign:
                seen[rank] = sign, now
            elif now - seen[rank][1] > SILENT_SECONDS:
                return f"process {rank} has given no sign of life for {SILENT_SECONDS:g} s"
        return None

    def _has(self, name: str) -> bool:
        return bool(self._store.check([self._key(name)]))

    def _get(self, name: str) -> bytes:
        value: bytes = self._store.get(self._key(name))
        return value

    def _key(self, name: str) -> str:
        return f"ddim-app/{name}"

    def _meet(self) -> Store:
        asked = launch.processes_asked_for()
        if asked == 1:
            return HashStore()
        if not launch.can_meet():
            raise RunError(
                f"{asked} processes or more were asked for, but this one was not told where the others are: start the command by "
                f"torchrun --nproc_per_node {asked} -m ddim_app"
            )
        try:
            made: Store
            made, self.rank, self.size = next(rendezvous("env://", timeout=timedelta(seconds=MEET_SECONDS)))
        except (RuntimeError, ValueError, OSError) as error:
            raise RunError(
                f"the processes cannot meet at {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']} "
                f"({' '.join(str(error).split())[:160]})"
            ) from error
        return made


class _Ended(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _end(number: int, frame: FrameType | None) -> None:
    raise _Ended(number)
