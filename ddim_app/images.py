"""Pictures between tensors in [-1, 1] and the 8-bit ones that people see."""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

Pixels = np.ndarray


def to_pixels(x: Tensor) -> Pixels:
    """uint8 (N, H, W, C) from (N, C, H, W) in [-1, 1]; what lies outside is cut off."""
    scaled = (x.detach().double() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def to_pil(pixels: Pixels) -> Image.Image:
    """One picture from uint8 (H, W, C), grey where C = 1."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def strip(pixels: Pixels) -> Image.Image:
    """All pictures of (N, H, W, C) side by side without gaps: the sprite sheet that the page cuts up again."""
    return to_pil(np.concatenate(list(pixels), axis=1))


def contact_sheet(pixels: Pixels, columns: int | None = None, scale: int = 1, gap: int = 0) -> Image.Image:
    """Pictures of (N, H, W, C) row by row, each pixel enlarged to scale x scale; near a square unless `columns` is given."""
    count, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height * scale + gap) - gap, columns * (width * scale + gap) - gap, channels), 255, np.uint8)
    for i, picture in enumerate(pixels):
        top, left = i // columns * (height * scale + gap), i % columns * (width * scale + gap)
        sheet[top : top + height * scale, left : left + width * scale] = picture.repeat(scale, 0).repeat(scale, 1)
    return to_pil(sheet)


def enlargement(height: int, width: int, at_least: int = 256) -> int:
    """Whole factor that makes the longer side of a small picture at least `at_least` pixels."""
    return max(1, math.ceil(at_least / max(height, width)))


def png_bytes(image: Image.Image, texts: Sequence[tuple[str, str]] = (), compress_level: int = 1) -> bytes:
    """The picture as PNG, lossless, with `texts` as its text entries."""
    info = PngInfo()
    for key, text in texts:
        info.add_itxt(key, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=compress_level)
    return buffer.getvalue()
