"""The models that there are: folders beside the program, folders that a user names, and ids on the Hugging Face Hub."""

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from ddim_app.models import hub
from ddim_app.models.loading import Model, ModelError, load, log
from ddim_app.models.model_files import unet_folder
from ddim_app.models.names import HubName, canonical, hub_name

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the project, in which weights/ and runs/ lie."""


class Catalogue:
    """The models that a visitor can name: folders of `roots`, found again at each look, and ids on the Hub.

    A folder in the first root goes by its own name, where OWNER--MODEL is OWNER/MODEL, an id of the Hub that lies here as it is
    written by `deploy`; in another root by root/name (`runs/me`). Names are looked up in this list
    and never joined to a path, so no name reaches outside. Of the Hub every id may be named, none, or those of a list, which are
    then offered like the folders. The `first` model is the one that pages start with. Where names are `trusted`, since whoever
    runs the program gives them, every folder of this machine may be named, and the Hub is asked with the user's own token.
    """

    def __init__(
        self, roots: list[Path], allow_hub: bool | Collection[str] = True, first: str | None = None, trusted: bool = False
    ) -> None:
        self._roots = roots
        self._allow_hub = allow_hub if isinstance(allow_hub, bool) else [canonical(name) for name in allow_hub]
        self._first = first and self.known_as(first)
        self.trusted = trusted
        self._commits: dict[str, HubName] = {}

    def folders(self) -> dict[str, Path]:
        named = {}
        for i, root in enumerate(self._roots):
            for folder in sorted(root.iterdir()) if root.is_dir() else []:
                if unet_folder(folder) is not None:
                    named[folder.name.replace("--", "/") if i == 0 else f"{root.name}/{folder.name}"] = folder
        return named

    def names(self) -> list[str]:
        offered = [*self.folders(), *([] if isinstance(self._allow_hub, bool) else self._allow_hub)]
        first = [self._first] if self._first and (self._first in offered or self.is_on_hub(self._first)) else []
        return list(dict.fromkeys(first + offered))

    def known_as(self, name: str) -> str:
        """The name as the list has it, of what a user typed or pasted: weights/NAME is NAME, and a page's address its id."""
        name = canonical(name)
        short = name.removeprefix(f"{self._roots[0].name}/")
        return short if short in self.folders() else name

    def folder(self, name: str) -> Path | None:
        """The folder on this machine that is named, if it is one."""
        folders = self.folders()
        name = self.known_as(name)
        return folders.get(name) or (Path(name) if self.trusted and Path(name).is_dir() else None)

    def version(self, name: str) -> object:
        """Changes when a model here is written again, weights or configs; None for a model of the Hub."""
        folder = self.folder(name)
        ends = ("*safetensors", "*bin", "*config.json", "variance-*.json")
        files = sorted(path for depth in ("", "*/") for end in ends for path in folder.glob(depth + end)) if folder else []
        return [stamp for file in files if (stamp := _stamp(file))] or None

    def is_on_hub(self, name: str) -> bool:
        """Whether a name that is not in the list can only mean a Hub id, and so neither a path nor a URL."""
        name = self.known_as(name)
        here = name in self.folders() or any(name.startswith(f"{root.name}/") for root in self._roots)
        allowed = self._allow_hub if isinstance(self._allow_hub, bool) else name in self._allow_hub
        return allowed and not here and hub_name(name) is not None

    def is_hosts(self, name: str) -> bool:
        """Whether whoever runs the program named that id of the Hub, so that their token may be shown to it."""
        return self.trusted or name == self._first or (not isinstance(self._allow_hub, bool) and name in self._allow_hub)

    def is_fetched(self, name: str) -> bool:
        """Whether a model of the Hub lies in the cache of its library as a whole."""
        return self.is_on_hub(name) and hub.cached(self.hub_name(name)[0]) is not None

    def load(self, name: str, notify: Callable[[str], None] = log.info, size: int | None = None) -> Model:
        """The model of that name; `notify` is told, in a sentence, before anything is downloaded and of a conversion.

        A `size` is that of its pictures in pixels, where its config does not say it. Raises ModelError when there is no such
        model or it cannot be used.
        """
        return load(self.find(name, notify, size), self.known_as(name), notify, size)

    def find(self, name: str, notify: Callable[[str], None] = log.info, size: int | None = None) -> Path:
        """The folder of the model of that name, downloaded if need be; raises ModelError."""
        folder = self.folder(name)
        if folder is not None:
            self._check_is_model(folder)
            return folder
        wanted, token = self.hub_name(name)
        return hub.download(wanted, notify, token, size)

    def hub_name(self, name: str) -> tuple[HubName, bool | None]:
        """(repository and revision, token to ask with) of a name that can only mean one; raises ModelError."""
        known = self.known_as(name)
        wanted = hub_name(known) if self.is_on_hub(known) else None
        if wanted is None:
            raise ModelError(self._no_such(name, known))
        return self._commits.get(known, wanted), None if self.is_hosts(known) else False

    def fetch_hosts(self, notify: Callable[[str], None] = log.info) -> None:
        """Fetches and converts the models of the Hub that a host offers, each as it is now: what its owner changes later is not
        taken. One that cannot be used is said."""
        for name in [] if isinstance(self._allow_hub, bool) else self._allow_hub:
            try:
                with suppress(ModelError):  # offline, what is in the cache is offered
                    wanted, token = self.hub_name(name)
                    self._commits[name] = hub.renew(wanted, notify, token)
                self.load(name, notify)
            except ModelError as error:
                notify(str(error))

    def _check_is_model(self, folder: Path) -> None:
        """Refuses a folder inside a model's own, such as that of a run's checkpoints, with the name to use."""
        if unet_folder(folder) is None:
            above = next((parent for parent in list(folder.absolute().parents)[:2] if unet_folder(parent)), None)
            if above is not None:
                named = next((name for name, path in self.folders().items() if path.absolute() == above), above)
                raise ModelError(f"model {folder}: it is a part of the model {named}: name that")

    def _no_such(self, name: str, known: str) -> str:
        inside = next((folder for folder in self.folders() if known.startswith(f"{folder}/")), None)
        if inside is not None:
            return f"model {known[:60]}: it is a part of the model {inside}: name that"
        hub = ", or an id on the Hugging Face Hub such as google/ddpm-cifar10-32" if self._allow_hub is True else ""
        hub = ", the path of a folder" * self.trusted + hub
        return f"model must be one of the models here ({', '.join(self.names()) or 'none'}){hub}; got {name[:60]!r}"


def local() -> Catalogue:
    """The models that whoever runs the program can name: those of weights/ and runs/, folders, ids of the Hub."""
    return Catalogue([ROOT / "weights", ROOT / "runs"], trusted=True)


def load_model(where: str, notify: Callable[[str], None] = log.info) -> Model:
    """The model of that name in weights/ or runs/, of that folder, or of that id on the Hugging Face Hub; raises ModelError."""
    return local().load(where, notify)


def _stamp(file: Path) -> tuple[int, int] | None:
    """(when it was written, bytes); None for a link to nowhere, and for what was deleted meanwhile."""
    with suppress(OSError):
        found = file.stat()
        return found.st_mtime_ns, found.st_size
    return None
