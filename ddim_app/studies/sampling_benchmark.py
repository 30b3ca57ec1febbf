"""What this machine does: the engine beside the bare network and beside diffusers' own pipelines, in one process.

The contenders of a row take turns, so a machine that is shared or slows down does so for all of them; figures are medians
with their spread, and what counts are the ratios.
"""

import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.engine.fidelity import fidelity, pictures
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import contenders

STEPS = (10, 50)
PICTURES = (1, 4, 16)
KNEE_ROWS = (1, 2, 4, 8, 16, 32)
FIDELITY_SEEDS = 64
FIDELITY_STEPS = 25


class Timing(NamedTuple):
    """Seconds of one contender over the repeats."""

    median: float
    low: float
    high: float


@dataclass
class BenchmarkPlan:
    """How much is measured."""

    repeats: int = 5
    quick: bool = False
    models: Sequence[str] | None = None
    pictures: Sequence[int] = PICTURES
    steps: Sequence[int] = STEPS
    backends: Sequence[str] = ("torch", "openvino")
    seeds: int = FIDELITY_SEEDS

    def __post_init__(self) -> None:
        if self.quick:
            self.repeats, self.steps, self.pictures, self.seeds = min(self.repeats, 3), self.steps[:1], self.pictures[:2], 2


def interleaved(rivals: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Times each rival `repeats` times, in turns, after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(repeats + 1):
        for name, rival in rivals.items():
            began = time.perf_counter()
            rival()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: spread(times) for name, times in seconds.items()}


def spread(times: Sequence[float]) -> Timing:
    return Timing(statistics.median(times), min(times), max(times))


def rivals(engine: Engine, model: Model, count: int, steps: int, names: Sequence[str]) -> dict[str, Callable[[], object]]:
    """Whoever draws `count` pictures in `steps` steps on this machine, by what they are called in the table."""
    named: dict[str, Callable[[], object]] = {}
    for fmt in formats(engine):
        precision = "fp32" if fmt == "fp32" else "fast"
        named[f"bare UNet {fmt}"] = alone(engine, contenders.bare(model, engine.device, fmt, count, steps))
        for backend in names:
            if backend == "openvino" and not engine.prepare(model.name, precision):
                continue
            recipe = Recipe(arms=(Arm(steps=steps),), model=model.name, pictures=count, precision=precision, backend=backend)
            named[f"engine {backend} {fmt}"] = lambda recipe=recipe: engine.final(recipe)  # type: ignore[misc]
    for kind in ("DDIMPipeline", "DDPMPipeline"):
        for fmt in formats(engine):
            tuned = fmt != "fp32"
            name = f"{kind} {fmt}, channels_last" if tuned else f"{kind} {fmt}"
            named[name] = alone(engine, contenders.pipeline(kind, model, engine.device, fmt, count, steps))
    return named


def alone(engine: Engine, rival: contenders.Rival) -> contenders.Rival:
    """The same on the thread that makes the engine's calls, the only one that has all cores: no other serves anybody faster."""
    return lambda: engine.loop.call(rival)


def formats(engine: Engine) -> list[str]:
    """Number formats of the exact and the fast precision, once each."""
    return list(dict.fromkeys(("fp32", engine.number_format("fast"))))


