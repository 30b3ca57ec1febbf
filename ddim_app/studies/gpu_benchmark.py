"""What a GPU does: `python -m ddim_app benchmark --gpu`. Parts that run one by one, each in a process with a time limit of its own.

Every measurement is a line of JSON that is written as soon as it is made, so nothing is lost when the time runs out. On a CPU
the parts rehearse themselves with small sizes.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddim_app import backends
from ddim_app.backends import cuda, eager
from ddim_app.backends.fused_norm import FusedNorm
from ddim_app.engine import Engine
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import MAX_PICTURES, Arm, Recipe
from ddim_app.studies import contenders
from ddim_app.studies.gpu_figures import card, flops, keeps_channels_last, matmul_peak, timed
from ddim_app.studies.sharing import one_after_another, together

PARTS = {"peak": 30, "speed": 90, "requests": 50, "compiled": 60, "training": 40}
"""Seconds that each part may take, in the order in which they run."""
RESULTS = "gpu.jsonl"
MIXED_STEPS = (10, 20, 30, 40, 50, 60, 80, 100)


class ResultLines:
    """The file that results go to, one line each, flushed at once."""

    def __init__(self, folder: Path, part: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._part = folder / RESULTS, part

    def __call__(self, **values: Any) -> None:
        line = json.dumps({"part": self._part, **values})
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def main(folder: Path, device: torch.device, parts: list[str] | None = None) -> None:
    """Runs the parts, each in a process of its own that is killed at its limit, and writes their table."""
    for part, seconds in PARTS.items():
        if parts and part not in parts:
            continue
        began = time.perf_counter()
        state = limited([sys.executable, "-m", "ddim_app.studies.gpu_benchmark", part, str(folder), device.type], seconds)
        ResultLines(folder, part)(state=state, seconds=round(time.perf_counter() - began, 1))
    (folder / "gpu.md").write_text(table(folder / RESULTS), "utf-8")


def limited(command: list[str], seconds: float) -> str:
    """Runs a command; at its limit it and all that it has started are killed. Returns how it ended."""
    running = subprocess.Popen(command, start_new_session=True)
    try:
        code = running.wait(seconds)
        return "whole" if code == 0 else f"failed with status {code}"
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return f"stopped at its limit of {seconds:g} s"


def peak(tell: Callable[..., None], device: torch.device) -> None:
    """Card, versions, the rate of a large matrix product on random data, and of a large copy."""
    rate = matmul_peak(device)
    size = 2**30 if device.type == "cuda" else 2**26
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source), device, 5)
    tell(
        card=card(device), torch=torch.__version__, bf16_matmul_tflops=round(rate / 1e12, 2),
        copy_tb_per_second=round(2 * size / seconds / 1e12, 3),
        group_norm_keeps_channels_last=keeps_channels_last(device),
    )  # fmt: skip


def subjects(device: torch.device) -> Iterator[tuple[Model, tuple[int, ...], tuple[int, ...]]]:
    """(model, pictures, steps) of each network that is timed."""
    large = device.type == "cuda"
    engine = Engine(device=torch.device("cpu"), allow_hub=False)
    for name in [name for name in engine.catalogue.names() if "/" not in name]:
        yield engine.model(name), (1, 4, 16, 64, 256) if large else (1, 2), (10, 50) if large else (2,)
    if large:
        yield contenders.cifar(), (1, 4, 16, 64, 256), (10, 50)
        yield contenders.celeba(), (1, 16), (10,)


def speed(tell: Callable[..., None], device: torch.device) -> None:
    """The engine beside the bare network, eager and captured, and DDIMPipeline as it comes and tuned, taking turns."""
    best = matmul_peak(device)
    for model, counts, lengths in subjects(device):
        work = flops(model)
        engine = Engine(device=device, allow_hub=False)
        engine.keep(model)
        for count in counts:
            for S in lengths:
                if S > 10 and count not in (1, 16):  # a step costs the same, and the pipelines take minutes
                    continue
                rivals = contenders_of(engine, model, count, S)
                seconds = interleaved(rivals, 3 if count * S * work < 1e14 else 2)
                for name, taken in seconds.items():
                    rate = count * S / taken
                    tell(
                        model=model.name, pictures=count, steps=S, contender=name, seconds=round(taken, 5),
                        evaluations_per_second=round(rate, 1), of_matmul_peak=round(rate * work / best, 4),
                    )  # fmt: skip


def contenders_of(engine: Engine, model: Model, count: int, steps: int) -> dict[str, Callable[[], object]]:
    """Who draws `count` pictures in `steps` steps of DDIM, by name."""
    device, fast = engine.device, engine.number_format("fast")
    made: dict[str, Callable[[], object]] = {}
    for fmt in dict.fromkeys((fast, "fp32") if count <= 16 else (fast,)):
        made[f"network alone, {fmt}"] = engine_thread(engine, bare(model, device, fmt, count, steps))
        each, precision = min(count, MAX_PICTURES), "fp32" if fmt == "fp32" else "fast"
        arms = (Arm(steps=steps),)
        wanted = [
            Recipe(arms=arms, model=model.name, pictures=each, seed=seed, precision=precision) for seed in range(0, count, each)
        ]
        made[f"engine, {fmt}"] = lambda wanted=wanted: together(engine, wanted, 0.0)  # type: ignore[misc]
    if fast != "fp32":
        made[f"DDIMPipeline, {fast} channels_last"] = contenders.pipeline("DDIMPipeline", model, device, fast, count, steps)
    if count <= 16:
        made["DDIMPipeline, fp32"] = contenders.pipeline("DDIMPipeline", model, device, "fp32", count, steps)
    return made


def engine_thread(engine: Engine, call: Callable[[], object]) -> Callable[[], object]:
    return lambda: engine.loop.call(call)


def bare(model: Model, device: torch.device, fmt: str, count: int, steps: int) -> Callable[[], object]:
    """The engine's network, captured as it captures it, called in a row on rows that lie ready."""
    unet = eager.network(model, device, fmt)
    evaluate = cuda.captured(unet, device) if device.type == "cuda" else contenders.eager_call(unet)
    x = torch.randn(count, *model.shape, device=device).contiguous(memory_format=torch.channels_last)
    t = torch.full((count,), 500, device=device)

    @torch.inference_mode()
    def loop() -> None:
        for _ in range(steps):
            evaluate(x, t)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return loop


