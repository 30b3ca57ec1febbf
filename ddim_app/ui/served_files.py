"""Files that answers name: gradio serves them from its cache and clears them away."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gradio.utils import get_upload_folder

from ddim_app.media.images import png_bytes, to_pil


def keep(data: bytes, name: str) -> str:
    """Path of a file of that name with these bytes.

    Equal files are one, and visitors who make the same run ask for it at the same time. So it appears whole, and is never
    emptied under a reader to be written again, as by gradio's own writers, whose readers then get nothing.
    """
    path = (Path(get_upload_folder()) / hashlib.sha256(data).hexdigest() / name).resolve()
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
