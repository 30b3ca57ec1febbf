"""Pictures to work on: the files of a folder, whatever lies around them, of an archive, of a parquet file, or an array's."""

import hashlib
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ddim_app.media import images

MAX_BYTES = 512_000_000
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif")
KINDS = "a folder of pictures, or a .zip, .tar, .parquet, .npz or .npy file of them"


class PictureFile(NamedTuple):
    """A file that may be a picture."""

    name: str
    """Path relative to the folder or archive, printable whatever characters it has; an array's classes are folders."""
    content: Path | bytes | np.ndarray
    """An array is uint8 (height, width, 1 or 3)."""


class RejectedFile(NamedTuple):
    name: str
    reason: str


Found = PictureFile | RejectedFile


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


class SourceError(ValueError):
    """A source that no picture can be taken from; the message names it."""


def contents(source: Path, skip: Callable[[Path], bool] = lambda folder: False) -> Iterator[Found]:
    """What is in a source of one of KINDS, one after the other, folders that `skip` wants to skip left out.

    Raises SourceError when it is no such source, or when it turns out broken.
    """
    readers = {".zip": _zip, ".tar": _tar, ".tgz": _tar, ".parquet": _parquet, ".npz": _arrays, ".npy": _arrays}
    if source.is_dir():
        return _scan(source, "", set(), skip)
    if not source.is_file():
        raise SourceError(f"must be {KINDS}; there is none at {source}")
    reader = readers.get(".tar" if ".tar" in source.suffixes[-2:] else source.suffix.lower())
    if reader is None:
        raise SourceError(f"must be {KINDS}; {source} is none: {_alone(source)}")
    return _unpacked(reader, source)


def _unpacked(reader: Callable[[Path], Iterator[Found]], source: Path) -> Iterator[Found]:
    try:
        yield from reader(source)
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile, tarfile.TarError, zlib.error, ValueError) as error:
        raise SourceError(f"{source}: {' '.join(str(error).split())[:200] or type(error).__name__}") from error


def _alone(path: Path) -> str:
    try:
        images.read_header(path).close()
    except ValueError as error:
        return str(error)
    return "it is one picture; name the folder that it lies in"


def _scan(folder: Path, prefix: str, visited: set[tuple[int, int]], skip: Callable[[Path], bool]) -> Iterator[Found]:
    """All regular files in the order of their names. Links are followed, and no folder is visited twice."""
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
            if not skip(folder / name):
                yield from _scan(folder / name, relative + "/", visited, skip)
        elif stat.S_ISREG(mode):
            yield PictureFile(printable(relative), folder / name)
        else:
            yield RejectedFile(printable(relative), "it is not a regular file")


def _zip(path: Path) -> Iterator[Found]:
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.filename):
            if info.is_dir() or info.filename.startswith("__MACOSX/"):  # which holds no pictures, but their icons
                continue
            try:
                yield _member(info.filename, info.file_size, partial(archive.read, info))
            except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
                yield RejectedFile(printable(info.filename), f"it cannot be unpacked ({error})")


def _tar(path: Path) -> Iterator[Found]:
    with tarfile.open(path, "r:*") as archive:
        for info in archive:
            if info.isreg():
                yield _member(info.name, info.size, archive.extractfile(info).read)  # type: ignore[union-attr]


def _member(name: str, size: int, read: Callable[[], bytes]) -> Found:
    name = printable(name.removeprefix("./"))
    return PictureFile(name, read()) if 0 < size <= MAX_BYTES else RejectedFile(name, _bad_size(size))


