"""A stand-in for `spaces.GPU` that keeps ZeroGPU's rules: it forks, pickles what goes over, and takes the GPU back in time."""

import inspect
import multiprocessing
import pickle
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

MAX_SECONDS = 120
PATIENCE = 10
"""How many times its lease a worker may take here: the machine that tests run on may be busy."""


class Lender:
    """`lender.GPU` decorates; `quota` is what the visitor has left today, in seconds."""

    def __init__(self, quota: float = 300, patience: float = PATIENCE) -> None:
        self.quota, self.patience = quota, patience
        self.asked: list[float] = []
        """Seconds that each call asked for."""
        self.stopped_after: list[int] = []
        """Items that each worker had made when it ended."""

    def GPU(self, duration: Callable[..., float]) -> Callable[..., Any]:  # noqa: N802
        return lambda task: self._decorated(task, duration)

    def _decorated(self, task: Callable[..., Any], duration: Callable[..., float]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(task) or inspect.isasyncgenfunction(task):
            raise NotImplementedError
        assert inspect.isgeneratorfunction(task)

        @wraps(task)
        def call(*arguments: Any) -> Iterator[Any]:
            seconds = duration(*arguments)
            self.asked.append(seconds)
            if seconds > min(self.quota, MAX_SECONDS):
                raise RuntimeError(f"You have exceeded your GPU quota ({seconds} s requested, {self.quota} s left)")
            yield from self._in_worker(task, pickle.dumps(arguments), seconds)

        return call

    def _in_worker(self, task: Callable[..., Any], arguments: bytes, seconds: float) -> Iterator[Any]:
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        stop = context.Event()
        worker = context.Process(target=_work, args=(task, arguments, there, stop), daemon=True)
        worker.start()
        there.close()
        limit, made = time.monotonic() + self.patience * seconds, 0
        try:
            while True:
                if not here.poll(max(0.0, limit - time.monotonic())):
                    worker.kill()
                    raise RuntimeError("GPU task aborted")
                kind, value = pickle.loads(here.recv_bytes())
                if kind == "end":
                    return
                if kind == "error":
                    raise RuntimeError(f"ZeroGPU worker error: {value}")
                made += 1
                yield value
        finally:
            stop.set()
            while worker.is_alive():  # it may have run ahead, and waits for somebody to read
                if here.poll(0.05):
                    try:
                        made += pickle.loads(here.recv_bytes())[0] == "value"
                    except EOFError:
                        break
            worker.join(10)
            self.stopped_after.append(made)


def _work(task: Callable[..., Any], arguments: bytes, pipe: Any, stop: Any) -> None:
    items = task(*pickle.loads(arguments))
    try:
        for item in items:
            pipe.send_bytes(pickle.dumps(("value", item)))
            if stop.is_set():
                items.close()
                break
        pipe.send_bytes(pickle.dumps(("end", None)))
    except Exception as error:
        pipe.send_bytes(pickle.dumps(("error", type(error).__name__)))
    finally:
        pipe.close()
