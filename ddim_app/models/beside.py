"""Files of what was found out about a model: JSON beside it, under the hash of its weights, or in this machine's cache.

Other weights in the same folder, such as those of a later training, have another name, and so never what belongs to these.
"""

import json
from pathlib import Path
from typing import Any

from ddim_app.media.files import write_file
from ddim_app.models.model_files import cache_folder

SHORT = 16
"""Signs of the hash in a file's name; inside it stands whole."""
CACHED = {"variance": "variances", "quality": "quality"}
"""What a file may be about, and the part of the cache that has it for models of the Hub."""
LARGEST = 4_000_000
"""Bytes of a file that is read."""


def path_of(folder: Path, kind: str, sha256: str) -> Path:
    return folder / f"{kind}-{sha256[:SHORT]}.json"


def found(folder: Path | None, kind: str, sha256: str) -> list[Any]:
    """The values of what lies beside the model, if it has a folder here, and in the cache, as far as they can be read."""
    values = []
    for place in (folder, cache_folder(CACHED[kind])):
        try:
            if place is not None and (path := path_of(place, kind, sha256)).stat().st_size <= LARGEST:
                values.append(json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, RecursionError):
            continue
    return values


def keep(folder: Path, kind: str, sha256: str, values: Any) -> Path:
    """Writes the file, into the cache where the model lies in the Hub's; returns its path. Raises OSError."""
    place = cache_folder(CACHED[kind]) if "snapshots" in folder.parts else folder
    place.mkdir(parents=True, exist_ok=True)
    path = path_of(place, kind, sha256)
    write_file(path, (json.dumps(values) + "\n").encode())
    return path
