"""Files that answers name: gradio serves them from its cache, and `trim` clears them away."""

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder

from ddim_app.media.images import png_bytes, to_pil

FRESH_SECONDS = 300
"""None younger than this is cleared away: somebody may just be about to fetch it."""
_naming = threading.RLock()
"""Held while a file is named or cleared away, so that none goes between the two, nor the folder that it is being written to."""


def keep(data: bytes, name: str) -> str:
    """Path of a file of that name with these bytes.

    Equal files are one, and visitors who make the same run ask for it at the same time. So it appears whole, and is never
    emptied under a reader to be written again, as by gradio's own writers, whose readers then get nothing.
    """
    path = (Path(get_upload_folder()) / hashlib.sha256(data).hexdigest() / name).resolve()
    with _naming:
        try:
            os.utime(path)  # the oldest files are the first to go
            return str(path)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(prefix=".", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)
        return str(path)


def keep_picture(pixels: np.ndarray, texts: Sequence[tuple[str, str]] = ()) -> str:
    """Path of a PNG of the pixels (H, W, C), uint8, with `texts` as its text entries."""
    return keep(png_bytes(to_pil(pixels), texts), "image.png")


def trim(folder: Path, most: int, kept: frozenset[str] = frozenset()) -> int:
    """Deletes the oldest files until the folder has at most that many bytes; how many went.

    None of the last minutes goes, and none of those `kept`, which do not count. What was made in the future, by a clock that has
    jumped back since, is the oldest.
    """
    files = []
    for place, _, names in os.walk(folder):  # which goes past folders that somebody else deletes meanwhile
        for path in (Path(place, name) for name in names):
            with contextlib.suppress(OSError):
                if str(path) not in kept:
                    files.append((path.stat().st_mtime, path.stat().st_size, path))
    now = time.time()  # after the look at all files, else those that are made meanwhile would seem to be of the future
    files.sort(key=lambda file: (file[0] <= now, file[0]))
    total, gone = sum(size for _, size, _ in files), 0
    for made, size, path in files:
        if total <= most or now - FRESH_SECONDS < made <= now:
            break
        with _naming, contextlib.suppress(OSError):
            if path.stat().st_mtime != made:  # named by another answer since
                continue
            path.unlink()
            path.parent.rmdir()  # gradio makes a folder for each file
        total, gone = total - size, gone + 1
    return gone
