"""Small stand-ins: networks of one formula, noise to order, a random UNet in a folder, and a way to run a process to its end."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddim_app.diffusion.sampler import Row, Step, drive, sample
from ddim_app.diffusion.schedule import Schedule, betas, cumulative

Network = Callable[[Tensor, Tensor], Tensor]

LINEAR = Schedule(cumulative(betas()))
"""DDPM's own schedule: linear betas, T = 1000."""
SCHEDULES = {
    "linear": LINEAR,
    "scaled_linear": Schedule(cumulative(betas("scaled_linear", beta_start=0.00085, beta_end=0.012))),
    "cosine": Schedule(cumulative(betas("squaredcos_cap_v2"))),
    "sigmoid": Schedule(cumulative(betas("sigmoid"))),
    "short": Schedule(cumulative(betas("linear", 60, 1e-3, 0.2))),
    "zero-snr": Schedule(cumulative(betas(), zero_terminal_snr=True), prediction_type="v_prediction"),
}


def pictures(count: int = 2, shape: tuple[int, ...] = (1, 2, 2), seed: int = 0) -> Tensor:
    """Standard normal float64 (count, *shape)."""
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x: Tensor, t: Tensor) -> Tensor:
    """A network that treats every row alone, depends on t, and often points outside [-1, 1]."""
    time = t.to(x.dtype).view(-1, 1, 1, 1) / 1000
    return (x * (1 + time)).sin() + 0.3 * x - 0.2 * time


def wide_network(x: Tensor, t: Tensor) -> Tensor:
    """`network` with a second half of channels, in (-1, 1), for a learned variance."""
    return torch.cat((network(x, t), (3 * x).sin()), 1)


def dummy_model(x: Tensor, t: Tensor) -> Tensor:
    """The model of diffusers' scheduler tests: x t / (t + 1)."""
    time = t.to(x.dtype).view(-1, 1, 1, 1)
    return x * time / (time + 1)


def dummy_sample() -> Tensor:
    """The sample of diffusers' scheduler tests, (4, 3, 8, 8)."""
    return (torch.arange(768, dtype=torch.float64) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2).contiguous()


def keyed_draw(seed: int, shape: tuple[int, ...] = (1, 2, 2)) -> Callable[[int, int], Tensor]:
    """Normal noise that is the same each time a transition asks for it, and of no structure otherwise."""

    def draw(cur: int, nxt: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + cur * 1009 + nxt)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return draw


def run(x: Tensor, rows: Sequence[Row], predict: Network = network, **options: Any) -> list[Step]:
    return list(drive(sample(x, [replace(row, **options) for row in rows]), predict))


def final(x: Tensor, rows: Sequence[Row], predict: Network = network, **options: Any) -> Tensor:
    """Each row's picture after its last transition."""
    done = {row: x_next for step in run(x, rows, predict, **options) for row, x_next in zip(step.rows, step.x_next, strict=True)}
    return torch.stack([done[row] for row in range(len(rows))])


def save_tiny(folder: Path, *, flat: bool = False, seed: int = 0, scheduler: dict[str, Any] | None = None, **config: Any) -> Path:
    """Writes a UNet2DModel of about 50,000 random weights with a scheduler config, as diffusers would; returns the folder."""
    from diffusers.models.unets.unet_2d import UNet2DModel  # here, since conftest must set the environment before this import

    shape = {
        "sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "block_out_channels": (16, 16),
        "norm_num_groups": 8, "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2,
        "add_attention": False,
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DModel(**(shape | config))
    unet.save_pretrained(folder if flat else folder / "unet")
    described = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear"} | (scheduler or {})
    path = folder / "scheduler_config.json" if flat else folder / "scheduler" / "scheduler_config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(described))
    return folder
