"""What sharing network calls brings: many requests at once against one after another, and what a cancelled one leaves."""

import functools
import queue
import resource
import statistics
import sys
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


def served(engine: Engine, recipes: list[Recipe], over: float = 0.0, at_once: bool = True) -> tuple[float, list[TimedRequest]]:
    """Serves recipes that arrive within `over` seconds, at once or one after the other; (seconds in all, each request)."""
    ended: queue.SimpleQueue[tuple[int, float, str | None]] = queue.SimpleQueue()
    last: dict[int, list[Frame]] = {}
    requests: dict[int, TimedRequest] = {}

    def emit(i: int, item: list[Frame] | Finished) -> None:
        if isinstance(item, Finished):
            ended.put((i, time.perf_counter(), item.error))
        else:
            last[i] = item

    def collect() -> None:
        i, now, error = ended.get()
        if error:
            raise RunError(error)
        requests[i] = TimedRequest(now - arrivals[i], last[i][-1].x_t)

    began = time.perf_counter()
    arrivals = [began + i * over / len(recipes) for i in range(len(recipes))]
    for i, recipe in enumerate(recipes):
        time.sleep(max(0.0, arrivals[i] - time.perf_counter()))
        engine.start(engine.plan(recipe), functools.partial(emit, i))
        if not at_once:
            collect()
    while len(requests) < len(recipes):
        collect()
    return time.perf_counter() - began, [requests[i] for i in range(len(recipes))]


def mixed_requests(engine: Engine, model: str, repeats: int) -> dict[str, float]:
    """Eight requests of one picture and 10 to 100 steps, within a second."""
    recipes = [Recipe(arms=(Arm(steps=steps),), model=model, seed=steps) for steps in MIXED_STEPS]
    total, latency, apart = [], [], 0.0
    for _ in range(repeats):
        serial, alone = served(engine, recipes, 1.0, at_once=False)
        shared, among = served(engine, recipes, 1.0)
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
        run = engine.run(planned)
        next(run)
        run.stop()
        calls = engine.loop.calls
        while engine.loop.busy:
            time.sleep(0.0005)
        most = max(most, engine.loop.calls - calls)
        if cycle == settle:
            settled = process.memory_info().rss
    return {"most calls after a stop": most, "MB grown": (process.memory_info().rss - settled) / 1e6}


def peak_megabytes(device: torch.device) -> float:
    """The most memory that was in use: the device's, or on the CPU the process'."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


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
    report["peak memory, MB"] = peak_megabytes(torch.device("cpu"))
    for name, figures in report.items():
        print(f"{name}: {figures}")
    return report
