"""Axes of a matrix: which settings can vary over its rows and columns, and the short text that lists their values."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, NamedTuple

from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.noise import MAX_SEED
from ddim_app.diffusion.schedule import SPACINGS
from ddim_app.errors import FieldError, choice, real, shown, whole
from ddim_app.runs.base import MAX_ETA, check_model
from ddim_app.runs.methods import METHODS
from ddim_app.runs.sampling import MAX_ARMS, Arm

MAX_VALUES = 24
"""Values of one axis."""
SIGMA_HAT = "sigma-hat"
"""The eta axis' name for DDPM with the large variance, the last row of the DDIM paper's tables."""
SAMPLERS: dict[Any, tuple[str, dict[str, Any]]] = {
    SIGMA_HAT: ("DDPM, σ̂", {"method": "ddpm", "variance": "large", "eta": 1.0}),
    "2m": (METHODS["2m"].title, {"method": "2m", "eta": 0.0}),
}
"""What the eta axis has beside numbers: the header, and how its arms differ."""


class AxisItem(NamedTuple):
    """A piece of an axis' text, and at which character (from 1) it begins."""

    text: str
    at: int


@dataclass(frozen=True)
class Axis:
    """One side of a matrix: the setting `name`, and its values in order."""

    name: str
    values: tuple[Any, ...]
    steps_in: "Callable[[Arm, float], int] | None" = None
    """How many steps an arm makes in so many seconds; only the axis of seconds has it."""

    def header(self, value: Any) -> str:
        """What stands over a row or column."""
        if self.name == "seconds":
            return f"{value:g} s"
        if self.name in WORDS:
            return f"{WORDS[self.name]} {value}"
        if self.name == "eta":
            return SAMPLERS[value][0] if value in SAMPLERS else f"η {value:g}" + (" = DDPM" if value == 1 else "")
        return f"{value} {'step' if value == 1 else 'steps'}" if self.name == "steps" else f"{self.name} {value}"

    def apply(self, arm: Arm, value: Any) -> Arm:
        """The arm with this setting."""
        if self.name == "eta" and value in SAMPLERS:
            return replace(arm, **SAMPLERS[value][1])
        if self.name == "freeze":
            return replace(arm, start_arm=0, start_step=value)
        if self.steps_in is not None:
            return replace(arm, steps=self.steps_in(arm, value))
        return replace(arm, **{self.name: value})


def cells(base: Arm, rows: Axis, columns: Axis) -> tuple[Arm, ...]:
    """The arms of a matrix, row by row; raises FieldError when both axes are of one setting, or there are too many cells.

    Cells that freeze start from arm 0, which is to stand before them: see `trunk`.
    """
    if rows.name == columns.name:
        raise FieldError("columns", "must be another setting than that of the rows")
    count, room = len(rows.values) * len(columns.values), MAX_ARMS - len(trunk(base, rows, columns))
    if count > room:
        raise FieldError("row values", f"must make at most {room} cells with those of the columns; these make {count}")
    if rows.steps_in is not None:  # the time that a step takes depends on the other axis
        return tuple(rows.apply(columns.apply(base, column), row) for row in rows.values for column in columns.values)
    return tuple(columns.apply(rows.apply(base, row), column) for row in rows.values for column in columns.values)


def trunk(base: Arm, rows: Axis, columns: Axis) -> tuple[Arm, ...]:
    """The arm that the cells start from, where an axis freezes it at some step."""
    return (base,) if "freeze" in (rows.name, columns.name) else ()


def parse(
    name: object,
    text: object,
    num_train_timesteps: int,
    field: str = "axis",
    steps_in: Callable[[Arm, float], int] | None = None,
) -> Axis:
    """The axis that a text describes.

    Values are separated by commas. `5,10,..,50` goes on in steps of the two values before the dots; `0:1:0.25` goes from, to
    and by; words stand for themselves. Raises FieldError for `field`, pointing at the character, when it cannot be read or a
    value is out of its range.

    >>> parse("steps", "5, 10, .., 25", 1000).values
    (5, 10, 15, 20, 25)
    >>> parse("eta", "0:1:0.5, sigma-hat", 1000).values
    (0.0, 0.5, 1.0, 'sigma-hat')
    """
    if not isinstance(name, str) or name not in AXES:
        raise FieldError(field, f"must be one of {', '.join(AXES)}; got {shown(name)}")
    if not isinstance(text, str) or not text.strip() or len(text) > 400:
        raise FieldError(field, f"must list its values, such as 5, 10, .., 50 or 0:1:0.25; got {shown(text)}")
    check = AXES[name](num_train_timesteps)
    values: list[Any] = []
    for item in _expand(_items(text), field):
        try:
            value = check(item.text)
        except FieldError as error:
            raise FieldError(field, f"cannot be read at character {item.at}: {error.reason}") from error
        if value in values:
            raise FieldError(field, f"names {shown(value)} twice, the second time at character {item.at}")
        values.append(value)
    return Axis(name, tuple(values), steps_in if name == "seconds" else None)


