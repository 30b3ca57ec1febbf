"""What held-out losses say of a run, in words: learning, stalled, or getting worse, where it is more than chance."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}
"""Half the width of a 95 % interval in standard errors, by the degrees of freedom (Student's t)."""

Line = Mapping[str, Any]
"""A held-out line of metrics.jsonl: step, loss, buckets, groups."""


class Change(NamedTuple):
    """How a held-out loss differs from another, as a part of that one: -0.1 is a tenth lower."""

    part: float
    error: float | None
    """Half the width of the 95 % interval; None where a single picture was held out."""

    @property
    def is_lower(self) -> bool:
        """Whether it is lower by more than chance."""
        return self.error is not None and self.part < -self.error

    @property
    def is_higher(self) -> bool:
        """Whether it is higher by more than chance, or not a number."""
        return (self.error is not None and self.part > self.error) or not math.isfinite(self.part)

    def __str__(self) -> str:
        digits = 0 if abs(self.part) >= 0.1 and (self.error is None or self.error >= 0.01) else 1
        error = "" if self.error is None else f" ± {100 * self.error:.{digits}f}"
        return f"{100 * abs(self.part):.{digits}f}{error} % {'lower' if self.part < 0 else 'higher'}"


def change(now: Line, before: Line) -> Change:
    """The change between two looks at the same pictures and noises, whose own differences therefore cancel."""
    ratio = now["loss"] / before["loss"]
    groups = now.get("groups", ()), before.get("groups", ())
    count = len(groups[0])
    if count < 2 or len(groups[1]) != count:
        return Change(ratio - 1, None)
    # Of a ratio of means: what is left of each group when the pictures' own size is taken out of it.
    spread = statistics.stdev(a - ratio * b for a, b in zip(*groups, strict=True))
    return Change(ratio - 1, STUDENT[count - 1] * spread / math.sqrt(count) / before["loss"])


def best(lines: Sequence[Line]) -> Line:
    return min(lines, key=lambda line: line["loss"])


def looks_without_gain(lines: Sequence[Line]) -> int:
    """How many of the last looks were not better by more than chance than the best before them."""
    count = 0
    for end in range(len(lines) - 1, 0, -1):
        if change(lines[end], best(lines[:end])).is_lower:
            break
        count += 1
    return count


def words(lines: Sequence[Line]) -> str:
    """What the last of the held-out losses is, and what that means."""
    now, before = lines[-1], lines[:-1]
    text = f"held-out loss {now['loss']:.4f}"
    if not before:
        return f"{text} (the error on pictures that are not trained on, the lower the better), before anything is learned"
    text += f", {change(now, lines[0])} than at the start"
    if len(before) > 1:
        text += f" and {change(now, before[-1])} than at the last look"
    return f"{text}: {_meaning(lines)}"


def _meaning(lines: Sequence[Line]) -> str:
    now, top = lines[-1], best(lines[:-1])
    against = change(now, top)
    if change(now, lines[0]).is_higher:
        return "it is worse than what it began with; start again with a smaller --lr"
    if against.is_higher:
        return f"it is getting worse since step {top['step']}"
    if against.error is None:
        return "whether that is chance, a single held-out picture cannot tell (see --holdout)"
    if against.is_lower:
        return "it is learning"
    return "it has stalled" if looks_without_gain(lines) > 1 else "no more than chance, so far"
