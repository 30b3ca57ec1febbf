"""The training set of a run and its held-out pictures, and what was found of them in words."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ddim_app.train.config import TrainError
from ddim_app.train.picture_cache import KEY_LENGTH, PictureCache, PictureForm, Progress, load, open_cache

FEWEST = 8
"""Pictures below which a model could only learn them by heart, and nothing could be held out."""
MOST_ALIKE = 20
"""Files or folders that the report names one by one."""
VALIDATION = ("val", "valid", "validation", "test", "eval", "holdout", "held_out")
"""Names of folders whose pictures are usually kept away from training."""


@dataclass(frozen=True)
class TrainingData:
    """A training set and its held-out pictures."""

    key: str
    """Names both sets in the cache."""
    content: str
    """A hash of the files of both; a resumed run must have the same, wherever and among whatever they lie."""
    pixels: np.ndarray
    train: np.ndarray
    """Which of `pixels` are trained on."""
    held_out: np.ndarray
    """uint8 (M, side, side, channels)."""
    names: list[str]
    held: np.ndarray
    """Places of the held-out pictures in `held_names`."""
    held_names: list[str]
    facts: dict[str, Any]
    classes: tuple[str, ...] = ()
    """Names of the classes that are learned."""
    labels: Tensor | None = None
    """int64 (N,): the class of each of `pixels`."""
    held_labels: Tensor | None = None


def prepare(
    data: str,
    holdout: str | None,
    form: PictureForm,
    cache: Path,
    progress: Progress = lambda i, n: None,
    ours: Sequence[Path] = (),
) -> TrainingData:
    """The data of a run; raises TrainError when there is too little of it. The folders `ours` are not searched."""
    main = load(data, "--data", form, cache, progress, ours)
    if holdout is not None and not holdout.lstrip("-").isdigit():
        return _with_held_out(main, load(holdout, "--holdout", form, cache, progress, ours))
    total = len(main.pixels)
    if total < FEWEST:
        raise TrainError(_too_few(data, total, main.facts))
    count = usual_held_out(total) if holdout is None else int(holdout)
    if not 0 <= count <= total - FEWEST:
        raise TrainError(
            f"--holdout must leave at least {FEWEST} of the {total} usable pictures to train on, so be in 0..{total - FEWEST}; "
            f"got {count}"
        )
    return _split(main, count)


def usual_held_out(total: int) -> int:
    """How many of so many pictures are held out unless it is said: 5 %, at most 256; of few a sixth, up to 8, since two or three
    pictures could not tell learning from chance."""
    return min(max(total // 20, min(8, total // 6)), 256, total - FEWEST)


def held_out_count(key: str) -> str | None:
    """How many pictures of the data with this key are held out; None where they are a source of their own."""
    count = key.partition("-")[2]
    return count if len(count) < KEY_LENGTH else None


def kept(key: str, form: PictureForm, cache: Path) -> TrainingData:
    """The data of a run by the key that it was begun with, as they lie in the cache, whatever has become of the pictures."""
    first, _, second = key.partition("-")
    try:
        main = open_cache(cache, first, form, str)
        return _split(main, int(second)) if len(second) < KEY_LENGTH else _with_held_out(main, open_cache(cache, second, form, str))
    except OSError as error:
        raise TrainError(
            f"--keep-data: the decoded pictures of this run are no longer in {cache}: put the pictures of --data back, or name "
            "another --output"
        ) from error


def _split(main: PictureCache, count: int) -> TrainingData:
    """`count` pictures held out by the hash of their pixels, so the same ones stay held out when others come or go."""
    order = np.array(sorted(range(len(main.pixels)), key=main.hashes.__getitem__), dtype=np.int64)
    held, train = np.sort(order[:count]), np.sort(order[count:])
    validation = sorted({"/".join(found) for name in main.names if (found := _validation(name))})
    facts = {**main.facts, "train": len(train), "held_out": count, "validation": validation}
    return _training_data(f"{main.key}-{count}", main, train, main, held, facts)


def _validation(name: str) -> list[str]:
    """The folders of a picture down to one whose name says that it is not to be trained on; none where there is none."""
    above = name.split("/")[:-1]
    return next((above[: i + 1] for i, folder in enumerate(above) if folder.lower() in VALIDATION), [])


def _with_held_out(main: PictureCache, other: PictureCache) -> TrainingData:
    outside = set(other.hashes)
    train = np.array([i for i, name in enumerate(main.hashes) if name not in outside], dtype=np.int64)
    shared = len(main.hashes) - len(train)
    if len(train) < FEWEST:
        raise TrainError(f"--data must hold at least {FEWEST} pictures that are not in --holdout; got {len(train)}")
    facts = {**main.facts, "train": len(train), "held_out": len(other.hashes), "in_both": shared}
    return _training_data(f"{main.key}-{other.key}", main, train, other, np.arange(len(other.names)), facts)


def _training_data(
    key: str, main: PictureCache, train: np.ndarray, other: PictureCache, held: np.ndarray, facts: dict[str, Any]
) -> TrainingData:
    held_digests = [other.digests[i] for i in held]
    content = hashlib.sha256(json.dumps([[main.digests[i] for i in train], held_digests]).encode()).hexdigest()[:KEY_LENGTH]
    return TrainingData(key, content, main.pixels, train, other.pixels[held], main.names, held, other.names, facts)


def _too_few(data: str, count: int, facts: dict[str, Any]) -> str:
    rejected, equal = facts["rejected"], len(facts["duplicates"])
    why = [f"{equal} files are equal to another one"] if equal else []
    if rejected:
        why.append(f"{len(rejected)} files were rejected, the first, {rejected[0][0]}, because {rejected[0][1]}")
    reasons = f" ({'; '.join(why)})" if why else ""
    return f"--data must hold at least {FEWEST} different pictures; got {count} in {data}{reasons}"


def cache_words(data: TrainingData, form: PictureForm, cache: Path) -> str:
    """Where the decoded pictures of a run are and how big, in a sentence."""
    size = sum(file.stat().st_size for key in data.key.split("-") for file in (cache / key).glob("*"))
    words = f"{size / 1e6:.1f} MB" if size > 1e6 else f"{size / 1e3:.0f} kB"
    return (
        f"Pictures, cut to {form.side}x{form.side}, are kept in {cache} ({words}), so that no run decodes them again; it may be "
        "deleted after the run."
    )


def middle(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of cached pictures (N, side, side, channels) that are larger than the model's, for random crops."""
    top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
    return pixels[:, top : top + height, left : left + width]


