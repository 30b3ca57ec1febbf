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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ddim_app import backends
from ddim_app.diffusion.noise import BrownianPath
from ddim_app.engine import Engine
from ddim_app.engine.fidelity import fidelity, pictures
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import contenders
from ddim_app.studies.contenders import Timing, interleaved, spread
from ddim_app.studies.sharing import peak_megabytes

STEPS = (10, 50)
PICTURES = (1, 4, 16)
KNEE_ROWS = (1, 2, 4, 8, 16, 32)
FIDELITY_SEEDS = 64
FIDELITY_STEPS = 25


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


def formats(engine: Engine) -> list[str]:
    """Number formats of the exact and the fast precision, once each."""
    return list(dict.fromkeys(("fp32", engine.number_format("fast"))))


def rows(engine: Engine, model: Model, plan: BenchmarkPlan) -> list[dict[str, Any]]:
    """The table of one model: each number of pictures and steps with all rivals, printed as it is measured."""
    table = []
    for count, S in itertools.product(plan.pictures, plan.steps):
        rivals = contenders.rivals(engine, model, count, S, formats(engine), plan.backends, ("DDIMPipeline", "DDPMPipeline"))
        timings = interleaved(rivals, plan.repeats)
        print(f"\n{model.name}, {count} {'picture' if count == 1 else 'pictures'}, {S} steps")
        figures = {}
        for (who, fmt), timing in timings.items():
            name = f"{who} {fmt}, channels_last" if who.endswith("Pipeline") and fmt != "fp32" else f"{who} {fmt}"
            bare = timing.median / timings["bare UNet", fmt].median
            over = f", {bare:5.3f} of the bare UNet" if who == "engine torch" else ""
            theirs = timings["DDIMPipeline", "fp32"].median / timing.median
            rate = count * S / timing.median
            print(f"  {name:32} {shown(timing)}  {rate:7.0f} evaluations/s, {theirs:5.2f} x DDIMPipeline{over}")
            figures[name] = timing._asdict() | {"evaluations per second": rate}
        table.append({"model": model.name, "pictures": count, "steps": S, "seconds": figures})
    return table


def settle(evaluate: Callable[[], object]) -> None:
    """Has a lone row evaluated until whatever torch prepares for such rows serves them; `evaluate` makes 60 calls."""
    for _ in range(2):
        evaluate()
        backends.settle()


def draw(engine: Engine, model: Model, steps: int) -> None:
    engine.final(Recipe(arms=(Arm(steps=steps),), model=model.name))


def growth(engine: Engine, model: Model, repeats: int) -> dict[str, float]:
    """Seconds over steps as a line: what a step costs, and its intercept in steps; one picture."""
    timings = interleaved({S: partial(draw, engine, model, S) for S in (5, 10, 20, 40)}, repeats)
    slope, intercept = statistics.linear_regression(list(timings), [timing.median for timing in timings.values()])
    return {"seconds per step": slope, "intercept in steps": intercept / slope}


def knee(engine: Engine, model: Model, repeats: int) -> dict[str, Any]:
    """Milliseconds per row over the rows of a call, and the fewest rows within 10 % of the best."""
    predict, calls = engine.evaluator(model, "fast"), {}
    for count in KNEE_ROWS if engine.device.type != "cpu" else KNEE_ROWS[:5]:
        calls[count] = partial(engine.loop.call, predict, *contenders.ready(model, engine.device, count))
    settle(lambda: [calls[1]() for _ in range(60)])
    each = {count: 1000 * timing.median / count for count, timing in interleaved(calls, repeats).items()}
    return {"milliseconds per row": each, "knee": next(count for count, ms in each.items() if ms <= 1.1 * min(each.values()))}


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
            label = f"{name}, {arm.method.upper()}"
            figures[label] = near._asdict()
            print(f"  {label:34} median {near.median:5.1f} dB, worst {near.worst:5.1f} dB of {near.pictures}")
    return figures


def first_frame(engine: Engine, model: Model, repeats: int) -> dict[str, Timing]:
    """Four pictures by DDIM and DDPM in 25 steps: the time to the first frame, and to the end."""
    recipe = Recipe(arms=(Arm(), Arm(method="ddpm")), model=model.name, pictures=4)
    first, whole = [], []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        run = engine.run(recipe)
        next(run)
        first.append(time.perf_counter() - began)
        list(run)
        whole.append(time.perf_counter() - began)
    return {"first frame": spread(first[1:]), "4 pictures x 2 arms x 25 steps": spread(whole[1:])}


def noise_share(model: Model, steps: int, seconds_of_network: float) -> float:
    """Time to draw one picture's step noise over the network's time for it."""
    levels = model.schedule.levels(steps)[:-1]
    began = time.perf_counter()
    for seed in range(5):
        path = BrownianPath(model.schedule, model.shape, seed)
        for cur, nxt in itertools.pairwise(levels):
            path.between(cur.t, nxt.t)
    return (time.perf_counter() - began) / 5 / seconds_of_network


def about(engine: Engine, model: Model, plan: BenchmarkPlan) -> dict[str, Any]:
    """What is measured of a model beside its table, printed as it is measured."""
    print(f"\n{model.name}, {model.parameters / 1e6:.1f}M parameters")
    settle(partial(draw, engine, model, 60))
    figures: dict[str, Any] = {}
    for name, timing in first_frame(engine, model, plan.repeats).items():
        print(f"  {name:34} {shown(timing)}")
        figures[name] = timing._asdict()
    figures["difference to fp32"] = nearness(engine, model, plan)
    figures["growth"] = growth(engine, model, plan.repeats)
    step, intercept = figures["growth"].values()
    print(f"  {1000 * step:.1f} ms a step, intercept {intercept:.1f} steps")
    figures["batch"] = knee(engine, model, plan.repeats)
    each = ", ".join(f"{rows}: {ms:.1f}" for rows, ms in figures["batch"]["milliseconds per row"].items())
    print(f"  knee at {figures['batch']['knee']} rows (ms per row: {each})")
    figures["noise share"] = noise_share(model, 25, 25 * step)
    print(f"  step noise takes {100 * figures['noise share']:.1f} % of the network's time")
    return figures


def main(plan: BenchmarkPlan, output: Path | None = None) -> None:
    """Prints the tables, and writes them as JSON when asked."""
    engine = Engine(allow_hub=False, backend="torch")
    bundled = [name for name in engine.catalogue.names() if "/" not in name]
    models = [engine.model(name) for name in (plan.models or bundled)][: 1 if plan.quick else None]
    report: dict[str, Any] = {"machine": machine(engine), "repeats": plan.repeats, "rows": [], "models": {}}
    print(f"{report['machine']}; medians of {plan.repeats} (range)")
    for model in models:
        report["models"][model.name] = about(engine, model, plan)
        report["rows"] += rows(engine, model, plan)
    if not plan.quick:
        gain = partial(contenders.traced_gain, models[0], engine.device, formats(engine), plan.repeats)
        report["traced and frozen"] = engine.loop.call(gain)
        large = engine.keep(contenders.cifar())
        settle(partial(draw, engine, large, 60))
        report["rows"] += rows(engine, large, replace(plan, pictures=(1, 4), steps=(10,)))
    report["peak memory in MB"] = peak_megabytes(engine.device)
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
