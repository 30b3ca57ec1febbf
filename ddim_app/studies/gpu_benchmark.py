"""What a GPU does: `python -m ddim_app benchmark --gpu`. Parts that run one by one, each in a process with a time limit of its own.

Every measurement is a line of JSON that is written as soon as it is made, so nothing is lost when the time runs out. On a CPU
the parts rehearse themselves with small sizes.
"""

import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from ddim_app import backends
from ddim_app.backends import eager
from ddim_app.backends.fused_norm import FusedNorm
from ddim_app.engine import Engine
from ddim_app.models.loading import Model
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import contenders
from ddim_app.studies.contenders import interleaved, ready
from ddim_app.studies.sharing import MIXED_STEPS, served

PARTS = {"peak": 30, "speed": 90, "requests": 50, "compiled": 60, "training": 40}
"""Seconds that each part may take, in the order in which they run."""
RESULTS = "gpu.jsonl"
Tell = Callable[..., None]


def record(folder: Path, part: str, **values: Any) -> None:
    """Adds a line to the results, at once."""
    line = json.dumps({"part": part, **values})
    print(line, flush=True)
    with (folder / RESULTS).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def main(folder: Path, device: torch.device, parts: list[str] | None = None) -> None:
    """Runs the parts, each in a process of its own that is killed at its limit, and writes their table."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, seconds in PARTS.items():
        if parts and part not in parts:
            continue
        began = time.perf_counter()
        state = limited([sys.executable, "-m", "ddim_app.studies.gpu_benchmark", part, str(folder), device.type], seconds)
        record(folder, part, state=state, seconds=round(time.perf_counter() - began, 1))
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


def timed(call: Callable[[], object], times: int) -> float:
    """Seconds of a call: the mean of `times` in a row."""
    return Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads()).timeit(times).median


def matmul_peak(device: torch.device) -> float:
    """FLOP/s of a bf16 matrix product of random numbers."""
    n = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / timed(lambda: a @ b, 10)


def flops(model: Model) -> float:
    """Floating-point operations of one evaluation of one row."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.unet(torch.zeros(1, *model.shape), torch.zeros(1, dtype=torch.int64))
    return float(counter.get_total_flops())


def peak(tell: Tell, device: torch.device) -> None:
    """Card, versions, the rate of a large matrix product on random data, and of a large copy."""
    rate = matmul_peak(device)
    size = 2**30 if device.type == "cuda" else 2**26
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = timed(lambda: target.copy_(source), 5)
    x = torch.randn(2, 32, 8, 8, device=device).contiguous(memory_format=torch.channels_last)
    tell(
        card=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, a rehearsal", torch=torch.__version__,
        bf16_matmul_tflops=round(rate / 1e12, 2), copy_tb_per_second=round(2 * size / seconds / 1e12, 3),
        group_norm_keeps_channels_last=torch.group_norm(x, 8).is_contiguous(memory_format=torch.channels_last),
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


def speed(tell: Tell, device: torch.device) -> None:
    """The engine beside the bare network, eager and captured, and DDIMPipeline as it comes and tuned, taking turns."""
    best, names = matmul_peak(device), {"bare UNet": "network alone", "engine torch": "engine"}
    for model, counts, lengths in subjects(device):
        work, engine = flops(model), Engine(device=device, allow_hub=False)
        engine.keep(model)
        for count, S in itertools.product(counts, lengths):
            if S > 10 and count not in (1, 16):  # a step costs the same, and the pipelines take minutes
                continue
            formats = list(dict.fromkeys((engine.number_format("fast"), "fp32")))[: 2 if count <= 16 else 1]
            rivals = contenders.rivals(engine, model, count, S, formats, ("torch",), ("DDIMPipeline",))
            for (who, fmt), timing in interleaved(rivals, 3 if count * S * work < 1e14 else 2).items():
                rate = count * S / timing.median
                tuned = " channels_last" if who == "DDIMPipeline" and fmt != "fp32" else ""
                tell(
                    model=model.name, pictures=count, steps=S, contender=f"{names.get(who, who)}, {fmt}{tuned}",
                    seconds=round(timing.median, 5), evaluations_per_second=round(rate, 1),
                    of_matmul_peak=round(rate * work / best, 4),
                )  # fmt: skip


def requests(tell: Tell, device: torch.device) -> None:
    """Mixed requests at once, against the same one after another by the engine and by the captured network alone.

    Of 10 to 100 steps the longest sets the number of calls: 8 of them need 390 evaluations in at least 100 calls. Of 50 steps
    each they differ in eta, and every call has all of them.
    """
    large = device.type == "cuda"
    engine = Engine(device=device, allow_hub=False)
    bundled, fast = engine.model(engine.catalogue.names()[0]), engine.number_format("fast")
    live(tell, engine)
    for model, many in [(bundled, 8), (bundled, 64), *([(engine.keep(contenders.cifar()), 8)] if large else [])]:
        for mix, wanted in mixes(model, many if large else 2, large).items():
            total = sum(recipe.arms[0].steps for recipe in wanted)
            ways: dict[str, contenders.Rival] = {
                "at once": partial(served, engine, wanted), "one by one": partial(served, engine, wanted, at_once=False),
                "network": partial(engine.loop.call, contenders.bare(model, device, fast, 1, total)),
            }  # fmt: skip
            shared, serial, network = (timing.median for timing in interleaved(ways, 3 if many == 8 else 2).values())
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


def live(tell: Tell, engine: Engine) -> None:
    """What a slider's event waits for: two arms, 10 steps, 4 pictures."""
    recipe = Recipe(arms=(Arm(steps=10), Arm(method="ddpm", steps=10)), model=engine.catalogue.names()[0], pictures=4)
    timing = interleaved({"live": partial(engine.final, recipe)}, 10, untimed=2)["live"]
    tell(live_picture_ms=round(1000 * timing.median, 1), worst_ms=round(1000 * timing.high, 1))


def compiled(tell: Tell, device: torch.device) -> None:
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
            x, t = ready(model, device, count)
            began = time.perf_counter()
            with torch.inference_mode():
                networks: list[Any] = [unet, unfused, torch.compile(unfused)]
                plain, loose, fused = (eager.evaluator(network, device) for network in networks)
                apart = float((plain(x, t) - fused(x, t)).abs().max())
                prepared = time.perf_counter() - began
                for name, call in (("captured", plain), ("captured, norms by torch", loose), ("compiled and captured", fused)):
                    seconds = timed(partial(call, x, t), 20)
                    tell(
                        model=model.name, pictures=count, contender=name, ms=round(1000 * seconds, 3),
                        of_matmul_peak=round(count * work / seconds / best, 4), apart=round(apart, 5),
                        prepared_in=round(prepared, 1),
                    )  # fmt: skip


def training(tell: Tell, device: torch.device) -> None:
    """Pictures per second of a training run of the bundled network's shape, with what is logged of it."""
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
    globals()[part](partial(record, Path(folder), part), torch.device(kind))