def _items(text: str) -> list[AxisItem]:
    pieces, position = [], 1
    for piece in text.split(","):
        pieces.append(AxisItem(piece.strip(), position + len(piece) - len(piece.lstrip())))
        position += len(piece) + 1
    return pieces


def _expand(items: list[AxisItem], field: str) -> list[AxisItem]:
    """The items with `..` and `a:b:c` written out."""
    out: list[AxisItem] = []
    for i, item in enumerate(items):
        if item.text in ("..", "..."):
            numbers = [_decimal(other.text) for other in (*items[max(0, i - 2) : i], *items[i + 1 : i + 2])]
            if i < 2 or len(numbers) < 3 or None in numbers:
                raise FieldError(
                    field, f"needs two numbers before and one after the dots at character {item.at}, as in 5, 10, .., 50"
                )
            first, second, last = (number for number in numbers if number is not None)
            out += _range(second + (second - first), last - (second - first), second - first, item, field)
        elif ":" in item.text:
            numbers = [_decimal(part) for part in item.text.split(":")]
            if len(numbers) != 3 or None in numbers:
                raise FieldError(field, f"needs from:to:by at character {item.at}, as in 0:1:0.25; got {shown(item.text)}")
            start, stop, by = (number for number in numbers if number is not None)
            out += _range(start, stop, by, item, field)
        else:
            out.append(item)
        if len(out) > MAX_VALUES:
            raise FieldError(field, f"may have at most {MAX_VALUES} values; there are more at character {item.at}")
    return out


def _range(start: Decimal, stop: Decimal, by: Decimal, item: AxisItem, field: str) -> list[AxisItem]:
    """Numbers from start to stop, exact in decimal, so that 0:1:0.1 ends at 1."""
    if by == 0 or (stop - start) / by < -1:
        raise FieldError(field, f"never reaches its end at character {item.at}")
    count = int((stop - start) / by) + 1 if (stop - start) / by >= 0 else 0
    if count > MAX_VALUES:
        raise FieldError(field, f"may have at most {MAX_VALUES} values; the range at character {item.at} has {count}")
    return [AxisItem(f"{(start + k * by).normalize():f}", item.at) for k in range(count)]


def _decimal(text: str) -> Decimal | None:
    text = text.strip()
    return Decimal(text) if re.fullmatch(r"-?\d{1,12}(\.\d{1,9})?", text) else None


def _number(text: str) -> int | float | str:
    """A number where the text is one, else the text, for the recipe's own checks to refuse."""
    number = _decimal(text)
    if number is None:
        return text
    return int(number) if number == int(number) else float(number)


Check = Callable[[str], Any]


def _eta(text: str) -> float | str:
    word = SIGMA_HAT if text.lower() in ("sigma_hat", "σ̂") else text.lower()
    return word if word in SAMPLERS else real("eta", _number(text), 0, MAX_ETA)


def _seed(name: str) -> Callable[[int], Check]:
    return lambda T: lambda text: whole(name, _number(text), 0, MAX_SEED)


def _model(text: str) -> str:
    check_model(text)
    return text


WORDS = {"seed": "seed", "noise_seed": "noise", "branch": "branch", "freeze": "freeze after"}
"""What stands before the values of an axis in its headers."""
NOISE_AXES = ("noise_seed", "branch")
"""Axes whose values differ in step noise alone, so that their spread is what the sampler's noise does."""
AXES: dict[str, Callable[[int], Check]] = {
    "steps": lambda T: lambda text: whole("steps", _number(text), 1, T),
    "eta": lambda T: _eta,
    "spacing": lambda T: lambda text: choice("spacing", text, SPACINGS),
    "clip": lambda T: lambda text: choice("clip", text, CLIP_RULES),
    "seed": _seed("seed"),
    "noise_seed": _seed("noise_seed"),
    "branch": _seed("branch"),
    "freeze": lambda T: lambda text: whole("freeze", _number(text), 0, T - 1),
    "model": lambda T: _model,
    "seconds": lambda T: lambda text: real("seconds", _number(text), 0.001, 600),
}
"""The settings that can be an axis, each with the reader of one value for a model of T train timesteps."""
