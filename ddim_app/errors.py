"""What a user is told of a value or a run that cannot be, and the judges of single values; below everything else."""

MAX_WHOLE = 2**63 - 1
"""The largest whole number that JSON's readers all take."""


class FieldError(ValueError):
    """A value that a run cannot have: `field` is its name in the API and on the command line, `reason` what follows the name."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field, self.reason = field, message


class RunError(RuntimeError):
    """A run that had to end; the message is a sentence for the user."""


def refused_by_disk(error: OSError) -> str:
    """The sentence for a file or folder that cannot be read or written, without its end."""
    return f"{error.filename or 'a file'} cannot be read or written ({error.strerror or str(error)[:160]})"


def shown(value: object) -> str:
    """A value from outside, short enough for a sentence."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int in low..high; a float is taken when it is whole, everything else is refused."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if high is None and isinstance(value, int) and value > MAX_WHOLE:
        high = MAX_WHOLE
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        limits = f"{low} or more" if high is None else f"from {low} to {high}"
        raise FieldError(name, f"must be a whole number {limits}; got {shown(value)}")
    return value


def real(name: str, value: object, low: float, high: float, hint: str = "") -> float:
    """`value` as a float in low..high; NaN, infinities, truth values and text are refused."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise FieldError(name, f"must be a number from {low:g} to {high:g}{hint}; got {shown(value)}")
    return float(value)


def choice(name: str, value: object, options: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in options:
        raise FieldError(name, f"must be one of {', '.join(options)}; got {shown(value)}")
    return value