def report(data: TrainingData) -> str:
    """What was found, in lines for a person, every rejected file with its reason."""
    facts = data.facts
    lines = [f"{facts['train']} pictures to train on, {facts['held_out']} held out"]
    if data.classes:
        named = [*data.classes[:MOST_ALIKE], *["..."] * (len(data.classes) > MOST_ALIKE)]
        lines.append(f"{len(data.classes)} classes: {', '.join(named)}")
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
    lines += _report_folders(facts)
    lines.append(f"{len(facts['rejected'])} files rejected" + (":" if facts["rejected"] else ""))
    alike: dict[tuple[str, str], list[str]] = {}
    for name, reason in facts["rejected"]:
        alike.setdefault((os.path.splitext(name)[1], reason), []).append(name)
    for (suffix, reason), names in alike.items():
        shown = names if len(names) <= MOST_ALIKE else [f"{len(names)} {suffix} files, such as {names[0]}"]
        lines += [f"  {name}: {reason}" for name in shown]
    return "\n".join(lines)


def _report_folders(facts: dict[str, Any]) -> list[str]:
    """Where the pictures lie, when it is in several folders, and which folders are not what training is meant to see."""
    counts = [f"{count} in {name or 'the folder itself'}" for name, count in facts["folders"].items()]
    lines = []
    if len(counts) > 1:
        more = [f"and {len(counts) - MOST_ALIKE} folders more"] if len(counts) > MOST_ALIKE else []
        lines.append("folders: " + ", ".join(counts[:MOST_ALIKE] + more))
    if named := facts.get("validation"):
        lines.append(
            f"{', '.join(f'{name}/' for name in named)} is among them and is trained on: if it is there to be held out, name it as "
            "--holdout, or a folder one level down as --data"
        )
    if facts["left_out"]:
        lines.append(f"not searched, since they are a run's or its cache: {', '.join(f'{name}/' for name in facts['left_out'])}")
    return lines
