"""Training speed beside the loop of diffusers' train_unconditional.py, both in one interleaved run.

The baseline is written from that script's behaviour with its defaults: fp32 (with `--baseline bf16` as its --mixed_precision
bf16 computes), pictures decoded, resized, cropped, mirrored and scaled in the loop's own process (dataloader_num_workers 0),
AdamW(betas 0.95 0.999, decay 1e-6), an average of the weights updated tensor by tensor, a scheduler, gradient clipping at 1,
and the loss read at every step. Network, batch and pictures are the same for both.
"""

import argparse
import copy
import itertools
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import mse_loss

from ddim_app.train import config, data, setup
from ddim_app.train.evaluate import peak_memory_mb
from ddim_app.train.picture_cache import PictureForm
from ddim_app.train.stop import Stopper

Step = Callable[[], float]
"""Makes one optimiser step and returns its loss."""


def baseline(begin: setup.StartModel, files: list[Path], batch_size: int, device: torch.device, fmt: str = "fp32") -> Step:
    """train_unconditional.py's step: its data path, its optimiser and average; in fp32, or as its --mixed_precision bf16 has it."""
    network = copy.deepcopy(begin.network).to(device).train()
    average = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 500))
    table = begin.schedule.alphas_cumprod.float().to(device)
    batches = _decoded(files, batch_size, begin.shape[1])
    count = itertools.count()

    def step() -> float:
        x0 = next(batches).to(device)
        noise = torch.randn_like(x0)
        t = torch.randint(0, len(table), (len(x0),), device=device)
        signal = table[t].view(-1, 1, 1, 1)
        with torch.autocast(device.type, torch.bfloat16, enabled=fmt == "bf16"):
            output = network(signal.sqrt() * x0 + (1 - signal).sqrt() * noise, t).sample
        loss = mse_loss(output.float(), noise)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        decay = min(0.9999, 1 - (1 + next(count)) ** -0.75)
        with torch.no_grad():
            for a, p in zip(average, network.parameters(), strict=True):
                a.sub_((1 - decay) * (a - p))
        return float(loss.detach().item())

    return step


def _decoded(files: list[Path], batch_size: int, side: int) -> Iterator[torch.Tensor]:
    """Batches of files opened, resized, cropped, mirrored and scaled one after another."""
    while True:
        order = random.sample(files, len(files))
        for at in range(0, len(order) - batch_size + 1, batch_size):
            yield torch.stack([_prepared(path, side) for path in order[at : at + batch_size]])


def _prepared(path: Path, side: int) -> torch.Tensor:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = side / min(image.size)
    image = image.resize((max(side, round(image.width * scale)), max(side, round(image.height * scale))), Image.Resampling.BILINEAR)
    left, top = random.randint(0, image.width - side), random.randint(0, image.height - side)
    image = image.crop((left, top, left + side, top + side))
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255).sub(0.5).div(0.5)


def ours(settings: config.Settings, begin: setup.StartModel, found: data.TrainingData) -> tuple[Step, str, torch.device]:
    """This package's step, the number format it computes in, and the device."""
    accelerator, precision = setup.accelerator(settings)
    steps = setup.trainer(begin, found, settings, accelerator, Stopper()).train()
    return (lambda: float(next(steps).loss)), precision, accelerator.device


def compare(first: Step, second: Step, device: torch.device, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each step of both, taken in turns so that what else the machine does falls on both."""
    times: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 2):
        for step, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if i >= 2:  # the first steps allocate and choose kernels
                taken.append(time.perf_counter() - started)
    return times


def save_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """Generated PNG files."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{i:04d}.png")
    return sorted(folder.glob("*.png"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ddim_app.train.benchmark", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--preset", default="tiny-32", help="network [tiny-32]")
    parser.add_argument("--batch-size", type=int, default=32, help="pictures per step [32]")
    parser.add_argument("--rounds", type=int, default=20, help="steps of each loop [20]")
    parser.add_argument("--picture-size", type=int, default=64, help="side of the generated PNG files [64]")
    parser.add_argument("--baseline", choices=("fp32", "bf16"), default="fp32", help="number format of the script's loop [fp32]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pictures").mkdir()
        files = save_pictures(Path(folder) / "pictures", 256, options.picture_size)
        settings = config.resolve(
            {"data": str(Path(folder) / "pictures"), "preset": options.preset, "batch_size": options.batch_size, "steps": 10**6}
        )
        begin = setup.start(settings)
        form = PictureForm(begin.shape[1], begin.shape[0])
        found = data.prepare(settings.data, None, form, Path(folder) / "cache")
        copied = replace(begin, network=copy.deepcopy(begin.network))
        step, precision, device = ours(settings, begin, found)
        theirs, mine = compare(baseline(copied, files, options.batch_size, device, options.baseline), step, device, options.rounds)
    _print(theirs, mine, options, precision, device)
    return 0


def _print(theirs: list[float], mine: list[float], options: argparse.Namespace, precision: str, device: torch.device) -> None:
    batch_size = options.batch_size
    print(f"{len(mine)} steps each in turns, batch {batch_size}, {device}, {torch.get_num_threads()} threads")
    for name, times in ((f"train_unconditional.py's loop, {options.baseline}", theirs), (f"ddim_app.train, {precision}", mine)):
        middle = statistics.median(times)
        speed = f"{middle * 1000:8.1f} ms per step {batch_size / middle:8.1f} pictures/s"
        print(f"{name:38} {speed}  (fastest {min(times) * 1000:.1f} ms)")
    ratios = [a / b for a, b in zip(theirs, mine, strict=True)]
    of_medians = statistics.median(theirs) / statistics.median(mine)
    print(f"ratio of the medians {of_medians:.2f}, median of the pairs' {statistics.median(ratios):.2f}")
    print(f"peak memory of both together {peak_memory_mb(device):.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
