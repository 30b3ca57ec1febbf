"""The models that there are: folders beside the program, folders that a user names, and ids on the Hugging Face Hub."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ddim_app.models.hub import HUB_ID, download
from ddim_app.models.loading import Model, ModelError, load, log, unet_folder

if TYPE_CHECKING:
    pass


ROOT = Path(__file__).resolve().parents[2]
"""The folder of the project, in which weights/ and runs/ lie."""


class Catalogue:
    """The models that a visitor can name: folders of `roots`, found again at each look, and ids on the Hub.

    A folder in the first root goes by its own name, in another by root/name (`runs/me`). Names are looked up in this list
    and never joined to a path, so no name reaches outside. Of the Hub every id may be named, none, or those of a list, which are
    then offered like the folders. The `first` model is the one that pages start with.
    """

    def __init__(self, roots: list[Path], allow_hub: bool | Collection[str] = True, first: str | None = None) -> None:
        self._roots = roots
        self._allow_hub = allow_hub
        self._first = first

    def folders(self) -> dict[str, Path]:
        named = {}
        for i, root in enumerate(self._roots):
            for folder in sorted(root.iterdir()) if root.is_dir() else []:
                if unet_folder(folder) is not None:
                    named[folder.name if i == 0 else f"{root.name}/{folder.name}"] = folder
        return named

    def names(self) -> list[str]:
        offered = [*self.folders(), *([] if isinstance(self._allow_hub, bool) else self._allow_hub)]
        first = [self._first] if self._first and (self._first in offered or self.is_on_hub(self._first)) else []
        return list(dict.fromkeys(first + offered))

    def version(self, name: str) -> object:
        """Changes when a model here is written again, weights or configs; None for a model of the Hub."""
        folder = self.folders().get(name)
        files = sorted(path for end in ("safetensors", "config.json") for path in folder.rglob(f"*{end}")) if folder else []
        return [(file.stat().st_mtime_ns, file.stat().st_size) for file in files] or None

    def is_on_hub(self, name: str) -> bool:
        """Whether a name that is not in the list can only mean a Hub id, and so neither a path nor a URL."""
        here = name in self.folders() or any(name.startswith(f"{root.name}/") for root in self._roots)
        allowed = self._allow_hub if isinstance(self._allow_hub, bool) else name in self._allow_hub
        return allowed and not here and HUB_ID.fullmatch(name) is not None and ".." not in name and "--" not in name

    def load(self, name: str, notify: Callable[[str], None] = log.info) -> Model:
        """The model of that name; `notify` is told, in a sentence, before anything is downloaded.

        Raises ModelError when there is no such model or it cannot be used.
        """
        folders = self.folders()
        if name in folders:
            return load(folders[name], name)
        if not self.is_on_hub(name):
            known = ", ".join(self.names()) or "none"
            hub = ", or an id on the Hugging Face Hub such as google/ddpm-cifar10-32" if self._allow_hub is True else ""
            raise ModelError(f"model must be one of the models here ({known}){hub}; got {name[:60]!r}")
        return load(download(name, notify), name)


def locate(where: str, notify: Callable[[str], None] = log.info) -> Path:
    """The folder of a model named by whoever runs the program: a path on this machine, else an id on the Hub (downloaded)."""
    if Path(where).is_dir():
        return Path(where)
    if not re.fullmatch(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", where):
        raise ModelError(f"model {where[:80]}: there is no such folder, and it is no id on the Hugging Face Hub")
    return download(where, notify)


def load_model(where: str, notify: Callable[[str], None] = log.info) -> Model:
    """The model of that name in weights/ or runs/, of that folder, or of that id on the Hugging Face Hub; raises ModelError."""
    folders = Catalogue([ROOT / "weights", ROOT / "runs"]).folders()
    return load(folders[where] if where in folders else locate(where, notify), where)
