"""Time to the same picture: how long each sampler needs until its pictures are those of the exact flow.

The exact flow is DDIM with all T steps in fp32, without clipping, which nobody here does. A sampler is there with the least steps
with which mean and median over the seeds of the RMSE to its pictures are at most 5 of 255; those runs are timed, in turns.
"""

import bisect
import itertools
import json
import math
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddim_app.backends import eager
from ddim_app.diffusion.metrics import SAME, rmse
from ddim_app.diffusion.noise import initial_noise
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, whole
from ddim_app.models.loading import Model
from ddim_app.runs.methods import METHODS
from ddim_app.runs.sampling import MAX_PICTURES, Arm, Recipe
from ddim_app.studies.contenders import Timing, interleaved
from ddim_app.studies.sampling_benchmark import draw, machine, settle, shown

BATCHES = (1, 16)
"""Pictures of a timed run."""
COUNTS = (*range(1, 21), *range(22, 41, 2), *range(45, 101, 5), *range(110, 201, 10), 250, 300, 400, 500, 700, 1000)
"""Steps that are tried."""
GRIDS: tuple[dict[str, Any], ...] = (
    {"timestep_spacing": "linspace"}, {"timestep_spacing": "leading"}, {"timestep_spacing": "trailing"},
    {"use_karras_sigmas": True}, {"use_lu_lambdas": True}, {"use_exponential_sigmas": True},
)  # fmt: skip
ENDS: tuple[dict[str, Any], ...] = ({}, {"euler_at_final": True})
ORDERS = (2, 3)

OURS = "engine"

Draw = Callable[[int, range], Tensor]
"""Pictures (N, C, H, W) in [-1, 1] of seeds in a number of steps."""


@dataclass(frozen=True)
class Way:
    """One way to sample, with all of its settings but the steps."""

    words: str
    draw: Draw


class Near(NamedTuple):
    """The distances of pictures to the exact flow's: mean and median RMSE of 255."""

    mean: float
    median: float

    @property
    def is_same(self) -> bool:
        return self.mean <= SAME and self.median <= SAME


class Reached(NamedTuple):
    """The fewest steps with which a way is there."""

    way: Way
    steps: int
    near: Near


def distances(way: Way, steps: int, exact: Tensor) -> Near:
    """Those of seeds 0 to len(exact); infinite as soon as the mean over all must be above the limit, or is no number."""
    apart: list[float] = []
    for start in range(0, len(exact), MAX_PICTURES):
        seeds = range(start, min(start + MAX_PICTURES, len(exact)))
        apart += rmse(way.draw(steps, seeds), exact[start : seeds.stop]).tolist()
        if not sum(apart) <= SAME * len(exact):
            return Near(math.inf, math.inf)
    return Near(statistics.mean(apart), statistics.median(apart))


def least(ways: Sequence[Way], counts: Sequence[int], exact: Tensor) -> Reached | None:
    """The way that needs the fewest of the counts, by bisection, with them; of several the first, None where none is there.

    Distances are taken to fall with the steps, so a way that is not there with fewer than the best so far is not looked at again.
    """
    reached: Reached | None = None
    for way in ways:
        tried: dict[int, Near] = {}

        def is_there(steps: int, way: Way = way, tried: dict[int, Near] = tried) -> bool:
            tried[steps] = distances(way, steps, exact)
            return tried[steps].is_same

        best = len(counts) if reached is None else counts.index(reached.steps)
        if reached is None or (best and is_there(counts[best - 1])):
            place = bisect.bisect_left(counts, True, hi=best if reached is None else best - 1, key=is_there)
            if place < len(counts):
                reached = Reached(way, counts[place], tried[counts[place]])
    return reached


