"""What this machine does: the engine beside the bare network and beside diffusers' own pipeline, in one process.

The contenders of a row take turns, so a machine that is shared or slows down does so for all of them; figures are medians
with their spread, and what counts are the ratios.
"""

import itertools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ddim_app.engine import Engine
from ddim_app.model import Model
from ddim_app.recipe import Arm, Recipe

ROWS = [(1, 25), (4, 25), (8, 25), (16, 25)]
"""Pictures per call, steps."""


class Timing(NamedTuple):
    """Seconds of one contender over the repeats."""

    median: float
    low: float
    high: float


def interleaved(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Times each contender `repeats` times, in turns, after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, contender in contenders.items():
            began = time.perf_counter()
            contender()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(statistics.median(times), min(times), max(times)) for name, times in seconds.items()}


def sampling(engine: Engine, model: Model, pictures: int, steps: int, repeats: int) -> dict[str, Timing]:
    """Bare network calls, the engine, and DDIMPipeline, in fp32; and the first two in bf16 where that is native."""
    contenders: dict[str, Callable[[], object]] = {}
    x, t = (
        torch.randn(pictures, *model.shape, device=engine.device).contiguous(memory_format=torch.channels_last),
        torch.full((pictures,), 500, device=engine.device),
    )
    for precision in ("fp32", "fast"):
        fmt = engine.number_format(precision)
        call = bare(model, engine.device, fmt)
        run = Recipe(arms=(Arm(steps=steps),), model=model.name, pictures=pictures, precision=precision)
        contenders[f"bare UNet {fmt}"] = lambda call=call: [call(x, t) for _ in range(steps)]  # type: ignore[misc]
        contenders[f"engine {fmt}"] = lambda run=run: engine.final(run)  # type: ignore[misc]
    contenders["DDIMPipeline fp32"] = diffusers_pipeline(model, engine.device, pictures, steps)
    return interleaved(contenders, repeats)


def bare(model: Model, device: torch.device, fmt: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The network and nothing else: no bucket, no conversion; weights and pictures in the layout that the engine uses."""
    unet = model.unet.to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def call(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=fmt == "bf16"):
            return unet(x, t, return_dict=False)[0]  # type: ignore[no-any-return]

    return call


def diffusers_pipeline(model: Model, device: torch.device, pictures: int, steps: int) -> Callable[[], object]:
    """diffusers' DDIMPipeline with its defaults around a copy of the same network."""
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    unet = UNet2DModel.from_config(model.unet.config)
    unet.load_state_dict(model.unet.state_dict())
    pipeline = DDIMPipeline(unet.to(device).eval(), DDIMScheduler(num_train_timesteps=model.schedule.num_train_timesteps))
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(batch_size=pictures, num_inference_steps=steps, output_type="np")


def comparison(engine: Engine, model: Model, repeats: int) -> dict[str, Timing]:
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
    return {
        "first frame": Timing(statistics.median(first), min(first), max(first)),
        "4 pictures x 2 arms x 25 steps": Timing(statistics.median(whole), min(whole), max(whole)),
    }


def noise_share(model: Model, steps: int, seconds_of_network: float) -> float:
    """Time to draw one picture's step noise over the network's time for it."""
    from ddim_app.latents import NoisePath

    levels = model.schedule.levels(steps)[:-1]
    began = time.perf_counter()
    for seed in range(5):
        path = NoisePath(model.schedule, model.shape, seed)
        for cur, nxt in itertools.pairwise(levels):
            path.between(cur.t, nxt.t)
    return (time.perf_counter() - began) / 5 / seconds_of_network


def main(repeats: int = 5, quick: bool = False, output: Path | None = None) -> None:
    """Prints the table, and writes it as JSON when asked."""
    engine = Engine(allow_hub=False)
    model = engine.model(engine.catalogue.names()[0])
    report: dict[str, Any] = {"machine": machine(engine), "model": model.name, "repeats": repeats, "rows": []}
    print(f"{report['machine']}; {model.name}, {model.parameters / 1e6:.1f}M parameters; median of {repeats} (range)")
    for name, timing in comparison(engine, model, repeats).items():
        print(f"{name:32} {shown(timing)}")
        report[name] = timing._asdict()
    for pictures, steps in ROWS[1:3] if quick else ROWS:
        timings = sampling(engine, model, pictures, steps, repeats)
        report["rows"].append({"pictures": pictures, "steps": steps, **{name: t._asdict() for name, t in timings.items()}})
        print(f"\n{pictures} pictures, {steps} steps")
        for name, timing in timings.items():
            reference = timings[name.replace("engine", "bare UNet")] if name.startswith("engine") else timings["engine fp32"]
            against = "over the bare UNet" if name.startswith("engine") else "times the engine in fp32"
            ratio = timing.median / reference.median
            print(f"  {name:30} {shown(timing)}  {ratio:5.3f} {against}")
    fast = timings[f"bare UNet {engine.number_format('fast')}"].median / pictures
    for steps in (10, 25, 50):
        share = noise_share(model, steps, fast * steps / ROWS[0][1])
        print(f"{'step noise over network time':32} {100 * share:.1f} % at {steps} steps")
        report[f"noise share at {steps} steps"] = share
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def shown(timing: Timing) -> str:
    return f"{timing.median:6.3f} s ({timing.low:.3f} to {timing.high:.3f})"


def machine(engine: Engine) -> str:
    """Device, number format, threads and versions, in words."""
    device = torch.cuda.get_device_name() if engine.device.type == "cuda" else f"{platform.machine()} CPU"
    threads = f", {torch.get_num_threads()} threads" if engine.device.type == "cpu" else ""
    return f"{device}, {engine.number_format('fast')}{threads}, torch {torch.__version__}, Python {sys.version.split()[0]}"
