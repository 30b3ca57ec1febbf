"""Where the files of a model lie in its folder or repository: weights of every name and format, and configs."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET_CONFIGS = ["unet/config.json", "config.json"]
SCHEDULER_CONFIGS = ["scheduler/scheduler_config.json", "scheduler_config.json"]
CARD = "README.md"
LABELS = ["id2label.json", "labels.json", "classes.json"]
SMALL = [*UNET_CONFIGS, *SCHEDULER_CONFIGS, "model_index.json", *LABELS, CARD]
"""The files that say what a model is."""
MAX_CONFIG = 1_000_000
"""Bytes of a config or a card that are read."""

STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")
VARIANTS = (None, "fp32", "ema", "fp16", "bf16", "non_ema")
"""What stands in the name of weights, best first: full precision, then rounded, then without the average over training."""
FORMATS = ("safetensors", "bin")
WEIGHT_FILE = re.compile(
    rf"({'|'.join(STEMS)})(?:\.({'|'.join(filter(None, VARIANTS))}))?(?:-(\d{{5}})-of-(\d{{5}}))?\.({'|'.join(FORMATS)})"
)
OTHER_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".bin")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


class WeightFiles(NamedTuple):
    """The files of one set of weights: one, or its numbered parts."""

    names: tuple[str, ...]
    is_pickled: bool


def weight_files(names: Iterable[str]) -> WeightFiles:
    """The best weights among the names of the files beside a config.json; raises ValueError with the reason when there are none."""
    sets: dict[tuple[int, int, int, int], list[str]] = {}
    names = sorted(names)
    for name in names:
        if match := WEIGHT_FILE.fullmatch(name):
            stem, variant, _, parts, form = match.groups()
            rank = (VARIANTS.index(variant), FORMATS.index(form), STEMS.index(stem), int(parts or 1))
            sets.setdefault(rank, []).append(name)
    whole = [rank for rank, files in sets.items() if len(files) == rank[3]]
    if whole:
        best = min(whole)
        return WeightFiles(tuple(sets[best]), FORMATS[best[1]] == "bin")
    if sets:
        rank, files = min(sets.items())
        raise ValueError(f"its weights are in {rank[3]} parts, of which {len(files)} are there: fetch the others")
    pickled = next((name for name in names if name.endswith(OTHER_PICKLES)), None)
    if pickled:
        raise ValueError(
            f"{pickled} is a pickle of an unknown kind, which can run code when it is opened; save its network where you trust it, "
            f"with save_pretrained(FOLDER, safe_serialization=True), to get {WEIGHTS}"
        )
    raise ValueError(f"there is no {WEIGHTS} beside config.json, nor weights of another name")


def unet_folder(folder: Path) -> Path | None:
    """The folder with config.json and the weights: `folder/unet` in the pipeline layout, else `folder`."""
    return next(((folder / name).parent for name in UNET_CONFIGS if (folder / name).is_file()), None)


def no_config(names: Iterable[str]) -> str:
    """The reason when no config.json is among the names of a folder's or repository's files."""
    there = sorted(name for name in names if name.endswith(".json"))
    others = f"; there is {', '.join(there)[:160]}" if there else ""
    return f"there is no config.json, neither in the folder nor in its unet/ subfolder{others}"


def file_names(folder: Path) -> list[str]:
    """Names of the files of a folder and of its subfolders, as in a repository."""
    return [path.relative_to(folder).as_posix() for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file()]


def scheduler_file(folder: Path) -> Path:
    """The scheduler config of a model; a `unet` or `unet_ema` that is named itself has it beside it, or above its checkpoint.

    Raises ValueError with the reason when there is none.
    """
    homes = [folder]
    is_component = folder.name.startswith("unet") and (folder / "config.json").is_file()
    above = [home for home in list(folder.absolute().parents)[:2] if any((home / name).is_file() for name in SCHEDULER_CONFIGS)]
    if is_component:
        homes += above
    file = next((home / name for home in homes for name in SCHEDULER_CONFIGS if (home / name).is_file()), None)
    if file is None:
        parts = " or ".join(str(path) for path in sorted(folder.glob("unet*")) if (path / "config.json").is_file())
        hint = (
            f": it is a checkpoint of the model in the folder above, {above[0]}; name that, or {parts}" if above and parts else ""
        )
        raise ValueError(f"there is no scheduler_config.json, so its noise schedule is unknown{hint if above and parts else ''}")
    return file


def pointer(path: Path) -> str | None:
    """The reason when a file is only a pointer to what Git LFS holds."""
    with path.open("rb") as file:
        is_pointer = file.read(len(LFS_POINTER)) == LFS_POINTER
    return f"{path.name} is a Git LFS pointer and not the file itself: run git lfs pull where it was cloned" if is_pointer else None


def licence(folder: Path) -> str | None:
    """The licence that a model's card names in its first lines."""
    from huggingface_hub.repocard import metadata_load

    card = folder / CARD
    try:
        values = metadata_load(card) if card.stat().st_size <= MAX_CONFIG else None
    except Exception:  # a card is anybody's text, and whatever its reader makes of it, the model opens
        return None
    named = (values or {}).get("license")
    return named[:60] if isinstance(named, str) and named.isprintable() else None


def lay_out(config: Mapping[str, Any], weights: Sequence[Path], folder: Path) -> None:
    """Puts a config and safetensors files into an empty folder, under the names that diffusers looks for; no bytes are copied."""
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    if len(weights) == 1:
        return _link(weights[0], folder / WEIGHTS)
    from safetensors import safe_open

    homes = {}
    for i, path in enumerate(weights):
        name = f"{WEIGHTS.removesuffix('.safetensors')}-{i + 1:05}-of-{len(weights):05}.safetensors"
        _link(path, folder / name)
        with safe_open(path, framework="pt") as file:
            homes.update(dict.fromkeys(file.keys(), name))
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}), "utf-8")


def _link(path: Path, place: Path) -> None:
    try:
        place.symlink_to(path.absolute())
    except OSError:  # Windows wants a privilege for it
        shutil.copy(path, place)


def keep_within(folder: Path, most: int, used: Path) -> None:
    """Deletes the files of a folder that were used longest ago until it has at most that many bytes; not the one used now."""
    used.touch()
    files = []
    for path in folder.iterdir():
        with suppress(OSError):  # another process may be quicker
            if path != used:
                files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = used.stat().st_size + sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= most:
            return
        with suppress(OSError):
            path.unlink()
        total -= size


def cache_folder(part: str) -> Path:
    """A part of DDIM_CACHE, or of `ddim-explorer` under the user's cache folder: what can be made again."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("DDIM_CACHE") or Path(home) / "ddim-explorer") / part
