"""What the engine is measured against, in turns: the bare network, diffusers' pipelines, the network traced and frozen."""

import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddim_app.backends import eager, single_row
from ddim_app.diffusion.sampler import Predict
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.engine import Engine
from ddim_app.models.loading import Model, build
from ddim_app.runs.sampling import MAX_PICTURES, Arm, Recipe
from ddim_app.studies.sharing import served

Rival = Callable[[], object]
Name = tuple[str, str]
"""Who is measured, and in which number format."""


class Timing(NamedTuple):
    """Seconds of one contender over the repeats."""

    median: float
    low: float
    high: float


def spread(times: Sequence[float]) -> Timing:
    return Timing(statistics.median(times), min(times), max(times))


def interleaved(rivals: Mapping[Any, Rival], repeats: int, untimed: int = 1) -> dict[Any, Timing]:
    """Times each rival `repeats` times, in turns, after `untimed` rounds."""
    seconds: dict[Any, list[float]] = {name: [] for name in rivals}
    for turn in range(repeats + untimed):
        for name, rival in rivals.items():
            began = time.perf_counter()
            rival()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= untimed:
                seconds[name].append(time.perf_counter() - began)
    return {name: spread(times) for name, times in seconds.items()}


def cifar() -> Model:
    """A network of the shape of google/ddpm-cifar10-32 with random weights."""
    return _random("ddpm-cifar10-32's shape", 32, [128, 256, 256, 256])


def celeba() -> Model:
    """A network of the shape of google/ddpm-celebahq-256 with random weights."""
    return _random("ddpm-celebahq-256's shape", 256, [128, 128, 256, 256, 512, 512])


def _random(name: str, side: int, widths: list[int]) -> Model:
    """A network with attention at 16 x 16 pixels, where both have it."""
    down = ["AttnDownBlock2D" if side >> level == 16 else "DownBlock2D" for level in range(len(widths))]
    config = {
        "sample_size": side, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "block_out_channels": widths,
        "down_block_types": down, "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
    }  # fmt: skip
    unet = build(config, 0).eval().requires_grad_(False)
    return Model(name, unet, Schedule(cumulative(betas())), (3, side, side), f"{side:064}")


def rivals(
    engine: Engine, model: Model, count: int, steps: int, formats: Iterable[str], backends: Sequence[str], kinds: Sequence[str]
) -> dict[Name, Rival]:
    """Whoever draws `count` pictures in `steps` steps on this machine; `kinds` are diffusers' pipelines.

    More pictures than a run may have are several runs at once. All networks are called by the thread that makes the engine's
    calls, the only one that has all cores: no other serves anybody faster.
    """
    named: dict[Name, Rival] = {}
    each = min(count, MAX_PICTURES)
    for fmt in formats:
        precision = "fp32" if fmt == "fp32" else "fast"
        named["bare UNet", fmt] = bare(model, engine.device, fmt, count, steps)
        for backend in backends:
            if backend == "torch" or engine.prepare(model.name, precision):
                run = Recipe(arms=(Arm(steps=steps),), model=model.name, pictures=each, precision=precision, backend=backend)
                wanted = [replace(run, seed=seed) for seed in range(0, count, each)]
                named[f"engine {backend}", fmt] = partial(served, engine, wanted)
    for kind in kinds:
        named |= {(kind, fmt): pipeline(kind, model, engine.device, fmt, count, steps) for fmt in formats}
    return {name: rival if name[0].startswith("engine") else partial(engine.loop.call, rival) for name, rival in named.items()}


def ready(model: Model, device: torch.device, count: int) -> tuple[Tensor, Tensor]:
    """(noise, timesteps) for a call of the model, where and as its network takes them."""
    x = torch.randn(count, *model.shape, device=device).contiguous(memory_format=torch.channels_last)
    return x, torch.full((count,), model.schedule.num_train_timesteps // 2, device=device)


def bare(model: Model, device: torch.device, fmt: str, count: int, steps: int) -> Rival:
    """The network as the engine calls it, and nothing else: no bucket, no update, on rows that lie ready."""
    evaluate, (x, t) = eager.evaluator(eager.network(model, device, fmt), device), ready(model, device, count)

    @torch.inference_mode()
    def loop() -> None:
        for _ in range(steps):
            evaluate(x, t)

    return loop


def pipeline(kind: str, model: Model, device: torch.device, fmt: str, count: int, steps: int) -> Rival:
    """diffusers' DDIMPipeline or DDPMPipeline around a copy of the same network.

    In fp32 with its defaults. In 16 bits, weights cast and channels_last, its loop line by line, since the pipeline itself
    fails when it makes a numpy array of bf16.
    """
    import diffusers

    unet = diffusers.UNet2DModel.from_config(model.unet.config)
    unet.load_state_dict(model.unet.state_dict())
    scheduler = getattr(diffusers, kind.replace("Pipeline", "Scheduler"))(num_train_timesteps=model.schedule.num_train_timesteps)
    if fmt == "fp32":
        made = getattr(diffusers, kind)(unet.to(device).eval(), scheduler)
        made.set_progress_bar_config(disable=True)
        return lambda: made(batch_size=count, num_inference_steps=steps, output_type="np")
    dtype = eager.DTYPES[fmt]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unet = unet.to(device, dtype, memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def loop() -> Any:
        image = torch.randn(count, *model.shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            image = scheduler.step(unet(image, t).sample, t, image).prev_sample
        return (image / 2 + 0.5).clamp(0, 1).float().cpu().permute(0, 2, 3, 1).numpy()

    return loop


def autocast(model: Model, device: torch.device, fmt: str) -> Predict:
    """The network under torch's autocast and nothing more, for its fidelity."""
    unet = eager.network(model, device, "fp32")

    def predict(x: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(device.type, eager.DTYPES[fmt]):
            return unet(x, t.to(device), return_dict=False)[0]  # type: ignore[no-any-return]

    return eager.in_buckets(predict, device, None)


@torch.inference_mode()
def traced_gain(model: Model, device: torch.device, formats: Iterable[str], repeats: int) -> dict[str, float]:
    """How many times as fast torch alone is for one row when the network is traced and frozen; printed."""
    gains = {}
    x, t = ready(model, device, 1)
    for fmt in formats:
        unet = eager.network(model, device, fmt)
        ways: dict[str, Predict] = {"eager": single_row.positional(unet), "frozen": single_row.network(unet, set(), x, t)}
        timings = interleaved({name: partial(call, x, t) for name, call in ways.items()}, 4 * repeats, untimed=3)
        each, frozen_each = (1000 * timing.median for timing in timings.values())
        gains[fmt] = each / frozen_each
        print(f"  traced and frozen, one row, {fmt}: {frozen_each:.1f} ms for {each:.1f}, {gains[fmt]:.2f} times as fast")
    return gains
