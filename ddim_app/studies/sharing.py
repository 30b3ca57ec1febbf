"""What sharing network calls brings: many requests at once against one after another, and what a cancelled one leaves."""

import resource
import statistics
import threading
import time
from typing import Any, NamedTuple

import psutil
import torch

from ddim_app.engine import Engine, Finished
from ddim_app.errors import RunError
from ddim_app.runs.sampling import Arm, Frame, Recipe

MIXED_STEPS = (10, 20, 30, 40, 50, 60, 80, 100)
MATRIX_STEPS = (5, 10, 20, 50)
MATRIX_ARMS: tuple[dict[str, Any], ...] = ({"eta": 0.0}, {"eta": 0.5}, {"eta": 1.0}, {"method": "ddpm", "variance": "large"})


class TimedRequest(NamedTuple):
    """A finished request."""

    seconds: float
    """Seconds from the request's arrival to its last frame."""
    picture: torch.Tensor


def together(engine: Engine, recipes: list[Recipe], over: float) -> tuple[float, list[TimedRequest]]:
    """Runs the recipes as they arrive within `over` seconds; (seconds in all, each request)."""
    done: list[TimedRequest | None] = [None] * len(recipes)
    ended = threading.Semaphore(0)
    failed: list[str] = []

    def start(i: int, arrived: float) -> None:
        last: list[Frame] = []

        def emit(item: list[Frame] | Finished) -> None:
            if isinstance(item, Finished):
                done[i] = TimedRequest(time.perf_counter() - arrived, last[-1].x_t) if last and not item.error else None
                if item.error:
                    failed.append(item.error)
                ended.release()
            else:
                last[:] = item

        engine.start(engine.plan(recipes[i]), emit)

    began = time.perf_counter()
    for i in range(len(recipes)):
        time.sleep(max(0.0, began + i * over / len(recipes) - time.perf_counter()))
        start(i, time.perf_counter())
    for _ in recipes:
        ended.acquire()
    if failed:
        raise RunError(failed[0])
    return time.perf_counter() - began, [request for request in done if request]


def one_after_another(engine: Engine, recipes: list[Recipe], over: float) -> tuple[float, list[TimedRequest]]:
    """The requests served one after the other; a request's time counts from its arrival."""
    began = time.perf_counter()
    done = []
    for i, recipe in enumerate(recipes):
        arrival = began + i * over / len(recipes)
        time.sleep(max(0.0, arrival - time.perf_counter()))
        picture = engine.final(recipe)[0]
        done.append(TimedRequest(time.perf_counter() - arrival, picture))
    return time.perf_counter() - began, done


def mixed_requests(engine: Engine, model: str, repeats: int) -> dict[str, float]:
    """Eight requests of one picture and 10 to 100 steps, within a second."""
    recipes = [Recipe(arms=(Arm(steps=steps),), model=model, seed=steps) for steps in MIXED_STEPS]
    total, latency, apart = [], [], 0.0
    for _ in range(repeats):
        serial, alone = one_after_another(engine, recipes, 1.0)
        shared, among = together(engine, recipes, 1.0)
        total.append(serial / shared)
        latency.append(statistics.mean(r.seconds for r in among) / statistics.mean(r.seconds for r in alone))
        apart = max(apart, *(float((a.picture - b.picture).abs().max()) for a, b in zip(alone, among, strict=True)))
    return {"times faster in all": statistics.median(total), "mean latency ratio": statistics.median(latency), "apart": apart}


def matrix(engine: Engine, model: str, repeats: int) -> dict[str, float]:
    """Sixteen cells of steps x eta as the rows of one run, against one run per cell."""
    arms = [Arm(steps=steps, **kind) for steps in MATRIX_STEPS for kind in MATRIX_ARMS]
    ratios, seconds, apart = [], [], 0.0
    for _ in range(repeats):
        began = time.perf_counter()
        whole = engine.final(Recipe(arms=tuple(arms), model=model, seed=7))
        middle = time.perf_counter()
        cells = [engine.final(Recipe(arms=(arm,), model=model, seed=7))[0] for arm in arms]
        seconds.append(middle - began)
        ratios.append((time.perf_counter() - middle) / (middle - began))
        apart = max(apart, *(float((a - b).abs().max()) for a, b in zip(whole, cells, strict=True)))
    return {"seconds": statistics.median(seconds), "times faster": statistics.median(ratios), "apart": apart}


def cancels(engine: Engine, model: str, cycles: int = 1000, settle: int = 200) -> dict[str, float]:
    """Starts and stops a long run `cycles` times: most network calls after a stop, and growth of memory after `settle`."""
    process = psutil.Process()
    planned = engine.plan(Recipe(arms=(Arm(steps=1000),), model=model))
    most, settled = 0, 0
    for cycle in range(cycles):
        first = threading.Event()
        ticket = engine.start(planned, lambda item, first=first: first.set())  # type: ignore[misc]
        first.wait()
        engine.stop(ticket)
        calls = engine.loop.calls
        while engine.loop.busy:
            time.sleep(0.0005)
        most = max(most, engine.loop.calls - calls)
        if cycle == settle:
            settled = process.memory_info().rss
    return {"most calls after a stop": most, "MB grown": (process.memory_info().rss - settled) / 1e6}


def main(repeats: int = 3) -> dict[str, Any]:
    """Prints and returns the figures."""
    engine = Engine(allow_hub=False)
    model = engine.catalogue.names()[0]
    engine.final(Recipe(arms=(Arm(steps=3),), model=model))
    report: dict[str, Any] = {}
    for precision in ("fast", "fp32"):
        groups = engine.check_buckets(model, precision)
        report[f"buckets with equal bits, {engine.number_format(precision)}"] = [sorted(group) for group in groups]
    report["8 requests of 10 to 100 steps against one after another"] = mixed_requests(engine, model, repeats)
    report["4 x 4 matrix against its cells"] = matrix(engine, model, repeats)
    report["1000 starts and stops"] = cancels(engine, model)
    report["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    for name, figures in report.items():
        print(f"{name}: {figures}")
    return report
