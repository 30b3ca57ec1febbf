"""The matrix that a recipe's arms fill: its two axes found again, so that a tab can show it."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ddim_app.errors import FieldError
from ddim_app.runs.axes import SAMPLERS, SIGMA_HAT, cells, parse
from ddim_app.runs.sampling import Arm

NAMES = ("steps", "eta", "spacing", "clip", "seed", "noise_seed", "branch", "model")
"""Settings that an axis is looked for in."""


class ArmTable(NamedTuple):
    """A matrix: the arm that its cells come from, and its sides as (setting, text of the values)."""

    base: Arm
    rows: tuple[str, str]
    columns: tuple[str, str]


def table_of(arms: Sequence[Arm], num_train_timesteps: int) -> ArmTable | None:
    """The matrix whose cells, row by row, are these arms; None when they are none, or fewer than two."""
    arms = [replace(arm, weights=None) for arm in arms]
    if len(arms) < 2:
        return None
    base = Arm(
        steps=arms[0].steps, eta=arms[0].eta if arms[0].method == "ddim" else 0.0, spacing=arms[0].spacing, clip=arms[0].clip
    )
    values = {name: list(dict.fromkeys(_value(arm, name) for arm in arms)) for name in NAMES}
    varied = [name for name in NAMES if len(values[name]) > 1]
    usable = [name for name in NAMES if None not in values[name]]
    for names in itertools.permutations(usable, 2):
        if set(varied) <= set(names):
            table = _table(base, arms, names, values, num_train_timesteps)
            if table:
                return table
    return None


def _table(base: Arm, arms: list[Arm], names: Sequence[str], values: dict[str, list[Any]], T: int) -> ArmTable | None:
    texts = [", ".join(map(_text, values[name])) for name in names]
    try:
        rows, columns = (parse(name, text, T) for name, text in zip(names, texts, strict=True))
        if list(cells(base, rows, columns)) != arms:
            return None
    except FieldError:  # a value that no axis can have, or too many of them
        return None
    return ArmTable(base, (names[0], texts[0]), (names[1], texts[1]))


def _value(arm: Arm, name: str) -> Any:
    if name == "eta" and arm.method == "ddpm":
        return SIGMA_HAT if arm.variance == "large" else 1.0
    if name == "eta" and arm.method in SAMPLERS:
        return arm.method
    return getattr(arm, name)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
