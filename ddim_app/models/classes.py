"""The classes of a class-conditional model: their names, its null class, and which of them a row is asked for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddim_app.errors import FieldError, shown
from ddim_app.models.model_files import CARD, LABELS, MAX_CONFIG

ANY, NULL = "any", "none"
"""What a run may name in place of a class: for each picture one by its seed, and the null class."""
MAX_GUIDANCE = 20.0
FILES = ("model_index.json", *LABELS, CARD)
"""Where the names of classes may lie, beside `unet/` or in it: under `id2label`, or, in a file of LABELS, alone."""


@dataclass(frozen=True)
class ClassLabels:
    """The classes of a model by their indices; a model without any is unconditional."""

    names: tuple[str, ...] = ()
    null: int | None = None
    """The index that stands for no class, where the network was trained with it."""

    def index(self, label: str | None, seed: int | None) -> int:
        """The class of a picture: the one that is named, or that of its seed where none is; raises FieldError."""
        n = len(self.names)
        if label in (None, ANY):
            if seed is not None:
                return seed % n
            if self.null is None:
                raise FieldError("class_label", f"must be named, since there is no seed to choose it by: {self._known()}")
            return self.null
        if label == NULL and NULL not in self.names:
            if self.null is None:
                raise FieldError("class_label", f"must not be {NULL}: this model was trained without a null class; {self._known()}")
            return self.null
        if label in self.names:
            return self.names.index(label)
        if not (label.isdecimal() and int(label) < n):
            raise FieldError("class_label", f"{self._known()}; got {shown(label)}")
        return int(label)

    def asked(self, label: str | None, guidance: float | None = None, seed: int | None = None) -> tuple[int, ...]:
        """What a row's network is asked for: its class alone where it is not guided, else its class and the null class.

        () for a model without classes. `label` and `seed` are as for `index`; raises FieldError.
        """
        weight = 1.0 if guidance is None else guidance
        if not self.names:
            if label not in (None, ANY):
                raise FieldError("class_label", f"must not be named for a model without classes; got {shown(label)}")
            if weight != 1:
                raise FieldError("guidance", f"must be 1 for a model without classes; got {weight:g}")
            return ()
        chosen = self.index(label, seed)
        if weight == 1 or chosen == self.null:
            return (chosen,)
        if self.null is None:
            raise FieldError("guidance", f"must be 1 for a model that was trained without a null class; got {weight:g}")
        return (self.null,) if weight == 0 else (chosen, self.null)

    def choices(self) -> list[str]:
        """What a run may name."""
        return [ANY, *self.names, *([NULL] if self.null is not None else [])] if self.names else []

    def _known(self) -> str:
        named = ", ".join(self.names[:12]) + (", ..." if len(self.names) > 12 else "")
        return f"must be {ANY}, one of {named[:200]}, or a number from 0 to {len(self.names) - 1}"


UNCONDITIONAL = ClassLabels()


def checked_label(label: object) -> str | None:
    """A class by its name or index as text; None for "any", which is none in particular."""
    if type(label) is int and label >= 0:
        return str(label)
    if label is not None and not (isinstance(label, str) and len(label) <= 100 and label.isprintable()):
        raise FieldError("class_label", f"must be {ANY}, or the name or the number of a class; got {shown(label)}")
    return None if label is None or not label.strip() or label == ANY else label


def class_labels(config: Mapping[str, Any], folder: Path, home: Path) -> ClassLabels:
    """The classes of a network's config, by the names that lie in the model's folder or beside its weights.

    n names beside an embedding of n + 1 say that index n is the null class. Without names, classes are called by their indices.
    """
    count = config.get("num_class_embeds")
    if count is None:
        return UNCONDITIONAL
    named = next((names for place in dict.fromkeys((folder, home)) for file in FILES if (names := _names(place / file))), {})
    has_null = sorted(named) == list(range(count - 1)) and count > 1
    return ClassLabels(tuple(named.get(i, str(i)) for i in range(count - has_null)), count - 1 if has_null else None)


def check_count(count: Any) -> None:
    """Raises ValueError for a num_class_embeds that is no number of classes."""
    if count is not None and (type(count) is not int or not 1 <= count <= 100_000):
        raise ValueError(f"num_class_embeds must be a whole number from 1 to 100,000, or null; got {str(count)[:40]}")


def _names(path: Path) -> dict[int, str]:
    """The names in a file by their indices; none where it is not there, or is anything else than the names of classes."""
    try:
        if path.stat().st_size > MAX_CONFIG:
            return {}
        values = _metadata(path) if path.name == CARD else json.loads(path.read_text("utf-8"))
        if isinstance(values, dict):
            values = values.get("id2label", values if path.name in LABELS else {})
        named = {int(key): _word(name) for key, name in (enumerate(values) if isinstance(values, list) else values.items())}
        return {i: name if list(named.values()).count(name) == 1 else f"{name} ({i})" for i, name in named.items()}
    except Exception:  # whatever stands there, its model opens, with numbers for names
        return {}


def _metadata(path: Path) -> Any:
    from huggingface_hub.repocard import metadata_load

    return metadata_load(path)


def _word(name: Any) -> str:
    text = " ".join(str(name).split())
    if not text or not text.isprintable():
        raise ValueError("no name")
    return text[:80]
