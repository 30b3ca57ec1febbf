"""How a run is seen in the app: the command, and a link to the starting model beside it at equal seeds."""

import shlex
from pathlib import Path
from urllib.parse import quote

from ddim_app.models.catalogue import Catalogue, local
from ddim_app.train.config import Settings
from ddim_app.train.setup import StartModel

ADDRESS = "http://127.0.0.1:7860/"
"""Where the app listens unless it is told otherwise."""


def how_to_see(folder: Path, begin: StartModel, settings: Settings) -> str:
    """Two lines for a person: the command that starts the app, and the link to open then."""
    catalogue = local()
    name, command = _listed(catalogue, folder), "python app.py"
    if name is None:
        name = f"{folder.parent.name}/{folder.name}"
        command += f" --models-dir {shlex.quote(str(folder.parent))}"
    start = begin.init and _start(catalogue, str(settings.init))
    pair = start and settings.resolution is None  # pictures of one size alone are laid side by side
    what = f"side by side with {start} at equal seeds" if pair else "its pictures"
    # Both samplers with each, as Compare does with a second model; an arm is as the one before it but for what is said.
    arms = f"&arm=method:ddpm&arm=method:ddim,model:{quote(name)}&arm=method:ddpm" if pair else ""
    model = quote(str(start) if pair else name)
    return f"To see it: {command}\nthen, {what}: {ADDRESS}?v=1&seed={settings.seed}&pictures=4&model={model}{arms}"


def _listed(catalogue: Catalogue, folder: Path) -> str | None:
    """What the app calls the model of a folder, where it lists it without being told."""
    return next((name for name, path in catalogue.folders().items() if path.resolve() == folder.resolve()), None)


def _start(catalogue: Catalogue, given: str) -> str | None:
    """What the app calls the model that a run began with; None for a folder that it does not list."""
    folder = catalogue.folder(given)
    if folder is not None:
        return _listed(catalogue, folder)
    return catalogue.known_as(given) if catalogue.is_on_hub(given) else None