def ours(engine: Engine, model: Model, method: str, backend: str) -> list[Way]:
    """The method in every spacing, in the fast precision."""

    def pictures(spacing: str, steps: int, seeds: range) -> Tensor:
        arm = Arm(method=method, steps=steps, spacing=spacing, clip="off")
        made = Recipe(arms=(arm,), model=model.name, seed=seeds.start, pictures=len(seeds), precision="fast", backend=backend)
        return engine.final(made)[0]

    return [Way(spacing, partial(pictures, spacing)) for spacing in SPACINGS]


def pipeline(engine: Engine, model: Model, spacing: str) -> Way:
    """diffusers' DDIMPipeline in fp32, as it comes, from the same noise."""
    import diffusers

    scheduler = diffusers.DDIMScheduler(**_config(model), timestep_spacing=spacing, clip_sample=False)
    made = diffusers.DDIMPipeline(_copy(model).to(engine.device).eval(), scheduler)
    made.set_progress_bar_config(disable=True)

    def pictures(steps: int, seeds: range) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        images = made(batch_size=len(seeds), generator=generators, num_inference_steps=steps, output_type="np").images
        return torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1

    return Way(spacing, partial(engine.loop.call, pictures))


def solvers(engine: Engine, model: Model) -> list[Way]:
    """diffusers' DPMSolverMultistepScheduler, tuned: every grid, order and end, the weights in 16 bits and channels_last.

    The picture stays in fp32 between the calls, which costs nothing and brings it nearer.
    """
    import diffusers

    fmt = engine.number_format("fast")
    dtype = eager.DTYPES.get(fmt, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = _copy(model).to(engine.device, dtype, memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def pictures(config: dict[str, Any], steps: int, seeds: range) -> Tensor:
        scheduler = diffusers.DPMSolverMultistepScheduler(**_config(model), **config)
        x = initial_noise(seeds, model.shape).to(engine.device)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            eps = unet(x.to(dtype, memory_format=torch.channels_last), t).sample.float()
            x = scheduler.step(eps, t, x).prev_sample
        return x.clamp(-1, 1).cpu()

    configs = [{**grid, "solver_order": order, **end} for order, end, grid in itertools.product(ORDERS, ENDS, GRIDS)]
    return [Way(_words(config), partial(engine.loop.call, partial(_or_nothing, partial(pictures, config)))) for config in configs]


def _or_nothing(pictures: Draw, steps: int, seeds: range) -> Tensor:
    """Some of diffusers' settings cannot be had with few steps: then there are no pictures."""
    try:
        return pictures(steps, seeds)
    except (ValueError, IndexError, ZeroDivisionError):
        return torch.full((len(seeds), 1, 1, 1), torch.nan)


def _words(config: dict[str, Any]) -> str:
    return ", ".join(str(value) if key == "timestep_spacing" else key.replace("_", " ") if value is True else f"order {value}"
                     for key, value in config.items())  # fmt: skip


def _config(model: Model) -> dict[str, Any]:
    """The model's schedule for a scheduler of diffusers."""
    alpha_bars = model.schedule.alphas_cumprod
    betas = 1 - alpha_bars / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bars[:-1]])
    return {
        "num_train_timesteps": len(betas), "trained_betas": betas.tolist(), "prediction_type": model.schedule.prediction_type,
    }  # fmt: skip


def _copy(model: Model) -> Any:
    import diffusers

    unet = diffusers.UNet2DModel.from_config(model.unet.config)
    unet.load_state_dict(model.unet.state_dict())
    return unet


def exact_pictures(engine: Engine, model: Model, seeds: int, kept: Path | None = None) -> Tensor:
    """The exact flow's pictures (seeds, C, H, W), from the file `kept` if they are in it, and else drawn and written there.

    Raises FieldError when the file holds those of other weights or fewer.
    """
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            if str(archive["weights"]) != model.sha256 or len(archive["pictures"]) < seeds:
                raise FieldError("exact", f"{kept} is not of {model.name} with {seeds} seeds: name another file")
            return torch.from_numpy(archive["pictures"][:seeds])
    arm, drawn = Arm(steps=model.schedule.num_train_timesteps, clip="off"), []
    for seed in range(0, seeds, MAX_PICTURES):
        count = min(MAX_PICTURES, seeds - seed)
        recipe = Recipe(arms=(arm,), model=model.name, seed=seed, pictures=count, precision="fp32", backend="torch")
        drawn.append(engine.final(recipe)[0])
    exact = torch.cat(drawn)
    if kept is not None:
        np.savez(kept, pictures=exact.numpy(), weights=model.sha256)
    return exact


