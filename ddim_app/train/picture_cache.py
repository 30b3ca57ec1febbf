"""Pictures decoded once into a memory-mapped cache, named by their content and the settings."""

import hashlib
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddim_app.media import folders
from ddim_app.media.files import PARTIAL, flush, write_json
from ddim_app.media.folders import DecodedPicture, Found, PictureFile, RejectedFile, SourceError
from ddim_app.train.config import TrainError

VERSION = 1
"""Part of every cache's name, so that a change of how pictures are prepared makes new ones."""
KEY_LENGTH = 24
PIXELS = "pixels.bin"
AHEAD = 64
"""Pictures that are read before the one that is waited for."""

Progress = Callable[[int, int], None]
"""(pictures read, pictures in all); may raise Stopped."""


class PictureForm(NamedTuple):
    """What pictures are made into."""

    side: int
    channels: int
    background: str = "white"


@dataclass(frozen=True)
class PictureCache:
    """Decoded pictures on the disk with the report of where they came from."""

    key: str
    pixels: np.ndarray
    """uint8 (N, side, side, channels), memory-mapped."""
    names: list[str]
    hashes: list[str]
    """A hash of each picture's pixels."""
    digests: list[str]
    """A hash of each picture's file."""
    facts: dict[str, Any]
    """The report: files, formats, modes, sizes, rejected, duplicates."""


def load(source: str, flag: str, form: PictureForm, cache: Path, progress: Progress, ours: Sequence[Path] = ()) -> PictureCache:
    """The pictures of a source, from the cache or decoded into it; raises TrainError."""
    try:
        found = _find(Path(source).expanduser(), [folder.resolve() for folder in ours], progress)
        key = hashlib.sha256(json.dumps([VERSION, form, found.contents]).encode()).hexdigest()[:KEY_LENGTH]
        if not (cache / key / "about.json").is_file():
            _build(cache, key, _map(partial(_decode, form=form), found.files, found.total, progress), form)
    except SourceError as error:
        words = str(error).replace("must be", "must be a number, or", 1) if flag == "--holdout" else str(error)
        raise TrainError(f"{flag} {words}") from error
    return open_cache(cache, key, form, found.digest, found.left_out)


class FoundFiles(NamedTuple):
    """What is in a source, before it is decoded."""

    files: Iterable[Found]
    total: int
    """How many files may be pictures; 0 where that is not known before they are read."""
    contents: list[Any]
    """What the cache is named by: names and hashes of a folder's files, or the hash of the one file."""
    digest: Callable[[str], str]
    """The hash of a file by its name."""
    left_out: list[str]


def _find(path: Path, ours: Sequence[Path], progress: Progress) -> FoundFiles:
    left_out: list[str] = []

    def skip(folder: Path) -> bool:
        if _is_ours(folder, ours):
            left_out.append(folders.printable(str(folder.relative_to(path))))
            return True
        return False

    files = folders.contents(path, skip)
    if not path.is_dir():
        with path.open("rb") as opened:
            whole = hashlib.file_digest(opened, "sha256").hexdigest()
        return FoundFiles(files, 0, [whole], f"{whole} {{}}".format, left_out)
    every = list(files)
    pictures = [file for file in every if isinstance(file, PictureFile)]
    hashes = list(_map(folders.digest, (file.content for file in pictures), len(pictures), progress))
    digest = dict(zip((file.name for file in pictures), hashes, strict=True)).__getitem__
    return FoundFiles(every, len(pictures), [[file.name for file in every], hashes], digest, left_out)


def _is_ours(folder: Path, ours: Sequence[Path]) -> bool:
    """Whether a folder is one of ours, or looks as an earlier run or its cache does: no picture in it is the user's."""
    is_run = (folder / "run.json").is_file() and ((folder / "previews").is_dir() or (folder / "checkpoints").is_dir())
    return is_run or (folder / PIXELS).is_file() or folder.resolve() in ours


