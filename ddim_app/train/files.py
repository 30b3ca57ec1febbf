"""Files that are whole or not there: written beside, flushed to the disk, renamed."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

PARTIAL = ".partial"
"""Suffix of a file that is being written; what is left of one after a crash is worthless."""


def write(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.write_bytes(data)
        commit(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    partial = path.with_name(path.name + PARTIAL)
    try:
        save_file(tensors, partial, {"format": "pt", **(metadata or {})})
        commit(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path.name} could not be written ({str(error)[:160]})") from error


def commit(partial: Path, path: Path) -> None:
    """Makes `partial` durable under the name `path`, replacing what is there in one step."""
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Flushes a file or a folder's list of names to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders, and keeps their lists itself
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clean(folder: Path) -> None:
    """Removes what interrupted writes have left in `folder`."""
    for partial in folder.glob("*" + PARTIAL):
        partial.unlink(missing_ok=True)