def rows(
    engine: Engine, model: Model, plan: BenchmarkPlan, counts: Sequence[int] | None = None, steps: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """The table of one model: each number of pictures and steps with all rivals, printed as it is measured."""
    table = []
    for count, S in itertools.product(counts or plan.pictures, steps or plan.steps):
        timings = interleaved(rivals(engine, model, count, S, plan.backends), plan.repeats)
        print(f"\n{model.name}, {count} {'picture' if count == 1 else 'pictures'}, {S} steps")
        theirs = timings["DDIMPipeline fp32"].median
        for name, timing in timings.items():
            bare = timings[f"bare UNet {name.split()[2]}"].median if name.startswith("engine torch") else None
            over = f", {timing.median / bare:5.3f} of the bare UNet" if bare else ""
            print(f"  {name:32} {shown(timing)}  {count * S / timing.median:7.0f} evaluations/s, "
                  f"{theirs / timing.median:5.2f} x DDIMPipeline{over}")  # fmt: skip
        figures = {
            name: timing._asdict() | {"evaluations per second": count * S / timing.median} for name, timing in timings.items()
        }
        table.append({"model": model.name, "pictures": count, "steps": S, "seconds": figures})
    return table


def settle(evaluate: Callable[[], object]) -> None:
    """Has a lone row evaluated until whatever torch prepares for such rows serves them; `evaluate` makes 60 calls."""
    for _ in range(2):
        evaluate()
        backends.settle()


def settle_engine(engine: Engine, model: Model) -> None:
    settle(lambda: engine.final(Recipe(arms=(Arm(steps=60),), model=model.name)))


def growth(engine: Engine, model: Model, repeats: int) -> dict[str, float]:
    """Seconds over steps as a line: what a step costs, and its intercept in steps; one picture."""
    grid = (5, 10, 20, 40)
    timings = interleaved({str(S): lambda S=S: engine.final(Recipe(arms=(Arm(steps=S),), model=model.name)) for S in grid}, repeats)  # type: ignore[misc]
    slope, intercept = line(list(grid), [timings[str(S)].median for S in grid])
    return {"seconds per step": slope, "intercept in steps": intercept / slope}


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(slope, intercept) of the least squares line."""
    slope, intercept = statistics.linear_regression(x, y)
    return slope, intercept


def knee(engine: Engine, model: Model, repeats: int) -> dict[str, Any]:
    """Milliseconds per row over the rows of a call, and the fewest rows within 10 % of the best."""
    key = engine.evaluator(model, "fast")
    sizes = [rows for rows in KNEE_ROWS if rows <= (16 if engine.device.type == "cpu" else max(KNEE_ROWS))]
    calls = {}
    for count in sizes:
        x, t = torch.zeros(count, *model.shape, device=engine.device), torch.full((count,), 500)
        calls[str(count)] = alone(engine, lambda x=x, t=t: key(x, t).cpu())  # type: ignore[misc]
    settle(lambda: [calls["1"]() for _ in range(60)])
    each = {int(name): timing.median / int(name) for name, timing in interleaved(calls, repeats).items()}
    return {
        "milliseconds per row": {count: 1000 * seconds for count, seconds in each.items()},
        "knee": next(count for count, seconds in each.items() if seconds <= 1.1 * min(each.values())),
    }


def nearness(engine: Engine, model: Model, plan: BenchmarkPlan) -> dict[str, dict[str, float]]:
    """PSNR to fp32 of pictures in each backend's fast format, and in the mixture's absence, DDIM and DDPM apart."""
    figures = {}
    fmt = engine.number_format("fast")
    tried = {f"{backend} {fmt}": engine.evaluator(model, "fast", backend) for backend in plan.backends
             if backend == "torch" or engine.prepare(model.name, "fast")}  # fmt: skip
    if fmt != "fp32":
        tried[f"plain autocast to {fmt}"] = contenders.autocast(model, engine.device, fmt)
    for arm in (Arm(steps=FIDELITY_STEPS), Arm(method="ddpm", steps=FIDELITY_STEPS)):
        exact = pictures(engine.evaluator(model, "fp32", "torch"), model, arm, range(plan.seeds))
        for name, predict in tried.items():
            near = fidelity(predict, exact, model, arm, range(plan.seeds))
            figures[f"{name}, {arm.method.upper()}"] = near._asdict()
            label = f"{name}, {arm.method.upper()}"
            print(f"  {label:34} median {near.median:5.1f} dB, worst {near.worst:5.1f} dB of {near.pictures}")
    return figures


def first_frame(engine: Engine, model: Model, repeats: int) -> dict[str, Timing]:
    """Four pictures by DDIM and DDPM in 25 steps: the time to the first frame, and to the end."""
    recipe = Recipe(arms=(Arm(), Arm(method="ddpm")), model=model.name, pictures=4)
    first, whole = [], []
    for turn in range(repeats + 1):
        began = time.perf_counter()
        frames = engine.run(recipe)
        next(frames)
        to_first = time.perf_counter() - began
        for _ in frames:
            pass
        if turn:
            first.append(to_first)
            whole.append(time.perf_counter() - began)
    return {"first frame": spread(first), "4 pictures x 2 arms x 25 steps": spread(whole)}


def noise_share(model: Model, steps: int, seconds_of_network: float) -> float:
    """Time to draw one picture's step noise over the network's time for it."""
    from ddim_app.diffusion.noise import BrownianPath

    levels = model.schedule.levels(steps)[:-1]
    began = time.perf_counter()
    for seed in range(5):
        path = BrownianPath(model.schedule, model.shape, seed)
        for cur, nxt in itertools.pairwise(levels):
            path.between(cur.t, nxt.t)
    return (time.perf_counter() - began) / 5 / seconds_of_network


def main(plan: BenchmarkPlan, output: Path | None = None) -> None:
    """Prints the tables, and writes them as JSON when asked."""
    engine = Engine(allow_hub=False, backend="torch")
    bundled = [name for name in engine.catalogue.names() if "/" not in name]
    models = [engine.model(name) for name in (plan.models or bundled)][: 1 if plan.quick else None]
    report: dict[str, Any] = {"machine": machine(engine), "repeats": plan.repeats, "rows": [], "models": {}}
    print(f"{report['machine']}; medians of {plan.repeats} (range)")
    for model in models:
        print(f"\n{model.name}, {model.parameters / 1e6:.1f}M parameters")
        about: dict[str, Any] = {}
        settle_engine(engine, model)
        report["models"][model.name] = about
        for name, timing in first_frame(engine, model, plan.repeats).items():
            print(f"  {name:34} {shown(timing)}")
            about[name] = timing._asdict()
        about["difference to fp32"] = nearness(engine, model, plan)
        about["growth"] = growth(engine, model, plan.repeats)
        step, intercept = about["growth"].values()
        print(f"  {1000 * step:.1f} ms a step, intercept {intercept:.1f} steps")
        about["batch"] = knee(engine, model, plan.repeats)
        each = ", ".join(f"{rows}: {ms:.1f}" for rows, ms in about["batch"]["milliseconds per row"].items())
        print(f"  knee at {about['batch']['knee']} rows (ms per row: {each})")
        about["noise share"] = noise_share(model, 25, 25 * about["growth"]["seconds per step"])
        print(f"  step noise takes {100 * about['noise share']:.1f} % of the network's time")
        report["rows"] += rows(engine, model, plan)
    if not plan.quick:
        report["traced and frozen"] = engine.loop.call(
            contenders.traced_gain, models[0], engine.device, formats(engine), plan.repeats
        )
        large = engine.keep(contenders.cifar())
        settle_engine(engine, large)
        report["rows"] += rows(engine, large, plan, counts=(1, 4), steps=(10,))
    report["peak memory in MB"] = contenders.peak_megabytes(engine.device)
    print(f"\npeak memory {report['peak memory in MB']:.0f} MB")
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def shown(timing: Timing) -> str:
    return f"{timing.median:6.3f} s ({timing.low:.3f} to {timing.high:.3f})"


def machine(engine: Engine) -> str:
    """Device, number format, threads and versions, in words."""
    device = torch.cuda.get_device_name() if engine.device.type == "cuda" else f"{platform.machine()} CPU"
    threads = f", {backends.threads()} threads" if engine.device.type == "cpu" else ""
    return f"{device}, {engine.number_format('fast')}{threads}, torch {torch.__version__}, Python {sys.version.split()[0]}"