def _parquet(path: Path) -> Iterator[Found]:
    """The first column of pictures: bytes, or a structure with them, as data sets of the Hub have it."""
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ValueError("parquet files are read by pyarrow, which is not installed: pip install pyarrow") from error
    file = parquet.ParquetFile(path)
    kinds = {field.name: field.type for field in file.schema_arrow}
    binary = (arrow.binary(), arrow.large_binary())
    wanted = [name for name, kind in kinds.items() if kind in binary or _field(kind, "bytes") in binary]
    if not wanted:
        raise ValueError(f"no column holds pictures' bytes; it has {', '.join(kinds)}")
    rows = (row for batch in file.iter_batches(64, columns=wanted[:1]) for row in batch.column(0).to_pylist())
    for i, row in enumerate(rows):
        data = row["bytes"] if isinstance(row, dict) else row
        yield PictureFile(f"{path.name}[{i}]", data) if data else RejectedFile(f"{path.name}[{i}]", "it is empty")


def _field(kind: Any, name: str) -> Any:
    """The type of a structure's field; None when there is none."""
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    return fields.get(name)


def _arrays(path: Path) -> Iterator[Found]:
    try:
        x = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError("it is no file of NumPy arrays") from error
    homes = None
    if not isinstance(x, np.ndarray):
        with x as archive:
            if "x" not in archive:
                raise ValueError(f"its pictures must be the array x; it has {', '.join(archive) or 'none'}")
            x, homes = archive["x"], _homes(archive)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] not in (1, 3) or 0 in x.shape:
        raise ValueError(f"its pictures must be uint8 of shape (N, height, width, 1 or 3); got {x.dtype} {x.shape}")
    if homes is not None and len(homes) != len(x):
        raise ValueError(f"its classes y must be as many as its pictures, {len(x)}; got {len(homes)}")
    yield from (PictureFile(f"{homes[i] if homes else ''}{path.name}[{i}]", picture) for i, picture in enumerate(x))


def _homes(archive: Any) -> list[str] | None:
    """The folders that the classes y of an archive's pictures stand for, by their names in `classes` where it has them."""
    if "y" not in archive:
        return None
    y, names = archive["y"], archive.get("classes", None)
    if y.ndim != 1 or y.dtype.kind not in "iu" or (names is not None and not (len(y) and 0 <= y.min() <= y.max() < len(names))):
        raise ValueError("its classes y must be whole numbers, one for each picture, and, where it has classes, below their number")
    return [f"{printable(str(label if names is None else names[label])).replace('/', '_')}/" for label in y.tolist()]


def read(path: Path) -> bytes:
    """The file's bytes; raises ValueError."""
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_BYTES:
            raise ValueError(_bad_size(size))
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error


def _bad_size(size: int) -> str:
    return f"it is larger than {MAX_BYTES // 1_000_000} MB" if size else "it is empty"


def digest(path: Path) -> str:
    """A name for the file's content; of one that cannot be read, why."""
    try:
        return hashlib.sha256(read(path)).hexdigest()
    except ValueError as error:
        return str(error)


def load(content: Path | bytes | np.ndarray, side: int, channels: int, background: str = "white") -> DecodedPicture:
    """A picture as a square of side x side; raises ValueError with the reason why it cannot be used."""
    header, image = opened(content, background, at_least=2 * side)
    return DecodedPicture(fitted(image, side, side, channels), *header)


def opened(
    content: Path | bytes | np.ndarray, background: str = "white", at_least: int | None = None
) -> tuple[tuple[int, int, str, str, int], Image.Image]:
    """(width, height, mode, format, frames) of what was found, and the picture in RGB; raises ValueError."""
    if isinstance(content, np.ndarray):
        image = images.to_pil(content)
        return (image.width, image.height, image.mode, "NPZ", 1), image.convert("RGB")
    header = images.read_header(read(content) if isinstance(content, Path) else content)
    facts = (header.width, header.height, header.mode, header.format or "?", int(getattr(header, "n_frames", 1)))
    return facts, images.decode(header, background, at_least)


def fitted(image: Image.Image, height: int, width: int, channels: int) -> np.ndarray:
    """uint8 (height, width, channels) of an RGB picture, resized to cover them and cut in the middle."""
    made = images.fit(image, height, width)
    return np.asarray(made if channels == 3 else made.convert("L")).reshape(height, width, channels)