def interleaved(rivals: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, in turns, after one untimed round."""
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(repeats + 1):
        for name, rival in rivals.items():
            began = time.perf_counter()
            rival()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def requests(tell: Callable[..., None], device: torch.device) -> None:
    """Mixed requests at once, against the same one after another by the engine and by the captured network alone.

    Of 10 to 100 steps the longest sets the number of calls: 8 of them need 390 evaluations in at least 100 calls. Of 50 steps
    each they differ in eta, and every call has all of them.
    """
    large = device.type == "cuda"
    engine = Engine(device=device, allow_hub=False)
    bundled = engine.model(engine.catalogue.names()[0])
    live(tell, engine)
    for model, many in [(bundled, 8), (bundled, 64), *([(engine.keep(contenders.cifar()), 8)] if large else [])]:
        for mix, wanted in mixes(model, many if large else 2, large).items():
            total = sum(recipe.arms[0].steps for recipe in wanted)
            alone = bare(model, device, engine.number_format("fast"), 1, total)
            together(engine, wanted, 0.0)
            engine.loop.call(alone)
            rounds = []
            for _ in range(3 if many == 8 else 2):
                shared, serial = together(engine, wanted, 0.0)[0], one_after_another(engine, wanted, 0.0)[0]
                began = time.perf_counter()
                engine.loop.call(alone)
                rounds.append((shared, serial, time.perf_counter() - began))
            shared, serial, network = (statistics.median(each) for each in zip(*rounds, strict=True))
            tell(
                model=model.name, requests=len(wanted), mix=mix, evaluations=total, at_once=round(shared, 4),
                one_by_one=round(serial, 4), captured_network_one_by_one=round(network, 4), times_faster=round(serial / shared, 2),
                times_faster_than_captured_network=round(network / shared, 2),
            )  # fmt: skip


def mixes(model: Model, many: int, large: bool) -> dict[str, list[Recipe]]:
    """The requests of each mix, of one picture each."""
    lengths = MIXED_STEPS if large else (2, 3)
    steps = [Arm(steps=lengths[i % len(lengths)]) for i in range(many)]
    etas = [Arm(steps=50 if large else 2, eta=i % 4 / 10) for i in range(many)]
    named = {f"{lengths[0]} to {lengths[-1]} steps": steps, f"{etas[0].steps} steps, eta 0 to 0.3": etas}
    return {mix: [Recipe(arms=(arm,), model=model.name, seed=i) for i, arm in enumerate(arms)] for mix, arms in named.items()}


def live(tell: Callable[..., None], engine: Engine) -> None:
    """What a slider's event waits for: two arms, 10 steps, 4 pictures."""
    recipe = Recipe(arms=(Arm(steps=10), Arm(method="ddpm", steps=10)), model=engine.catalogue.names()[0], pictures=4)
    taken = []
    for seed in range(12):
        began = time.perf_counter()
        engine.final(replace(recipe, seed=seed))
        taken.append(time.perf_counter() - began)
    tell(live_picture_ms=round(1000 * statistics.median(taken[2:]), 1), worst_ms=round(1000 * max(taken[2:]), 1))


def compiled(tell: Callable[..., None], device: torch.device) -> None:
    """Torch's compiler on the network that the engine calls, captured, beside the same without it; and its difference."""
    best = matmul_peak(device)
    fmt = backends.number_format("fast", device)
    for model, counts, _ in subjects(device):
        if model.shape[1] > 64:
            continue
        work, unet, unfused = flops(model), eager.network(model, device, fmt), eager.network(model, device, fmt)
        for module in unfused.modules():
            if isinstance(module, FusedNorm):
                module.is_fused = False
        for count in [counts[-1], counts[0]]:
            x = torch.randn(count, *model.shape, device=device).contiguous(memory_format=torch.channels_last)
            t = torch.full((count,), 500, device=device)
            began = time.perf_counter()
            with torch.inference_mode():
                plain, loose = captured_call(unet, device), captured_call(unfused, device)
                fused = captured_call(torch.compile(unfused), device)
                apart = float((plain(x, t) - fused(x, t)).abs().max())
                ready = time.perf_counter() - began
                for name, call in (("captured", plain), ("captured, norms by torch", loose), ("compiled and captured", fused)):
                    seconds = timed(lambda call=call, x=x, t=t: call(x, t), device, 20)  # type: ignore[misc]
                    tell(
                        model=model.name, pictures=count, contender=name, ms=round(1000 * seconds, 3),
                        of_matmul_peak=round(count * work / seconds / best, 4), apart=round(apart, 5), prepared_in=round(ready, 1),
                    )  # fmt: skip


def captured_call(unet: Any, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    return cuda.captured(unet, device) if device.type == "cuda" else contenders.eager_call(unet)


def training(tell: Callable[..., None], device: torch.device) -> None:
    """Pictures per second of a training run of the bundled network's shape, with what is logged of it."""
    import tempfile

    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (512, 32, 32, 3), dtype=np.uint8)
        np.savez(f"{folder}/noise.npz", x=pixels)
        large = device.type == "cuda"
        command = [
            sys.executable, "-m", "ddim_app.train", "--data", f"{folder}/noise.npz", "--output", f"{folder}/run", "--steps",
            "200" if large else "2", "--batch-size", "128" if large else "4", "--preview-every", "0", "--checkpoint-every", "100",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = [json.loads(line) for line in (Path(folder) / "run" / "log.jsonl").read_text("utf-8").splitlines()]
        rates = [line["pictures_per_second"] for line in lines if line["kind"] == "train"]
        tell(pictures_per_second=statistics.median(rates[len(rates) // 2 :]), batch=128 if large else 4)


def table(path: Path) -> str:
    """The results as Markdown, one table for each part."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    text = []
    for part in dict.fromkeys(line["part"] for line in lines):
        mine = [{key: value for key, value in line.items() if key != "part"} for line in lines if line["part"] == part]
        text.append(f"### {part}\n")
        for columns in dict.fromkeys(tuple(line) for line in mine):
            text += ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
            text += ["| " + " | ".join(str(value) for value in line.values()) + " |" for line in mine if tuple(line) == columns]
            text.append("")
    return "\n".join(text)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    part, folder, kind = sys.argv[1:]
    globals()[part](ResultLines(Path(folder), part), torch.device(kind))