def groups(engine: Engine, model: Model, backends: Sequence[str]) -> dict[str, list[Way]]:
    """Whoever races, by the name of the row: each is as good as the best of its ways."""
    ready = [backend for backend in backends if backend == "torch" or engine.prepare(model.name, "fast")]
    fmt = engine.number_format("fast")
    rows = {
        f"{OURS} {METHODS[method].title}, {backend}, {fmt}": ours(engine, model, method, backend)
        for backend in ready
        for method in ("ddim", "2m")
    }
    for spacing in ("leading", "trailing"):
        rows[f"DDIMPipeline, {spacing}, fp32"] = [pipeline(engine, model, spacing)]
    return rows | {f"DPMSolverMultistepScheduler, {fmt}": solvers(engine, model)}


def search(named: dict[str, list[Way]], counts: Sequence[int], exact: Tensor) -> dict[str, Reached]:
    """The fewest steps of each group that is there with some of the counts, printed as they are found."""
    reached = {}
    for name, ways in named.items():
        best = least(ways, counts, exact)
        if best is None:
            print(f"  {name:40} is not there with {counts[-1]} steps")
            continue
        reached[name] = best
        mean, median = best.near
        print(f"  {name:40} {best.steps:4} steps, {best.way.words}: mean {mean:.2f}, median {median:.2f}", flush=True)
    return reached


def timed(reached: dict[str, Reached], repeats: int) -> list[dict[str, Any]]:
    """A row for each group: its steps, how near they are, and the seconds of each batch, taken in turns and printed."""
    rows = [
        {"who": name, "settings": best.way.words, "steps": best.steps, **best.near._asdict(), "seconds": {}}
        for name, best in reached.items()
    ]
    for count in BATCHES:
        print(f"\n{count} {'picture' if count == 1 else 'pictures'}")
        rivals = {name: partial(best.way.draw, best.steps, range(count)) for name, best in reached.items()}
        timings: dict[str, Timing] = interleaved(rivals, repeats)
        others = {name: timing.median for name, timing in timings.items() if not name.startswith(OURS)}
        for row in rows:
            timing = timings[row["who"]]
            faster = {name: median / timing.median for name, median in others.items()}
            row["seconds"][count] = {**timing._asdict(), "times faster than": faster}
            ratios = ", ".join(f"{ratio:.2f} x {name}" for name, ratio in faster.items())
            print(f"  {row['who']:40} {row['steps']:4} steps {shown(timing)}  {ratios}", flush=True)
    return rows


def main(
    models: Sequence[str] | None, backends: Sequence[str], repeats: int, seeds: int, exact_file: Path | None = None,
    output: Path | None = None,
) -> None:  # fmt: skip
    """Prints the table of the first model, and writes it as JSON when asked."""
    whole("seeds", seeds, 1)
    engine = Engine(allow_hub=False, backend="torch")
    model = engine.model((models or engine.catalogue.names())[0])
    T = model.schedule.num_train_timesteps
    print(f"{machine(engine)}; medians of {repeats} (range)")
    exact = exact_pictures(engine, model, seeds, exact_file)
    print(f"{model.name}: fewest steps with which mean and median of {seeds} seeds are within {SAME:g} of 255 of {T} steps of DDIM")
    reached = search(groups(engine, model, backends), [count for count in COUNTS if count <= T], exact)
    settle(partial(draw, engine, model, min(60, T)))
    rows = timed(reached, repeats)
    if output:
        report = {"machine": machine(engine), "model": model.name, "weights": model.sha256, "seeds": seeds, "rows": rows}
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
