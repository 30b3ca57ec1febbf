"""Files that are written whole: beside, flushed to the disk, and renamed in one step."""

import contextlib
import errno
import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from ddim_app.lazy import Tensor, safetensors_torch

PARTIAL = ".partial"
"""Suffix of a file that is being written; what is left of one after a crash is worthless."""


def write_file(path: Path, data: bytes) -> None:
    """Writes the file or leaves what was there; raises OSError with its name, which a failing write itself does not give."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.write_bytes(data)
        put_in_place(partial, path)
    except OSError as error:
        raise _failed(partial, path, error) from error


def write_json(path: Path, value: Any) -> None:
    write_file(path, (json.dumps(value, indent=2) + "\n").encode())


def write_array(path: Path, array: np.ndarray) -> None:
    """Writes an array with its checksum, into a folder that is made where there is none; raises OSError."""
    data = io.BytesIO()
    np.savez_compressed(data, array)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data.getvalue())


def read_array(path: Path) -> np.ndarray | None:
    """The array of a file; None where there is none, or a damaged one."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            array: np.ndarray = arrays["arr_0"]
            return array
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return None


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file with one on each line; none where there is no file, and without a last line that was cut short."""
    lines = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file as `write_file` does, for whoever may read this program's other files."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.touch()
        mode = partial.stat().st_mode  # as the umask has it; safetensors makes a file of its own that is the owner's alone
        safetensors_torch.save_file(tensors, partial, {"format": "pt", **(metadata or {})})
        partial.chmod(mode)
        put_in_place(partial, path)
    except (OSError, SafetensorError) as error:
        raise _failed(partial, path, error) from error


def _failed(partial: Path, path: Path, error: Exception) -> OSError:
    with contextlib.suppress(OSError):  # of a folder that cannot be written to, or is none
        partial.unlink(missing_ok=True)
    code, reason = getattr(error, "errno", None), getattr(error, "strerror", None)
    inner = str(error).rpartition("I/O error: ")[2].split(" (os error")[0]  # of a SafetensorError
    return OSError(code or errno.EIO, reason or inner[:160], str(path))


def put_in_place(partial: Path, path: Path) -> None:
    """Makes `partial` durable under the name `path`, replacing what is there in one step."""
    flush(partial)
    os.replace(partial, path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Flushes a file or a folder's list of names to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open folders, and keeps their lists itself
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Removes what interrupted writes have left in `folder`."""
    for partial in folder.glob("*" + PARTIAL):
        partial.unlink(missing_ok=True)
