"""Pictures that move: frames as GIF, animated WebP or MP4, and sheets with headers, each with a text inside on how it was made.

The text is a recipe's JSON as a rule. It stands where other programs keep it and show it: in a GIF's and an MP4's comment, in a
WebP's EXIF user comment, in a PNG's text entry.
"""

import io
import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ddim_app.media.images import RECIPE_KEY, Pixels, png_bytes, to_pil

USER_COMMENT, EXIF_FOLDER = 0x9286, 0x8769
ASCII = b"ASCII\0\0\0"
FASTEST = 20
"""Milliseconds of a frame; browsers show a GIF of shorter ones at a tenth of their speed."""
FFMPEG_SECONDS = 60

Frames = Pixels | Sequence[Image.Image]
"""uint8 (N, H, W, C) with C = 1 or 3, or pictures of one size."""


class AnimationError(RuntimeError):
    """A film that could not be made; the message is a sentence for the user."""


# ---- films -----------------------------------------------------------------------------------------------------------


def gif_bytes(frames: Frames, milliseconds: int = 100, *, scale: int = 1, hold: int = 0, recipe: str = "") -> bytes:
    """An endless GIF, each pixel enlarged to scale x scale.

    A frame lasts `milliseconds` (at least 20, rounded to 10), the last one `hold` longer. Every frame has its own 256 colours, so
    pictures of more colours are only close; WebP is exact.
    """
    pictures = [_grow(_few_colours(picture), scale) for picture in _pictures(frames)]
    durations = [max(FASTEST, round(each / 10) * 10) for each in _durations(len(pictures), milliseconds, hold)]
    out = io.BytesIO()
    pictures[0].save(
        out, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1, optimize=False,
        comment=recipe.encode(),
    )  # fmt: skip
    return out.getvalue()


def webp_bytes(frames: Frames, milliseconds: int = 100, *, scale: int = 1, hold: int = 0, recipe: str = "") -> bytes:
    """An endless animated WebP without loss; the arguments are gif_bytes'."""
    pictures = [_grow(picture, scale).convert("RGB") for picture in _pictures(frames)]
    exif = Image.Exif()
    exif.get_ifd(EXIF_FOLDER)[USER_COMMENT] = ASCII + recipe.encode()
    out = io.BytesIO()
    pictures[0].save(
        out, "WEBP", save_all=True, append_images=pictures[1:], duration=_durations(len(pictures), milliseconds, hold), loop=0,
        lossless=True, quality=20, method=0, exif=exif.tobytes(),
    )  # fmt: skip
    return out.getvalue()


def ffmpeg() -> str | None:
    """The program that makes MP4s, where this machine has it."""
    return shutil.which("ffmpeg")


def mp4_bytes(frames: Frames, milliseconds: int = 100, *, scale: int = 1, hold: int = 0, recipe: str = "") -> bytes:
    """An MP4 (H.264, which loses a little) for programs that take no WebP; the arguments are gif_bytes'.

    Raises AnimationError when ffmpeg is missing, fails, or takes longer than a minute.
    """
    program = ffmpeg()
    if program is None:
        raise AnimationError("MP4 needs the program ffmpeg, which this machine does not have; take the WebP")
    pictures = [_grow(picture, scale).convert("RGB") for picture in _pictures(frames)]
    pictures += pictures[-1:] * round(hold / milliseconds)
    width, height = pictures[0].size
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        command = [
            program, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"1000/{milliseconds}",
            "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", "-crf", "16", "-preset", "fast",
            "-movflags", "+faststart", "-metadata", f"comment={recipe}", str(film),
        ]  # fmt: skip
        raw = b"".join(picture.tobytes() for picture in pictures)
        try:
            ran = subprocess.run(command, input=raw, capture_output=True, timeout=FFMPEG_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise AnimationError(f"ffmpeg took longer than {FFMPEG_SECONDS} s; take the WebP, or fewer steps") from error
        except OSError as error:
            raise AnimationError(f"ffmpeg cannot be started ({error.strerror}); take the WebP") from error
        if ran.returncode or not film.is_file():
            reason = " ".join(ran.stderr.decode("utf-8", "replace").split())[:160]
            raise AnimationError(f"ffmpeg could not make the film ({reason}); take the WebP")
        return film.read_bytes()


def _pictures(frames: Frames) -> list[Image.Image]:
    pictures = [to_pil(frame) for frame in frames] if isinstance(frames, np.ndarray) else list(frames)
    if not pictures:
        raise ValueError("a film needs at least one frame")
    return pictures


def _durations(count: int, milliseconds: int, hold: int) -> list[int]:
    return [milliseconds] * (count - 1) + [milliseconds + hold]


def _grow(picture: Image.Image, scale: int) -> Image.Image:
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST) if scale > 1 else picture


def _few_colours(picture: Image.Image) -> Image.Image:
    return picture if picture.mode in ("L", "P") else picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)


# ---- sheets with headers ---------------------------------------------------------------------------------------------

INK, PAPER, EMPTY = "#14181f", "#ffffff", "#e8e8e4"
MARGIN, GAP = 10, 6
WORDS = {
    "η": "eta", "σ̂": "sigma-hat", "σ": "sigma", "ᾱ": "alpha_bar", "α": "alpha", "x₀": "x0", "₀": "0", "ₜ": "t", "×": "x",
    "≤": "<=", "−": "-", "–": "-", "…": "...", "∞": "inf", "√": "sqrt ", "²": "2", "Δ": "change of ", "λ": "lambda",
}  # fmt: skip
"""How signs are written that Pillow's own font does not have."""