def open_cache(
    cache: Path, key: str, form: PictureForm, digest: Callable[[str], str], left_out: Sequence[str] = ()
) -> PictureCache:
    about = json.loads((cache / key / "about.json").read_text("utf-8"))
    names = about["names"]
    shape = (len(names), form.side, form.side, form.channels)
    pixels = np.memmap(cache / key / PIXELS, np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)
    facts = {**about["facts"], "folders": dict(Counter(first_folders(names)).most_common()), "left_out": left_out}
    return PictureCache(key, pixels, names, about["hashes"], [digest(name) for name in names], facts)


def first_folders(names: Sequence[str]) -> list[str]:
    """The folder of each picture at the first level at which there are several, with a slash behind; "" for none."""
    above = [tuple(name.split("/")[:-1]) for name in names]
    depth, deepest = 0, max(map(len, above), default=0)
    while depth < deepest and len({folders[:depth] for folders in above}) == 1:
        depth += 1
    return ["/".join([*folders[:depth], ""]) for folders in above]


def _build(folder: Path, key: str, decoded: Iterator[tuple[str, DecodedPicture | str]], form: PictureForm) -> None:
    """Writes the cache beside and renames it when it is whole."""
    partial_folder = folder / f"{key}.{os.getpid()}{PARTIAL}"
    try:
        partial_folder.mkdir(parents=True)
        with (partial_folder / PIXELS).open("wb") as file:
            names, hashes, facts = _collect(decoded, file.write, form)
        write_json(partial_folder / "about.json", {"names": names, "hashes": hashes, "facts": facts})
        flush(partial_folder / PIXELS)
        if not (folder / key).exists():
            partial_folder.rename(folder / key)
    except OSError as error:
        raise TrainError(
            f"the decoded pictures cannot be kept in {folder} ({error.strerror or error}): free space or name another --cache"
        ) from error
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _collect(
    decoded: Iterator[tuple[str, DecodedPicture | str]], write: Callable[[bytes], int], form: PictureForm
) -> tuple[list[str], list[str], dict[str, Any]]:
    """(names, hashes, facts) of the pictures that were written; of equal ones only the first is."""
    seen: dict[str, str] = {}
    bad, duplicates = [], []
    formats, modes, sizes, animated, enlarged = Counter[str](), Counter[str](), [], 0, 0
    for name, picture in decoded:
        if isinstance(picture, str):
            bad.append([name, picture])
            continue
        data = picture.pixels.tobytes()
        fingerprint = hashlib.sha256(data).hexdigest()[:32]
        if fingerprint in seen:
            duplicates.append([name, seen[fingerprint]])
            continue
        write(data)
        seen[fingerprint] = name
        formats[picture.format] += 1
        modes[picture.mode] += 1
        sizes.append((picture.width, picture.height))
        animated += picture.frames > 1
        enlarged += min(picture.width, picture.height) < form.side
    facts = {
        "usable": len(seen), "formats": dict(formats.most_common()), "modes": dict(modes.most_common()),
        "sizes": _size_facts(sizes), "animated": animated, "enlarged": enlarged, "duplicates": duplicates, "rejected": sorted(bad),
    }  # fmt: skip
    return list(seen.values()), list(seen), facts


def _size_facts(sizes: list[tuple[int, int]]) -> dict[str, list[int]]:
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    middle = by_area[len(by_area) // 2 : len(by_area) // 2 + 1]
    return {
        name: list(size)
        for name, size in zip(("smallest", "median", "largest"), [*by_area[:1], *middle, *by_area[-1:]], strict=False)
    }


def _decode(file: Found, form: PictureForm) -> tuple[str, DecodedPicture | str]:
    """A file's name with its picture, or with the reason why it has none."""
    try:
        return file.name, file.reason if isinstance(file, RejectedFile) else folders.load(file.content, *form)
    except ValueError as error:
        return file.name, str(error)


def _map(function: Callable[[Any], Any], items: Iterable[Any], total: int, progress: Progress) -> Iterator[Any]:
    """Results in order, a few of them made ahead. When the caller or `progress` gives up, what has not begun is dropped."""
    coming = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque(pool.submit(function, item) for item in islice(coming, AHEAD))
        done = 0
        try:
            while waiting:
                yield waiting.popleft().result()
                done += 1
                progress(done, total)
                waiting.extend(pool.submit(function, item) for item in islice(coming, 1))
        finally:
            for future in waiting:
                future.cancel()
