"""Converted networks on disk, each under the hash of what it was made from.

An entry is a folder with the network, and a file that says what it was made from and the hashes of the others. One that does
not agree with its name, or with its own hashes, is not used but made again. The folder is bounded; what was not used for the
longest time goes first.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from ddim_app.models.loading import Model
from ddim_app.models.model_files import cache_folder

log = logging.getLogger(__name__)

CONVERSION = 1
"""Counts the changes in how networks are converted."""
FILES = ("model.xml", "model.bin")
MAX_BYTES = 2_000_000_000


class UnavailableError(RuntimeError):
    """A backend that cannot serve a model; the message is a sentence, and the next best backend goes on."""


class ConversionCache:
    """The folder DDIM_CACHE, or `ddim-explorer` under the user's cache folder."""

    def __init__(self, folder: Path | None = None, max_bytes: int = MAX_BYTES) -> None:
        self.folder = folder or cache_folder("openvino")
        self.max_bytes = max_bytes

    def key(self, model: Model, version: str) -> str:
        """Names what a conversion depends on: weights, the network's settings, and both programs."""
        settings = {key: value for key, value in sorted(dict(model.unet.config).items()) if not key.startswith("_")}
        text = json.dumps([model.sha256, settings, version, CONVERSION], default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def find(self, key: str) -> tuple[str, bytes] | None:
        """(IR, weights) of an entry, or None when there is none that can be trusted."""
        entry = self.folder / key
        if not entry.is_dir():
            return None
        try:
            about = json.loads((entry / "about.json").read_text("utf-8"))
            data = {name: (entry / name).read_bytes() for name in FILES}
            if about["key"] != key:
                raise ValueError("it was made from other weights")
            if about["sha256"] != {name: hashlib.sha256(data[name]).hexdigest() for name in FILES}:
                raise ValueError("its files have changed since")
            os.utime(entry)
            return data["model.xml"].decode("utf-8"), data["model.bin"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("a converted network in the cache cannot be used, and is made again: %s", error)
            shutil.rmtree(entry, ignore_errors=True)
            return None

    def store(self, key: str, write: Callable[[Path], None]) -> tuple[str, bytes]:
        """(IR, weights) that `write` puts into a folder, kept for the next time where there is room to keep it."""
        with tempfile.TemporaryDirectory(prefix="ddim-") as made:
            write(Path(made))
            data = {name: (Path(made) / name).read_bytes() for name in FILES}
        try:
            self._keep(key, data)
        except OSError as error:  # a disk that is full or not ours to write to
            log.warning("a converted network could not be kept, so it is made again at the next start: %s", error)
        return data["model.xml"].decode("utf-8"), data["model.bin"]

    def _keep(self, key: str, data: dict[str, bytes]) -> None:
        about = {"key": key, "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in data.items()}}
        if sum(map(len, data.values())) > self.max_bytes:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
        try:
            for name, content in {**data, "about.json": json.dumps(about).encode()}.items():
                (unfinished / name).write_bytes(content)
            unfinished.rename(self.folder / key)
        finally:  # another process may have been first
            shutil.rmtree(unfinished, ignore_errors=True)
        total = 0  # what was not used for the longest time goes until the rest fits
        entries = [entry for entry in self.folder.iterdir() if entry.is_dir()]
        for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True):
            total += sum(file.stat().st_size for file in entry.iterdir())
            if total > self.max_bytes and entry.name != key:
                shutil.rmtree(entry, ignore_errors=True)
