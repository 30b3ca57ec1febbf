"""The kernel distance of a quality table against steps, as an SVG file."""

import math
from collections.abc import Callable
from html import escape

from ddim_app.studies.quality_table import QualityTable, row_label

COLOURS = ("#0f766e", "#2f9488", "#5eb3a6", "#c2703d", "#9a3412", "#1d4ed8", "#7c3aed")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 420, 70, 20, 150, 50
Scale = Callable[[float], float]


def svg(table: QualityTable) -> str:
    """A curve for each row, both axes logarithmic, with an error bar of one standard error; the floor is a dashed line."""
    steps = table.columns
    lowest = [max(found.kernel.value - found.kernel.error, found.kernel.value / 2) for found in table.cells.values()]
    low = math.floor(math.log10(max(min(lowest), 1e-4)))
    high = math.ceil(math.log10(max(found.kernel.value + found.kernel.error for found in table.cells.values()) + 1e-9))
    high = max(high, low + 1)

    def x(count: float) -> float:
        span = math.log(steps[-1] / steps[0]) or 1.0
        return round(LEFT + math.log(count / steps[0]) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        power = math.log10(max(value, 10**low))
        return round(TOP + (high - power) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f"<title>Kernel distance of {escape(table.model)} against steps</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "steps", "middle"),
        _text(LEFT, TOP - 6, "kernel distance", "start"),
    ]
    for power in range(low, high + 1):
        parts += [
            _line(LEFT, y(10**power), WIDTH - RIGHT, y(10**power), "#ddd"),
            _text(LEFT - 8, y(10**power) + 4, f"{10.0**power:g}", "end"),
        ]
    parts += [_text(x(count), HEIGHT - BOTTOM + 20, str(count), "middle") for count in steps]
    floor = table.beside.get("other pictures of the reference")
    if floor and floor.kernel.value > 10**low:
        parts.append(_line(LEFT, y(floor.kernel.value), WIDTH - RIGHT, y(floor.kernel.value), "#888", ' stroke-dasharray="5 4"'))
    for i, row in enumerate(table.rows):
        parts += _curve(table, row, COLOURS[i % len(COLOURS)], x, y, i)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curve(table: QualityTable, row: str, colour: str, x: Scale, y: Scale, place: int) -> list[str]:
    points = [(steps, table.cells[row, steps].kernel) for steps in table.columns if (row, steps) in table.cells]
    path = " ".join(f"{x(steps)},{y(found.value)}" for steps, found in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for steps, found in points:
        parts.append(f'<circle cx="{x(steps)}" cy="{y(found.value)}" r="3" fill="{colour}"/>')
        parts.append(_line(x(steps), y(found.value - found.error), x(steps), y(found.value + found.error), colour))
    left, top = WIDTH - RIGHT + 15, TOP + 20 + 22 * place
    return [*parts, _line(left, top - 4, left + 25, top - 4, colour), _text(left + 33, top, row_label(row), "start")]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"{more}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#333">{escape(text)}</text>'
