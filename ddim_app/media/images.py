"""Pictures between tensors in [-1, 1] and the 8-bit ones that people see."""

import base64
import functools
import importlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, features
from PIL.PngImagePlugin import PngInfo

from ddim_app.lazy import Tensor, torch

Pixels = np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else []))
"""All that is ever opened, HEIC aside. Pillow knows dozens more, and its security fixes are mostly in those."""

MAX_PIXELS = 80_000_000
"""Width times height that is still decoded (240 MB as RGB); a header can claim anything."""


def to_pixels(x: Tensor) -> Pixels:
    """uint8 (N, H, W, C) from (N, C, H, W) in [-1, 1]; what lies outside is cut off."""
    scaled = (x.detach().double() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def from_pixels(pixels: Pixels, number_format: type[np.floating[Any]] = np.float32) -> Tensor:
    """(N, C, H, W) in [-1, 1] from uint8 (N, H, W, C); `to_pixels` gives the same pixels again."""
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).astype(number_format)).div_(127.5).sub_(1)


def to_pil(pixels: Pixels) -> Image.Image:
    """One picture from uint8 (H, W, C), grey where C = 1."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def side_by_side(pixels: Pixels) -> Image.Image:
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


def data_uri(image: Image.Image) -> str:
    """The picture as the text that a browser takes for its address: a PNG in base64."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")


HEAT = np.array([[24, 16, 48], [96, 32, 96], [190, 70, 60], [245, 150, 20], [255, 240, 190]])
"""Colours of a heat map from its lowest value to its highest, dark to bright; the stage's script has the same."""


def heat_map(values: np.ndarray, highest: float) -> Pixels:
    """Values (..., H, W) from 0 to `highest` as colours (..., H, W, 3)."""
    places = np.linspace(0, highest, len(HEAT))
    return np.stack([np.interp(values, places, channel) for channel in HEAT.T], -1).round().astype(np.uint8)


def open_picture(source: Path | bytes, background: str = "white", at_least: int | None = None) -> Image.Image:
    """The first frame of a picture file as upright 8-bit RGB, transparency laid over `background`.

    `at_least` lets a JPEG be decoded at a smaller size, with both sides at least that long: several times quicker for photos.
    Raises ValueError, one sentence, for whatever cannot be used.
    """
    return decode(read_header(source), background, at_least)


def read_header(source: Path | bytes) -> Image.Image:
    """A picture of one of the formats with its header read and nothing decoded; raises ValueError."""
    try:
        image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(_too_large()) from error
    except UnidentifiedImageError as error:
        raise ValueError(_not_opened(source)) from error
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror or str(error)[:100]})") from error
    except Exception as error:  # decoders raise nearly anything on a broken header
        raise ValueError(f"its header is broken ({type(error).__name__})") from error
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(_too_large())
    return image


@functools.cache
def formats() -> tuple[str, ...]:
    """FORMATS, and HEIC where a reader of it is installed: pi-heif has no encoder, so it is smaller and without GPL code."""
    for name in ("pi_heif", "pillow_heif"):
        try:
            importlib.import_module(name).register_heif_opener()
        except ImportError:
            continue
        return (*FORMATS, "HEIF")
    return FORMATS


HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
FILMS = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"qt  ", b"3gp4", b"3gp5")
ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")


def _not_opened(source: Path | bytes) -> str:
    """What a file is that is no picture here, as its first bytes say, and what to do about it."""
    if isinstance(source, bytes):
        head = source[:512]
    else:
        with source.open("rb") as file:
            head = file.read(512)
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in HEIC and "HEIF" not in formats():
        return "it is a HEIC picture: install its reader (pip install pi-heif), or convert it to JPEG"
    if brand in (b"avif", b"avis") and "AVIF" not in formats():
        return "it is an AVIF picture, which the Pillow installed here cannot read: convert it to PNG or JPEG"
    if brand in FILMS or head[:4] == b"\x1aE\xdf\xa3" or head[:4] + head[8:11] == b"RIFFAVI":
        return "it is a film: take pictures out of it, such as with ffmpeg -i FILM %05d.png"
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar":
        return "it is an archive: unpack it"
    return f"it is not a picture in one of the formats {', '.join(formats())}"


def decode(image: Image.Image, background: str = "white", at_least: int | None = None) -> Image.Image:
    """Upright 8-bit RGB of an opened picture; raises ValueError when it is broken."""
    try:
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        image.load()
        return _flatten(_upright(_to_srgb(_to_8_bit(image))), background)
    except MemoryError as error:
        raise ValueError("there is not enough memory to decode it") from error
    except Exception as error:  # decoders raise nearly anything on broken data
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(f"it is broken or incomplete ({reason})") from error


def fit(image: Image.Image, height: int, width: int) -> Image.Image:
    """The picture resized to cover height x width and cut to it in the middle.

    Where the side shrinks by a whole factor the pixels are averaged in blocks, else by Lanczos' filter.
    """
    scale = max(height / image.height, width / image.width)
    cover = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    factor = image.width // cover[0]
    if factor > 1 and image.size == (cover[0] * factor, cover[1] * factor):
        image = image.reduce(factor)
    elif image.size != cover:
        image = image.resize(cover, Image.Resampling.LANCZOS, reducing_gap=3.0)
    left, top = (cover[0] - width) // 2, (cover[1] - height) // 2
    return image.crop((left, top, left + width, top + height))


def _too_large() -> str:
    return f"it has more than {MAX_PIXELS // 1_000_000} million pixels: make it smaller"


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits per pixel scaled to 8; Pillow's own conversion would cut them off at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    # Floats are in [0, 1] by custom; whole numbers are 16-bit, whatever they are stored in.
    scaled = values * 255 if image.mode == "F" and values.max(initial=0) <= 1 else values if image.mode == "F" else values / 257
    grey = Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
    grey.info["exif"] = image.info.get("exif", b"")
    return grey


COLOUR_SPACES = {"RGB": ("RGB", "RGBA"), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""Colour spaces of profiles, and the modes of pictures that they speak of."""


@functools.cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _to_srgb(image: Image.Image) -> Image.Image:
    """The picture in sRGB where its file has the profile of other colours, such as a phone's Display P3; without one, as it is."""
    data = image.info.get("icc_profile")
    if not data:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if space == "RGB" and image.mode in ("P", "PA"):
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        if image.mode not in COLOUR_SPACES.get(space, ()):
            return image
        shown = ImageCms.profileToProfile(image, profile, _srgb(), outputMode="RGBA" if image.mode == "RGBA" else "RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken profile says nothing about the picture
        return image
    assert shown is not None
    shown.info["exif"] = image.info.get("exif", b"")
    return shown


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing about the picture
        return image


def _flatten(image: Image.Image, background: str) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, background)
    canvas.alpha_composite(image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA"))
    return canvas.convert("RGB")


RECIPE_KEY = "ddim_recipe"
"""PNG text entry of every final picture: its recipe as JSON."""