def labelled_sheet(
    cells: Sequence[Sequence[Image.Image | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    scale: int = 1,
    title: str = "",
    font_size: int = 14,
) -> Image.Image:
    """A table of pictures, `cells[row][column]` with None for an empty one, under a title and with headers at top and left.

    The pictures are enlarged scale x scale without smoothing and stay to the bit; headers break into lines where they are wider
    than their column. Letters that the font lacks are written out: "eta" for the Greek letter.
    """
    font = ImageFont.load_default(size=font_size)
    known = [picture for row in cells for picture in row if picture is not None]
    if not known or len(cells) != len(rows) or any(len(row) != len(columns) for row in cells):
        raise ValueError("a sheet needs a picture, and as many rows and columns as headers")
    width, height = (max(getattr(picture, side) for picture in known) * scale for side in ("width", "height"))
    line = font_size + 4
    heads = [_lines(text, font, max(width, 64)) for text in columns]
    sides = [_lines(text, font, 150) for text in rows]
    step_x = max(width, *(_extent(lines, font) for lines in heads)) + GAP
    step_y = max(height, *(len(lines) * line for lines in sides)) + GAP
    left = MARGIN + max(_extent(lines, font) for lines in sides) + (GAP if any(map(any, sides)) else 0)
    total = left + step_x * len(columns) - GAP + MARGIN
    title_lines = _lines(title, font, total - 2 * MARGIN) if title else []
    total = max(total, _extent(title_lines, font) + 2 * MARGIN)
    top = MARGIN + len(title_lines) * line + (GAP if title_lines else 0) + max(map(len, heads)) * line
    sheet = Image.new("RGB", (total, top + step_y * len(rows) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (MARGIN, MARGIN), title_lines, font, line)
    for column, lines in enumerate(heads):
        _write(draw, (left + column * step_x, top - len(lines) * line), lines, font, line)
    for y, (lines, row) in enumerate(zip(sides, cells, strict=True)):
        _write(draw, (MARGIN, top + y * step_y), lines, font, line)
        for x, picture in enumerate(row):
            _put(sheet, picture, (left + x * step_x, top + y * step_y), (width, height), scale)
    return sheet


def _put(sheet: Image.Image, picture: Image.Image | None, place: tuple[int, int], size: tuple[int, int], scale: int) -> None:
    """Puts a picture, enlarged, or an empty field of `size` in its place on a sheet."""
    if picture is None:
        ImageDraw.Draw(sheet).rectangle((*place, place[0] + size[0] - 1, place[1] + size[1] - 1), fill=EMPTY)
    else:
        sheet.paste(_grow(picture.convert("RGB"), scale), place)


def sheet_bytes(sheet: Image.Image, recipe: str = "") -> bytes:
    """A sheet as PNG, with its recipe as text entry."""
    return png_bytes(sheet, [(RECIPE_KEY, recipe)] if recipe else [], compress_level=6)


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _lines(text: str, font: Font, width: int) -> list[str]:
    """The text in lines of at most `width` pixels where its words allow it, in letters that the font has."""
    lines: list[str] = []
    for word in _plain(text).split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _plain(text: str) -> str:
    for sign, word in WORDS.items():
        text = text.replace(sign, word)
    return "".join(letter if letter.isascii() or letter == "·" else "?" for letter in text)


def _extent(lines: Sequence[str], font: Font) -> int:
    return math.ceil(max((font.getlength(line) for line in lines), default=0))


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], font: Font, line: int) -> None:
    for number, text in enumerate(lines):
        draw.text((place[0], place[1] + number * line), text, fill=INK, font=font)


# ---- reading ---------------------------------------------------------------------------------------------------------


def text_inside(data: bytes) -> str:
    """The recipe that one of the functions above put into a file; "" when there is none. Raises ValueError for other files."""
    if data[4:8] == b"ftyp":
        return _mp4_comment(data)
    try:
        with Image.open(io.BytesIO(data), formats=("GIF", "WEBP", "PNG")) as image:
            if image.format == "GIF":
                return bytes(image.info.get("comment", b"")).decode("utf-8", "replace")
            if image.format == "PNG":
                image.load()
                return str(image.info.get(RECIPE_KEY, ""))
            comment = image.getexif().get_ifd(EXIF_FOLDER).get(USER_COMMENT, b"")
            return bytes(comment).removeprefix(ASCII).decode("utf-8", "replace")
    except Exception as error:  # decoders raise nearly anything on a broken file
        raise ValueError("it is no GIF, WebP, MP4 or PNG that can be read") from error


def _mp4_comment(data: bytes) -> str:
    """moov / udta / meta / ilst / ©cmt / data, as iTunes lays it out; "" when a box is missing or too long for the file."""
    for name, header in ((b"moov", 0), (b"udta", 0), (b"meta", 0), (b"ilst", 4), (b"\xa9cmt", 0), (b"data", 0)):
        data, offset, box = data[header:], 0, None
        while offset + 8 <= len(data):
            size = int.from_bytes(data[offset : offset + 4])
            if data[offset + 4 : offset + 8] == name:
                box = data[offset + 8 : offset + size]
            offset += max(size, 8)
        if box is None:
            return ""
        data = box
    return data[8:].decode("utf-8", "replace")
