"""config.json of a network and model_index.json of its pipeline: whether it is a UNet2DModel that makes pictures of noise alone."""

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.schedule import Schedule
from ddim_app.models.classes import check_count
from ddim_app.models.scheduler_config import refuse_unknown

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

MAX_SIDE = 1024
ASK_SIZE = (
    "name the size of its pictures once, with `python -m ddim_app models convert MODEL weights/NAME --size PIXELS`, then use NAME"
)
"""What to do about a config whose size of pictures is none."""


def network_class() -> "type[UNet2DModel]":
    """diffusers' class. Its import takes seconds, so it waits for the first model; the page is up meanwhile."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    return UNet2DModel  # type: ignore[no-any-return]


def check_pipeline(index: Mapping[str, Any]) -> None:
    """Raises ValueError for a model_index.json that names more than a network and a scheduler: there its UNet makes no picture."""
    components = {key for key, value in index.items() if isinstance(value, list) and any(value) and not key.startswith("_")}
    others = sorted(components - {"unet", "model", "scheduler"})
    if any("vae" in name or name == "movq" for name in others):
        raise ValueError(f"it is a latent model, whose UNet makes no pictures but what {', '.join(others)[:80]} makes them of")
    if others:
        raise ValueError(f"its pipeline also needs {', '.join(others)[:80]}; only models of a UNet alone can be used")


def shape_of(config: Mapping[str, Any]) -> Shape:
    """(C, H, W) of the pictures; raises ValueError, in one sentence, when it is no UNet2DModel of pixels from noise, or noise and
    a class."""
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise ValueError(f"config.json must describe a UNet2DModel; got {str(kind)[:60]}")
    refuse_unknown(config, {"name_or_path", *inspect.signature(network_class().__init__).parameters}, "config.json")
    blocks = [*_texts(config.get("down_block_types")), *_texts(config.get("up_block_types"))]
    if config.get("time_embedding_type") == "fourier" or any("Skip" in block for block in blocks):
        raise ValueError("it is a score-based VE model (Fourier time or Skip blocks); only DDPM's forward process can be sampled")
    if config.get("class_embed_type"):
        kind = str(config["class_embed_type"])[:40]
        raise ValueError(f"it is conditional, by class_embed_type {kind}; of conditional models only those of classes can be used")
    check_count(config.get("num_class_embeds"))
    _check_widths(config)
    shape = _channels(config), *_size(config.get("sample_size"))
    _check_halvings(config, shape)
    return shape


def check_schedule(config: Mapping[str, Any], schedule: Schedule) -> None:
    """Raises ValueError for a network that does not fit the schedule beside it."""
    if schedule.learned and not learns_variance(config):
        raise ValueError(f"variance_type {schedule.learned} needs twice as many out_channels as in_channels; it has as many")
    known, T = config.get("num_train_timesteps"), schedule.num_train_timesteps
    if config.get("time_embedding_type") == "learned" and not (type(known) is int and known >= T):
        raise ValueError(f"its network has learned {str(known)[:20]} timesteps, and its schedule has {T}")


def learns_variance(config: Mapping[str, Any]) -> bool:
    """Whether half of the output channels are for a variance."""
    return bool(config.get("out_channels", 3) == 2 * config.get("in_channels", 3))


def halvings(config: Mapping[str, Any]) -> int:
    """How often the network halves the sides of its pictures."""
    return len(config.get("block_out_channels", (0,) * 4)) - 1


def _channels(config: Mapping[str, Any]) -> int:
    channels, out = config.get("in_channels", 3), config.get("out_channels", 3)
    if type(channels) is int and type(out) is int and 0 < out < channels:
        kind = "an image-to-image model" if channels == 2 * out else "conditional, by class maps or a mask as extra channels"
        raise ValueError(
            f"it is {kind}: its network takes {channels} channels and gives {out}, and here it would be given noise alone"
        )
    if channels not in (1, 3) or out not in (channels, 2 * channels):
        raise ValueError(
            "in_channels must be 1 (grey) or 3 (RGB), and out_channels as many, or twice as many where the variance is learned; "
            f"got {str(channels)[:20]} and {str(out)[:20]}"
        )
    return int(channels)


def _size(size: Any) -> tuple[int, int]:
    """(H, W) of a sample_size: a number or two, which may be written as text."""
    if isinstance(size, str) and re.fullmatch(r"[\s(\[]*\d{1,4}(\s*,\s*\d{1,4})?[\s,)\]]*", size):
        sides: Any = [int(digits) for digits in re.findall(r"\d+", size)]
        size = sides if len(sides) == 2 else sides[0]
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else (size, size)
    if not all(type(side) in (int, float) and 1 <= side <= MAX_SIDE and side % 1 == 0 for side in (height, width)):
        got = "null" if size is None else str(size)[:60]
        raise ValueError(f"sample_size in config.json must be a whole number, or two, from 1 to {MAX_SIDE}; got {got}: {ASK_SIZE}")
    return int(height), int(width)


def _check_halvings(config: Mapping[str, Any], shape: Shape) -> None:
    count = halvings(config)
    if shape[1] % 2**count or shape[2] % 2**count:
        got = shape[1] if shape[1] == shape[2] else f"{shape[1]} and {shape[2]}"
        raise ValueError(
            f"its network halves the sides of its pictures {count} time{'s' * (count > 1)}, so sample_size must be a multiple of "
            f"{2**count}; got {got}: {ASK_SIZE}"
        )


def _check_widths(config: Mapping[str, Any]) -> None:
    """Refuses what would take for ever to build."""
    widths, layers = config.get("block_out_channels", [1] * 4), config.get("layers_per_block", 2)
    if (
        not isinstance(widths, list | tuple)
        or not 1 <= len(widths) <= 12
        or not all(type(w) is int and 1 <= w <= 8192 for w in widths)
    ):
        raise ValueError(f"block_out_channels must be 1 to 12 whole numbers from 1 to 8192; got {str(widths)[:60]}")
    if type(layers) is not int or not 1 <= layers <= 32:
        raise ValueError(f"layers_per_block must be a whole number from 1 to 32; got {str(layers)[:60]}")


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []
