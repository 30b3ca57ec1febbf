"""The page over a real socket, in this process, so that a test can count the network calls that a request causes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from gradio_client import Client

from ddim_app import backends
from ddim_app.diffusion.sampler import Predict
from ddim_app.engine import Engine
from ddim_app.engine.options import Options
from ddim_app.ui import build_ui, launch_options
from ddim_app.ui.hosting import server


@contextmanager
def served(engine: Engine, options: Options = Options(host="127.0.0.1")) -> Iterator[str]:  # noqa: B008  (frozen)
    """Address of the page over `engine`, as app.py would launch it."""
    demo = build_ui(
        engine,
        max_queue=options.max_queue,
        behind_proxy=options.behind_proxy,
        live=options.live,
        set_bytes=options.stored_sets * 1_000_000,
    )
    hosted = server.app_options(engine, demo, options)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(), **hosted)
    try:
        yield url.rstrip("/")
    finally:
        demo.close(verbose=False)


def patient_client(address: str, **options: Any) -> Client:
    """Gradio's client with a patience that suits a busy machine; its own gives up on an answer after 5 s."""
    return Client(address, verbose=False, httpx_kwargs={"timeout": 60}, **options)


class Brake:
    """Stands in for backends.predictor: its network calls take `seconds` longer, for tests that act in the middle of a run."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self._real = backends.predictor

    def __call__(self, *arguments: Any) -> Predict:
        predict = self._real(*arguments)

        def braked(x: torch.Tensor, *conditions: torch.Tensor) -> torch.Tensor:
            time.sleep(self.seconds)
            return predict(x, *conditions)

        return braked


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Returns as soon as the condition holds; fails when it never does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the condition never came true"
        time.sleep(0.01)


def calls_after(engine: Engine, seconds: float = 0.3) -> int:
    """How many network calls end from now on, the one under way included, watched for `seconds` after the last run left."""
    before = engine.loop.calls
    wait_for(lambda: engine.loop.runs == 0 and not engine.loop.busy)
    time.sleep(seconds)
    return engine.loop.calls - before
