"""Sets of many pictures of one sampler in a folder: picture i has the seed of the set + i, whoever draws it and when.

A set is drawn in shards, which are written whole: folders of PNG files that carry their recipes, or NPZ files with the array
`arr_0`. Every shard says which settings it was drawn with, so that what is there can be gone on with and nothing is mixed.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ddim_app.diffusion.noise import picture_seed
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, choice, whole
from ddim_app.media.files import PARTIAL, flush, put_in_place, remove_partial, write_json
from ddim_app.media.images import Pixels, to_pil, to_pixels
from ddim_app.runs import codecs, key_values
from ddim_app.runs.sampling import MAX_PICTURES, Recipe

FORMATS = ("png", "npz")
SHARD = 128
"""Pictures of a shard, rounded up to whole network calls: what a process that is killed loses at most."""
CPU_BUCKET, GPU_BUCKET = 16, 64
"""Rows of a network call where nothing else is asked for."""
ABOUT = "shard.json"


@dataclass(frozen=True)
class PictureSet:
    """`count` pictures of a recipe's only arm in a folder; the recipe pins bucket, backend and weights."""

    folder: Path
    recipe: Recipe
    count: int
    format: str = "png"
    made_with: str = ""
    """Device and number format, since their bits differ."""

    def __post_init__(self) -> None:
        whole("count", self.count, 1, 2**32)
        choice("format", self.format, FORMATS)

    @property
    def settings(self) -> dict[str, Any]:
        """What all pictures of the set have in common, as far as it is not the default; a set with more pictures is the same."""
        named = dict(key_values.to_pairs(self.recipe))
        named.pop("model", None)  # which the hash of its weights tells better
        return {**named, "format": self.format, "made_with": self.made_with}

    @property
    def bucket(self) -> int:
        assert self.recipe.bucket is not None
        return self.recipe.bucket

    @property
    def shard_size(self) -> int:
        return -(-SHARD // self.bucket) * self.bucket

    def firsts(self) -> list[int]:
        """The number of each shard's first picture, which names the shard."""
        return list(range(0, self.count, self.shard_size))

    def size(self, first: int) -> int:
        return min(self.shard_size, self.count - first)

    def path(self, first: int) -> Path:
        return self.folder / (f"{first:07}" + (".npz" if self.format == "npz" else ""))

    def is_drawn(self, first: int) -> bool:
        return self._drawn(first) >= self.size(first)

    def is_whole(self) -> bool:
        return all(self.is_drawn(first) for first in self.firsts())

    def _drawn(self, first: int) -> int:
        """How many pictures the shard holds; 0 where there is none."""
        path = self.path(first)
        if not path.exists():
            return 0
        about = _about(path)
        if about["settings"] != self.settings:
            other = _difference(about["settings"], self.settings)
            raise FieldError("output", f"{path} has pictures of other settings ({other}): name another folder, or take them away")
        return int(about["pictures"])

    def prepare(self) -> list[int]:
        """Makes the folder ready, and returns the shards that have yet to be drawn.

        What an interrupted command left half written is removed. Raises FieldError for a shard that is no part of this set.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob("*" + PARTIAL):
            if left.is_dir():
                shutil.rmtree(left)
        remove_partial(self.folder)
        missing = [first for first in self.firsts() if not self.is_drawn(first)]
        write_json(self.folder / "set.json", {"model": self.recipe.model, "count": self.count, **self.settings})
        return missing

    def check_alone(self) -> None:
        """Raises FieldError where the folder holds shards that this set would not write, such as more pictures."""
        own = {self.path(first).name for first in self.firsts()} | {"set.json", "pictures.npz"}
        for path in sorted(self.folder.iterdir() if self.folder.is_dir() else ()):
            stem = path.name.removesuffix(".npz")
            if path.name not in own and len(stem) == 7 and stem.isdigit():
                raise FieldError("output", f"{self.folder} has pictures beyond the first {self.count}, or of other settings "
                    f"({path.name}): ask for as many, or name another folder")  # fmt: skip

    def save(self, first: int, pixels: Pixels) -> None:
        """Writes a shard of uint8 (N, H, W, C) whole, in place of what was there."""
        about = {"pictures": len(pixels), "settings": self.settings}
        if self.format == "npz":
            return _save_npz(self.path(first), pixels, about)
        partial = self.path(first).with_name(self.path(first).name + PARTIAL)
        partial.mkdir(exist_ok=True)
        for i, picture in enumerate(pixels, first):
            one = replace(self.recipe, seed=picture_seed(self.recipe.seed, i))
            (partial / f"{i:07}.png").write_bytes(codecs.png(to_pil(picture), one))
        write_json(partial / ABOUT, about)
        if self.path(first).exists():
            shutil.rmtree(self.path(first))
        os.replace(partial, self.path(first))
        flush(self.folder)

    def shard(self, first: int) -> Pixels:
        """uint8 (N, H, W, C) of a shard that was drawn, as many as this set has of it."""
        path = self.path(first)
        if self.format == "npz":
            with np.load(path, allow_pickle=False) as archive:
                pixels: Pixels = archive["arr_0"]
        else:
            from PIL import Image

            pictures = [np.asarray(Image.open(file)) for file in sorted(path.glob("*.png"))]
            pixels = np.stack(pictures)
            pixels = pixels[..., None] if pixels.ndim == 3 else pixels
        return pixels[: self.size(first)]

    def pixels(self) -> Pixels:
        """uint8 (count, H, W, C): all pictures in the order of their seeds."""
        return np.concatenate([self.shard(first) for first in self.firsts()])

    def join(self) -> Path:
        """Writes the shards of an NPZ set as one file `pictures.npz` with the array arr_0, without having them all in memory."""
        path = self.folder / "pictures.npz"
        partial = path.with_name(path.name + PARTIAL)
        shape = (self.count, *self.shard(0).shape[1:])
        with zipfile.ZipFile(partial, "w") as archive, archive.open("arr_0.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            for first in self.firsts():
                file.write(np.ascontiguousarray(self.shard(first)).tobytes())
        put_in_place(partial, path)
        return path


def _save_npz(path: Path, pixels: Pixels, about: dict[str, Any]) -> None:
    partial = path.with_name(path.name + PARTIAL)
    with partial.open("wb") as file:
        np.savez_compressed(file, arr_0=pixels, about=np.array(json.dumps(about)))
    put_in_place(partial, path)


def _about(path: Path) -> dict[str, Any]:
    """What a shard says of itself; raises FieldError when it does not."""
    try:
        if path.is_dir():
            text = (path / ABOUT).read_text("utf-8")
        else:
            with np.load(path, allow_pickle=False) as archive:
                text = str(archive["about"])
        about = json.loads(text)
        return {"pictures": int(about["pictures"]), "settings": dict(about["settings"])}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FieldError("output", f"{path} is no shard of pictures that can be read: take it away, and the same command draws "
            "it again")  from error  # fmt: skip


def _difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The first setting that two sets have otherwise, for a sentence."""
    name = next(name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name))
    return f"{name}: {theirs.get(name, 'the default')} there, {ours.get(name, 'the default')} here"


