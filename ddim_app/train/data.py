"""The training set: pictures decoded once into a memory-mapped cache, named by their content and the settings."""

import hashlib
import json
import os
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ddim_app.media import folders
from ddim_app.media.folders import DecodedPicture, PictureFile, RejectedFile
from ddim_app.train.config import TrainError
from ddim_app.train.run_folder import PARTIAL, flush, write_json

VERSION = 1
"""Part of every cache's name, so that a change of how pictures are prepared makes new ones."""
FEWEST = 8
"""Pictures below which a model could only learn them by heart, and nothing could be held out."""

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
    facts: dict[str, Any]
    """The report: files, formats, modes, sizes, rejected, duplicates."""


@dataclass(frozen=True)
class TrainingData:
    """A training set and its held-out pictures."""

    key: str
    """Names both sets; a resumed run must have the same."""
    pixels: np.ndarray
    train: np.ndarray
    """Which of `pixels` are trained on."""
    held_out: np.ndarray
    """uint8 (M, side, side, channels)."""
    names: list[str]
    facts: dict[str, Any]


def prepare(data: str, holdout: str | None, form: PictureForm, cache: Path, progress: Progress = lambda i, n: None) -> TrainingData:
    """The data of a run; raises TrainError when there is too little of it."""
    main = load(data, "--data", form, cache, progress)
    if holdout is not None and not holdout.lstrip("-").isdigit():
        return _with_held_out(main, load(holdout, "--holdout", form, cache, progress))
    total = len(main.pixels)
    if total < FEWEST:
        raise TrainError(_too_few(data, total, main.facts))
    count = min(total // 20, 256) if holdout is None else int(holdout)
    if not 0 <= count <= total - FEWEST:
        raise TrainError(
            f"--holdout must leave at least {FEWEST} of the {total} usable pictures to train on, so be in 0..{total - FEWEST}; "
            f"got {count}"
        )
    # By the hash of their pixels, so the same pictures stay held out when others come or go.
    order = np.array(sorted(range(total), key=main.hashes.__getitem__), dtype=np.int64)
    held, train = np.sort(order[:count]), np.sort(order[count:])
    facts = {**main.facts, "train": len(train), "held_out": count}
    return TrainingData(f"{main.key}-{count}", main.pixels, train, main.pixels[held], main.names, facts)


def _with_held_out(main: PictureCache, other: PictureCache) -> TrainingData:
    outside = set(other.hashes)
    train = np.array([i for i, name in enumerate(main.hashes) if name not in outside], dtype=np.int64)
    shared = len(main.hashes) - len(train)
    if len(train) < FEWEST:
        raise TrainError(f"--data must hold at least {FEWEST} pictures that are not in --holdout; got {len(train)}")
    facts = {**main.facts, "train": len(train), "held_out": len(other.hashes), "in_both": shared}
    return TrainingData(f"{main.key}-{other.key}", main.pixels, train, np.asarray(other.pixels), main.names, facts)


def _too_few(data: str, count: int, facts: dict[str, Any]) -> str:
    rejected = len(facts["rejected"])
    why = (
        f" ({rejected} files were rejected, the first, {facts['rejected'][0][0]}, because {facts['rejected'][0][1]})"
        if rejected
        else ""
    )
    return f"--data must hold at least {FEWEST} different pictures; got {count} in {data}{why}"


def load(source: str, flag: str, form: PictureForm, folder: Path, progress: Progress) -> PictureCache:
    """The pictures of a folder or .npz file, from the cache or decoded into it; raises TrainError."""
    path = Path(source)
    if path.is_dir():
        files = list(folders.scan(path))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = _map(pool, folders.digest, [s.path for s in files if isinstance(s, PictureFile)], progress)
            contents: list[Any] = [[s.name for s in files], list(digests)]
    elif path.suffix == ".npz" and path.is_file():
        files = []
        with path.open("rb") as file:
            contents = [hashlib.file_digest(file, "sha256").hexdigest()]
    else:
        raise TrainError(f"{flag} must be a folder of pictures or an .npz file; there is none at {source}")
    key = hashlib.sha256(json.dumps([VERSION, form, contents]).encode()).hexdigest()[:24]
    if not (folder / key / "about.json").is_file():
        decoded = _from_folder(files, form, progress) if path.is_dir() else _from_npz(path, flag, form, progress)
        _build(folder, key, decoded, form, [s for s in files if isinstance(s, RejectedFile)])
    return _open(folder / key, key, form)


def _open(folder: Path, key: str, form: PictureForm) -> PictureCache:
    about = json.loads((folder / "about.json").read_text("utf-8"))
    shape = (len(about["names"]), form.side, form.side, form.channels)
    pixels = np.memmap(folder / "pixels.bin", np.uint8, "r", shape=shape) if shape[0] else np.zeros(shape, np.uint8)
    return PictureCache(key, pixels, about["names"], about["hashes"], about["facts"])


def _build(
    folder: Path, key: str, decoded: Iterator[tuple[str, DecodedPicture | str]], form: PictureForm, rejected: list[RejectedFile]
) -> None:
    """Writes the cache beside and renames it when it is whole."""
    partial_folder = folder / f"{key}.{os.getpid()}{PARTIAL}"
    try:
        partial_folder.mkdir(parents=True)
        with (partial_folder / "pixels.bin").open("wb") as file:
            names, hashes, facts = _collect(decoded, file.write, form, rejected)
        write_json(partial_folder / "about.json", {"names": names, "hashes": hashes, "facts": facts})
        flush(partial_folder / "pixels.bin")
        if not (folder / key).exists():
            partial_folder.rename(folder / key)
    except OSError as error:
        raise TrainError(
            f"the decoded pictures cannot be kept in {folder} ({error.strerror or error}): free space or name another --cache"
        ) from error
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _collect(
    decoded: Iterator[tuple[str, DecodedPicture | str]],
    write: Callable[[bytes], int],
    form: PictureForm,
    rejected: list[RejectedFile],
) -> tuple[list[str], list[str], dict[str, Any]]:
    """(names, hashes, facts) of the pictures that were written; of equal ones only the first is."""
    seen: dict[str, str] = {}
    bad, duplicates = [list(r) for r in rejected], []
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


def _from_folder(
    files: Sequence[PictureFile | RejectedFile], form: PictureForm, progress: Progress
) -> Iterator[tuple[str, DecodedPicture | str]]:
    sources = [s for s in files if isinstance(s, PictureFile)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source, picture in zip(
            sources, _map(pool, partial(_decode, form=form), [s.path for s in sources], progress), strict=True
        ):
            yield source.name, picture


def _decode(path: Path, form: PictureForm) -> DecodedPicture | str:
    try:
        return folders.load(path, *form)
    except ValueError as error:
        return str(error)


def _map(pool: ThreadPoolExecutor, function: Callable[[Path], Any], paths: list[Path], progress: Progress) -> Iterator[Any]:
    """Results in order. When the caller or `progress` gives up, what has not begun is dropped."""
    futures = [pool.submit(function, path) for path in paths]
    try:
        for i, future in enumerate(futures):
            yield future.result()
            progress(i + 1, len(futures))
    finally:
        for future in futures:
            future.cancel()


def _from_npz(path: Path, flag: str, form: PictureForm, progress: Progress) -> Iterator[tuple[str, DecodedPicture | str]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            x = archive["x"]
    except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise TrainError(f"{flag} {path}: it is no .npz file with an array x that can be read ({str(error)[:100]})") from error
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] not in (1, 3) or 0 in x.shape:
        raise TrainError(f"{flag} {path}: x must be uint8 of shape (N, height, width, 1 or 3); got {x.dtype} {x.shape}")
    for i, array in enumerate(x):
        image = Image.fromarray(array[..., 0] if x.shape[-1] == 1 else array).convert("RGB")
        mode = "L" if x.shape[-1] == 1 else "RGB"
        yield (
            f"{path.name}[{i}]",
            DecodedPicture(folders.square(image, form.side, form.channels), x.shape[2], x.shape[1], mode, "NPZ", 1),
        )
        progress(i + 1, len(x))


def report(data: TrainingData) -> str:
    """What was found, in lines for a person, every rejected file with its reason."""
    facts = data.facts
    lines = [f"{facts['train']} pictures to train on, {facts['held_out']} held out"]
    if facts["sizes"]:
        lines.append("sizes: " + ", ".join(f"{name} {w}x{h}" for name, (w, h) in facts["sizes"].items()))
    for title in ("formats", "modes"):
        lines.append(f"{title}: " + ", ".join(f"{count} {name}" for name, count in facts[title].items()))
    notes = {
        "animated": "have several frames, of which the first is used",
        "enlarged": "are smaller than the resolution and were enlarged",
        "in_both": "are in --holdout too and are not trained on",
    }
    lines += [f"{facts[name]} {text}" for name, text in notes.items() if facts.get(name)]
    if facts["duplicates"]:
        lines.append(
            f"{len(facts['duplicates'])} are equal to another one and were left out, such as " + " = ".join(facts["duplicates"][0])
        )
    lines.append(f"{len(facts['rejected'])} files rejected" + (":" if facts["rejected"] else ""))
    return "\n".join(lines + [f"  {name}: {reason}" for name, reason in facts["rejected"]])
