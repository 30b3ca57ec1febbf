"""What the engine is measured against: the bare network, diffusers' pipelines, the network traced and frozen."""

import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ddim_app.backends import eager
from ddim_app.backends.single_row import Positional
from ddim_app.diffusion.sampler import Predict
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.models.loading import Model, build

Rival = Callable[[], object]
CIFAR = {
    "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"], "attention_head_dim": None,
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "downsample_padding": 0,
    "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
}  # fmt: skip
"""The shape of google/ddpm-cifar10-32."""


CELEBA = {
    "sample_size": 256, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "attention_head_dim": None,
    "block_out_channels": [128, 128, 256, 256, 512, 512], "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"], "norm_eps": 1e-6,
}  # fmt: skip
"""The shape of google/ddpm-celebahq-256."""


def cifar() -> Model:
    """A network of the shape of ddpm-cifar10-32 with random weights."""
    return _random("ddpm-cifar10-32's shape", CIFAR, "0" * 64)


def celeba() -> Model:
    """A network of the shape of ddpm-celebahq-256 with random weights."""
    return _random("ddpm-celebahq-256's shape", CELEBA, "1" * 64)


def _random(name: str, config: dict[str, Any], sha256: str) -> Model:
    unet = build(config, 0).eval().requires_grad_(False)
    side = config["sample_size"]
    return Model(name, unet, Schedule(cumulative(betas())), (3, side, side), sha256)


def eager_call(unet: torch.nn.Module) -> Predict:
    """The network as a plain function."""
    return lambda x, t: unet(x, t, return_dict=False)[0]


def bare(model: Model, device: torch.device, fmt: str, count: int, steps: int) -> Rival:
    """The network that the engine calls, and nothing else: no bucket, no update, on rows that lie ready."""
    unet = eager.network(model, device, fmt)
    x = torch.randn(count, *model.shape, device=device).contiguous(memory_format=torch.channels_last)
    t = torch.full((count,), 500, device=device)

    @torch.inference_mode()
    def loop() -> None:
        for _ in range(steps):
            unet(x, t, return_dict=False)
        if device.type == "cuda":
            torch.cuda.synchronize()

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

    @torch.inference_mode()
    def predict(x: Tensor, t: Tensor) -> Tensor:
        with torch.autocast(device.type, eager.DTYPES[fmt]):
            rows = x.to(device).float().contiguous(memory_format=torch.channels_last)
            return unet(rows, t.to(device), return_dict=False)[0].float()  # type: ignore[no-any-return]

    return predict


def traced_gain(model: Model, device: torch.device, formats: list[str], repeats: int) -> dict[str, float]:
    """How many times as fast torch alone is for one row when the network is traced and frozen; printed."""
    gains = {}
    x = torch.randn(1, *model.shape, device=device).contiguous(memory_format=torch.channels_last)
    t = torch.full((1,), 500, device=device)
    for fmt in formats:
        unet = Positional(eager.network(model, device, fmt)).eval()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            frozen = torch.jit.freeze(torch.jit.trace(unet, (x, t), check_trace=False))  # type: ignore[no-untyped-call]
        seconds: dict[str, list[float]] = {"eager": [], "frozen": []}
        with torch.inference_mode():
            for turn in range(4 * repeats + 3):
                for name, call in (("eager", unet), ("frozen", frozen)):
                    began = time.perf_counter()
                    call(x, t)
                    if turn >= 3:
                        seconds[name].append(time.perf_counter() - began)
        each, frozen_each = (1000 * statistics.median(seconds[name]) for name in ("eager", "frozen"))
        gains[fmt] = each / frozen_each
        print(f"  traced and frozen, one row, {fmt}: {frozen_each:.1f} ms for {each:.1f}, {gains[fmt]:.2f} times as fast")
    return gains


def peak_megabytes(device: torch.device) -> float:
    """The most memory that was in use: the device's, or on the CPU the process'."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
