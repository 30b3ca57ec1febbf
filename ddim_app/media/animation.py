"""Pictures that move: frames as GIF, animated WebP or MP4, and sheets with headers, each with a text inside on how it was made.

The text is a recipe's JSON as a rule. It stands where other programs keep it and show it: in a GIF's and an MP4's comment, in a
WebP's EXIF user comment, in a PNG's text entry.
"""

import io
import math
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageText

from ddim_app.media.images import RECIPE_KEY, Pixels, png_bytes, to_pil

USER_COMMENT, EXIF_FOLDER = 0x9286, 0x8769
ASCII = b"ASCII\0\0\0"
FASTEST = 20
"""Milliseconds of a frame; browsers show a GIF of shorter ones at a tenth of their speed."""

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
    return _saved(pictures, "GIF", durations, disposal=1, optimize=False, comment=recipe.encode())


def webp_bytes(frames: Frames, milliseconds: int = 100, *, scale: int = 1, hold: int = 0, recipe: str = "") -> bytes:
    """An endless animated WebP without loss; the arguments are gif_bytes'."""
    pictures = [_grow(picture, scale).convert("RGB") for picture in _pictures(frames)]
    exif = Image.Exif()
    exif.get_ifd(EXIF_FOLDER)[USER_COMMENT] = ASCII + recipe.encode()
    durations = _durations(len(pictures), milliseconds, hold)
    return _saved(pictures, "WEBP", durations, lossless=True, quality=20, method=0, exif=exif.tobytes())


def _saved(pictures: list[Image.Image], form: str, durations: list[int], **options: Any) -> bytes:
    out = io.BytesIO()
    pictures[0].save(out, form, save_all=True, append_images=pictures[1:], duration=durations, loop=0, **options)
    return out.getvalue()


def mp4_bytes(frames: Frames, milliseconds: int = 100, *, scale: int = 1, hold: int = 0, recipe: str = "") -> bytes:
    """An MP4 (H.264, which loses a little) for programs that take no WebP; the arguments are gif_bytes'.

    Sides of an odd number of pixels get one more, which the format asks for. Raises AnimationError where PyAV is missing or fails.
    """
    try:
        import av  # 100 MB of coders that only this needs
    except ImportError as error:
        raise AnimationError(f"MP4 needs the package av ({error}): pip install av, or take the WebP") from error
    pictures = [_grow(picture, scale).convert("RGB") for picture in _pictures(frames)]
    pictures += pictures[-1:] * round(hold / milliseconds)
    width, height = (side + side % 2 for side in pictures[0].size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"  # the index is moved to the front at the end, which takes a file
        try:
            with av.open(path, "w", options={"movflags": "faststart"}) as film:
                film.metadata["comment"] = recipe
                stream = film.add_stream("libx264", Fraction(1000, milliseconds), options={"crf": "16", "preset": "fast"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for picture in pictures:
                    whole = np.asarray(_on_paper(picture, (width, height)))
                    film.mux(stream.encode(av.VideoFrame.from_ndarray(whole, format="rgb24")))
                film.mux(stream.encode())
        except (av.FFmpegError, OSError) as error:
            raise AnimationError(f"the MP4 could not be made ({error}); take the WebP") from error
        return path.read_bytes()


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
    heads = [_wrapped(text, font, max(width, 64)) for text in columns]
    sides = [_wrapped(text, font, 150) for text in rows]
    step_x, step_y = max(width, _width(heads)) + GAP, max(height, _height(sides, line)) + GAP
    left = MARGIN + _width(sides) + (GAP if any(rows) else 0)
    total = left + step_x * len(columns) - GAP + MARGIN
    above = _wrapped(title, font, total - 2 * MARGIN)
    total = max(total, _width([above]) + 2 * MARGIN)
    top = MARGIN + _height([above], line) + (GAP if title else 0) + _height(heads, line)
    sheet = Image.new("RGB", (total, top + step_y * len(rows) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), above, INK)
    for column, text in enumerate(heads):
        draw.text((left + column * step_x, top - _height([text], line)), text, INK)
    for y, (text, row) in enumerate(zip(sides, cells, strict=True)):
        draw.text((MARGIN, top + y * step_y), text, INK)
        for x, picture in enumerate(row):
            _put(sheet, picture, (left + x * step_x, top + y * step_y), (width, height), scale)
    return sheet


def captioned(picture: Image.Image, words: str, scale: int = 1, font_size: int = 14) -> Image.Image:
    """The picture, enlarged without smoothing, over a line of words."""
    text = _wrapped(words, ImageFont.load_default(size=font_size), 10_000)
    grown, width = _grow(picture.convert("RGB"), scale), _width([text])
    paper = _on_paper(grown, (max(grown.width, width), grown.height + font_size + 4))
    ImageDraw.Draw(paper).text((0, grown.height), text, INK)
    return paper


def of_one_size(pictures: list[Image.Image]) -> list[Image.Image]:
    """The pictures, each at the top left of as much paper as the largest ones take."""
    width, height = (max(getattr(picture, side) for picture in pictures) for side in ("width", "height"))
    return [_on_paper(picture, (width, height)) for picture in pictures]


def _on_paper(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    paper = Image.new("RGB", size, PAPER)
    paper.paste(picture)
    return paper


def _put(sheet: Image.Image, picture: Image.Image | None, place: tuple[int, int], size: tuple[int, int], scale: int) -> None:
    """Puts a picture, enlarged, or an empty field of `size` in its place on a sheet."""
    if picture is None:
        ImageDraw.Draw(sheet).rectangle((*place, place[0] + size[0] - 1, place[1] + size[1] - 1), fill=EMPTY)
    else:
        sheet.paste(_grow(picture.convert("RGB"), scale), place)


def sheet_bytes(sheet: Image.Image, recipe: str = "") -> bytes:
    """A sheet as PNG, with its recipe as text entry."""
    return png_bytes(sheet, [(RECIPE_KEY, recipe)] if recipe else [], compress_level=6)


def _wrapped(words: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> ImageText.Text[str]:
    """The words in lines of at most `width` pixels where they allow it, in letters that the font has."""
    text = ImageText.Text(plain(words), font)
    text.wrap(max(width, *(math.ceil(font.getlength(word)) for word in ["", *text.text.split()])))
    return text


def plain(text: str) -> str:
    """The text in letters that Pillow's own font and all programs have."""
    for sign, word in WORDS.items():
        text = text.replace(sign, word)
    return "".join(letter if letter.isascii() or letter == "·" else "?" for letter in text)


def _width(texts: Iterable[ImageText.Text[str]]) -> int:
    return math.ceil(max(text.get_bbox()[2] for text in texts))


def _height(texts: Iterable[ImageText.Text[str]], line: int) -> int:
    """Pixels of the text with the most lines; the same whatever letters there are, and none of no text."""
    return line * max(text.text.count("\n") + bool(text.text) for text in texts)


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
    """The text of the first box ©cmt, as iTunes lays it out: in a box `data`, after 8 bytes on its kind; "" without one."""
    box = data.partition(b"\xa9cmt")[2]
    return box[16 : int.from_bytes(box[:4])].decode("utf-8", "replace") if box[4:8] == b"data" else ""