def batches(recipe: Recipe, first: int, count: int) -> Iterator[tuple[Recipe, int]]:
    """(recipe, pictures of it that are wanted) for each network call's worth of the pictures first .. first + count - 1.

    A recipe has up to MAX_PICTURES pictures, so that larger calls are those of several arms with seeds one after the other.
    """
    bucket = recipe.bucket or MAX_PICTURES
    each = max(size for size in range(1, MAX_PICTURES + 1) if bucket % size == 0)
    for start in range(first, first + count, bucket):
        wanted = min(bucket, first + count - start)
        seeds = [picture_seed(recipe.seed, i) for i in range(start, start + wanted, each)]
        yield replace(recipe, arms=tuple(replace(recipe.arms[0], seed=seed) for seed in seeds), pictures=each), wanted


def pinned(engine: Engine, recipe: Recipe) -> tuple[Recipe, str]:
    """The recipe with bucket, backend and weights as this machine draws it, and what else decides the bits; raises FieldError."""
    recipe = replace(recipe, bucket=recipe.bucket or (CPU_BUCKET if engine.device.type == "cpu" else GPU_BUCKET))
    planned = engine.plan(recipe)
    converted = recipe.backend == "openvino" and engine.prepare(recipe.model, recipe.precision)
    made = replace(recipe, backend="openvino" if converted else "torch", weights=planned.model.sha256)
    return made, f"{engine.device.type} {engine.number_format(recipe.precision)}"


def draw(engine: Engine, recipe: Recipe, first: int, count: int) -> Iterator[int | Pixels]:
    """Evaluations as they are made, and uint8 (N, H, W, C) of each batch of the pictures first .. first + count - 1."""
    for batch, wanted in batches(recipe, first, count):
        handle = engine.run(batch)
        for frame in handle:
            yield min(wanted - frame.arm * batch.pictures, batch.pictures)
        finals = np.concatenate([to_pixels(pictures) for pictures in handle.result])
        yield finals[:wanted]
