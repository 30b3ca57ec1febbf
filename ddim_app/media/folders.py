"""The picture files of a folder: found whatever lies around them, and decoded to squares one by one."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ddim_app.media import images

MAX_BYTES = 512_000_000


class PictureFile(NamedTuple):
    """A file under the data folder."""

    name: str
    """Path relative to the folder, printable whatever characters it has."""
    path: Path


class RejectedFile(NamedTuple):
    name: str
    reason: str


class DecodedPicture(NamedTuple):
    """A decoded picture and what its file was like."""

    pixels: np.ndarray
    """uint8 (side, side, channels)."""
    width: int
    height: int
    mode: str
    format: str
    frames: int


def printable(name: str) -> str:
    """A file name on one line: control characters and broken encodings escaped."""
    text = name.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def scan(folder: Path) -> Iterator[PictureFile | RejectedFile]:
    """All regular files under `folder` in the order of their names. Links are followed, and no folder is visited twice."""
    yield from _scan(folder, "", set())


def _scan(folder: Path, prefix: str, visited: set[tuple[int, int]]) -> Iterator[PictureFile | RejectedFile]:
    try:
        status = folder.stat()
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield RejectedFile(printable(prefix).rstrip("/") or ".", f"the folder cannot be read ({error.strerror})")
        return
    if (status.st_dev, status.st_ino) in visited:
        yield RejectedFile(printable(prefix).rstrip("/"), "it is a link to a folder that is searched already")
        return
    visited.add((status.st_dev, status.st_ino))
    for name in names:
        relative = f"{prefix}{name}"
        try:
            mode = (folder / name).stat().st_mode
        except OSError as error:
            yield RejectedFile(printable(relative), f"it cannot be read ({error.strerror})")
            continue
        if stat.S_ISDIR(mode):
            yield from _scan(folder / name, relative + "/", visited)
        elif stat.S_ISREG(mode):
            yield PictureFile(printable(relative), folder / name)
        else:
            yield RejectedFile(printable(relative), "it is not a regular file")


def read(path: Path) -> bytes:
    """The file's bytes; raises ValueError."""
    try:
        size = path.stat().st_size
        if size == 0:
            raise ValueError("it is empty")
        if size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES // 1_000_000} MB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error


def digest(path: Path) -> str:
    """A name for the file's content; of one that cannot be read, why."""
    try:
        return hashlib.sha256(read(path)).hexdigest()
    except ValueError as error:
        return str(error)


def load(path: Path, side: int, channels: int, background: str) -> DecodedPicture:
    """One file as a square of side x side; raises ValueError with the reason why it cannot be used."""
    header = images.read_header(read(path))
    facts = (header.width, header.height, header.mode, header.format or "?", int(getattr(header, "n_frames", 1)))
    pixels = square(images.decode(header, background, at_least=2 * side), side, channels)
    return DecodedPicture(pixels, *facts)


def square(image: Image.Image, side: int, channels: int) -> np.ndarray:
    """uint8 (side, side, channels) of an RGB picture, resized to cover the square and cut in the middle."""
    fitted = images.fit(image, side, side)
    return np.asarray(fitted if channels == 3 else fitted.convert("L")).reshape(side, side, channels)
