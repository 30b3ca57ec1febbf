"""What a run starts from, as a frozen value that a recipe can carry: a picture, the noise of a seed, or floats."""

import base64
import binascii
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from PIL import Image
from safetensors import SafetensorError

from ddim_app.diffusion.noise import MAX_SEED, initial_noise
from ddim_app.errors import FieldError, shown, whole
from ddim_app.lazy import Tensor, safetensors_torch, torch
from ddim_app.media.images import fit, from_pixels, png_bytes, to_pil, to_pixels
from ddim_app.runs.base import put

MAX_TEXT = 20_000_000
"""Characters of base64 that a source may have."""


class Crop(NamedTuple):
    """Which part of a picture is taken: the largest that has the model's aspect, `zoom` times smaller, moved to (x, y).

    x and y are the place in what is left over, 0 (left, top) to 1 (right, bottom).
    """

    x: float = 0.5
    y: float = 0.5
    zoom: float = 1.0

    def box(self, size: tuple[int, int], aspect: float) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in a picture of `size` (width, height), of at least one pixel; aspect = width / height."""
        width = max(1, round(min(size[0], size[1] * aspect) / self.zoom))
        height = max(1, round(min(size[1], size[0] / aspect) / self.zoom))
        left, top = round((size[0] - width) * self.x), round((size[1] - height) * self.y)
        return left, top, left + width, top + height


MIDDLE = Crop()


@dataclass(frozen=True, kw_only=True)
class Source:
    """Exactly one of three.

    `png`: a fitted picture as base64 of a PNG file, its 8-bit values taken to [-1, 1]. `seed`: the noise x_T of that seed (or,
    where a picture is wanted, what the model makes of it). `floats`: base64 of a safetensors file with one tensor "x" of
    shape (C, H, W), float32, neither clamped nor rounded: a picture or a latent.
    """

    png: str | None = None
    seed: int | None = None
    floats: str | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.png, self.seed, self.floats)) != 1:
            raise FieldError("source", "must be one of a picture (png), a seed, or floats")
        if self.seed is not None:
            put(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        for text in (self.png, self.floats):
            if text is not None and not (isinstance(text, str) and len(text) <= MAX_TEXT):
                raise FieldError("source", f"must be base64 text of at most {MAX_TEXT} characters; got {shown(text)}")

    @classmethod
    def from_values(cls, values: Mapping[str, Any] | Self) -> Self:
        """The source of a JSON object's values."""
        return values if isinstance(values, cls) else cls(**values)  # type: ignore[arg-type]

    @property
    def is_picture(self) -> bool:
        return self.seed is None

    def tensor(self, shape: tuple[int, int, int]) -> Tensor:
        """Float32 (1, C, H, W) for a model of that shape: a picture in [-1, 1], floats as they are, or a seed's noise."""
        if self.seed is not None:
            return initial_noise([self.seed], shape)
        x = _of_png(str(self.png), shape[0]) if self.floats is None else _of_floats(self.floats)
        if tuple(x.shape) != tuple(shape):
            sizes = ["x".join(map(str, size)) for size in (x.shape, shape)]
            raise FieldError("source", f"must have the model's size: it is {sizes[0]} (channels x height x width), not {sizes[1]}")
        return x[None]


def of_image(image: Image.Image, shape: tuple[int, int, int], crop: Crop = MIDDLE) -> Source:
    """The source of a picture's crop, fitted to a model of pictures of `shape` (C, H, W)."""
    channels, height, width = shape
    if channels not in (1, 3):
        raise FieldError("model", f"must make grey or colour pictures to take one; this one has {channels} channels")
    fitted = fit(image.crop(crop.box(image.size, width / height)), height, width).convert("L" if channels == 1 else "RGB")
    return Source(png=base64.b64encode(png_bytes(fitted, compress_level=9)).decode("ascii"))


def of_tensor(x: Tensor) -> Source:
    """The source of (C, H, W), as float32."""
    data = safetensors_torch.save({"x": x.detach().to("cpu", torch.float32).contiguous()})
    return Source(floats=base64.b64encode(data).decode("ascii"))


def of_pixels(x: Tensor) -> Source:
    """The source of (C, H, W) in [-1, 1] as an 8-bit picture: clamped and rounded."""
    return Source(png=base64.b64encode(png_bytes(to_pil(to_pixels(x[None])[0]), compress_level=9)).decode("ascii"))


def _of_png(text: str, channels: int) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",))
            if max(image.size) > 4096:
                raise ValueError("larger than any model's pictures")
            pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    except Exception as error:  # decoders raise nearly anything on broken data
        raise FieldError("source", "must be base64 of a PNG picture of the model's size; this is none") from error
    return from_pixels(pixels.reshape(1, *pixels.shape[:2], -1))[0]


def _of_floats(text: str) -> Tensor:
    try:
        x: Tensor = safetensors_torch.load(base64.b64decode(text, validate=True))["x"].float()
    except (SafetensorError, binascii.Error, KeyError, ValueError) as error:
        raise FieldError("source", 'must be base64 of a safetensors file with a tensor "x"; this is none') from error
    if not torch.isfinite(x).all():
        raise FieldError("source", "must hold finite numbers; it has NaN or infinity")
    return x
