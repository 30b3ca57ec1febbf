"""The classes of pictures by the folders that they lie in, and a network that is told them."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import torch

from ddim_app.models import loading
from ddim_app.models.classes import ClassLabels
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.data import TrainingData
from ddim_app.train.picture_cache import KEY_LENGTH, first_folders
from ddim_app.train.setup import StartModel


def labelled(data: TrainingData) -> TrainingData:
    """The data with the class of each picture, by the first folders that are several; raises TrainError."""
    names = _classes(data.names, "--data")
    classes = tuple(sorted(set(names), key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))
    if len(classes) < 2:
        raise TrainError(f"--classes needs --data with two subfolders or more, whose names are the classes; got {len(classes)}")
    held = names if data.held_names is data.names else _classes(data.held_names, "--holdout")
    if unknown := sorted(set(held) - set(classes)):
        raise TrainError(f"--holdout must have the classes of --data, {', '.join(classes)[:200]}; got {unknown[0]}")
    numbers = [torch.tensor([classes.index(name) for name in each]) for each in (names, held)]
    labels, held_labels = numbers[0], numbers[1][torch.from_numpy(data.held)]
    told = json.dumps([data.content, classes, labels[torch.from_numpy(data.train)].tolist(), held_labels.tolist()])
    content = hashlib.sha256(told.encode()).hexdigest()[:KEY_LENGTH]
    return replace(data, classes=classes, labels=labels, held_labels=held_labels, content=content)


def _classes(names: Sequence[str], flag: str) -> list[str]:
    folders = first_folders(names)
    outside = next((name for name, folder in zip(names, folders, strict=True) if not folder), None)
    if outside is not None:
        raise TrainError(f"--classes needs each picture of {flag} in a subfolder that its class names; {outside} lies in none")
    return [folder.rstrip("/").rpartition("/")[2] for folder in folders]


def with_classes(begin: StartModel, data: TrainingData, settings: Settings) -> StartModel:
    """The starting network with an embedding of the data's classes, and of the null class where it is trained; raises TrainError.

    A network without classes begins with an embedding of zeros, so that at first it says what it said before.
    """
    if not data.classes:
        if begin.classes.names:
            raise TrainError(f"--init: this model has classes ({', '.join(begin.classes.names)[:120]}): give --classes as well")
        return begin
    has_null = settings.class_dropout > 0
    wanted = ClassLabels(data.classes, len(data.classes) if has_null else None)
    if begin.classes.names:
        if begin.classes != wanted:
            raise TrainError(
                f"--init has the classes {_words(begin.classes)}, and --data with --class-dropout {settings.class_dropout:g} "
                f"{_words(wanted)}: they must be the same"
            )
        return begin
    unet = {**begin.unet, "num_class_embeds": len(data.classes) + has_null}
    network = loading.build({key: value for key, value in unet.items() if key != "_class_name"}, settings.seed)
    network.load_state_dict(begin.network.state_dict(), strict=False)
    if begin.init:
        torch.nn.init.zeros_(network.class_embedding.weight)
    return replace(begin, network=network, unet=unet, classes=wanted)


def _words(classes: ClassLabels) -> str:
    return f"{', '.join(classes.names)[:120]}{'' if classes.null is None else ' and a null class'}"
