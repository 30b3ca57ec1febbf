"""Writing on a thread while the run goes on, one job after another."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ddim_app import backends


class BackgroundWriter:
    """Runs jobs that write; the error of one comes with the next call."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "writer", backends.spare_cores)
        self._running: Future[None] | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begins a job when the one before has ended."""
        self.wait()
        self._running = self._pool.submit(job)

    def look(self) -> None:
        """Raises the error of a job that has ended, without waiting for one that has not."""
        if self._running is not None and self._running.done():
            self.wait()

    def wait(self) -> None:
        """Returns when nothing is being written."""
        running, self._running = self._running, None
        if running is not None:
            running.result()
