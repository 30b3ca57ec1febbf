"""The table of inversion errors as text, and as a curve in an SVG file."""

import math
from collections.abc import Callable, Sequence
from html import escape

from ddim_app.runs.inversion import METHODS
from ddim_app.studies.inversion_table import TABLE_2, TableLine

HEADER = (
    f"{'method':<17}{'steps':>6}{'NFE up':>8}{'down':>6}{'MSE':>10}{'worst':>10}{'8 bit':>10}{'latent std':>12}{'neighbours':>12}"
)
COLOURS = ("#0f766e", "#5eb3a6", "#1d4ed8", "#b45309", "#dc2626", "#7c3aed", "#a78bfa", "#6b7280")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 820, 470, 70, 20, 330, 50


def row(line: TableLine) -> str:
    """One line of the table, errors per dimension on the [0, 1] scale."""
    more = "" if line.cosine is None else f"   cosine to the true x_T {line.cosine:.4f}"
    if line.mse_without_residual is not None:
        more += f"   without residual {line.mse_without_residual:.1e}"
    if line.residual is not None:
        more += f"   largest residual {line.residual:.1e}"
    return (
        f"{line.method:<17}{line.steps:>6}{line.nfe_up:>8}{line.nfe_down:>6}{line.mse:>10.1e}{line.mse_worst:>10.1e}"
        f"{line.mse_shown:>10.1e}{line.latent_std:>12.3f}{line.neighbours:>12.3f}{more}"
    )


def svg(lines: Sequence[TableLine]) -> str:
    """Error against steps, both on logarithmic scales, with the paper's Table 2 behind."""
    series = {"DDIM paper, Table 2": [(s, e) for s, e in TABLE_2.items() if s <= max(line.steps for line in lines)]}
    for method, label in METHODS.items():
        points = [(line.steps, line.mse) for line in lines if line.method == method and line.mse > 0]
        if points:
            series[label] = sorted(points)
    known = [(s, e) for points in series.values() for s, e in points if math.isfinite(e)]
    low, high = (math.floor(math.log10(min(e for _, e in known))), math.ceil(math.log10(max(e for _, e in known))))
    first, last = math.log10(min(s for s, _ in known)), math.log10(max(s for s, _ in known))

    def place(steps: float, error: float) -> tuple[float, float]:
        x = LEFT + (math.log10(steps) - first) / max(last - first, 1e-9) * (WIDTH - LEFT - RIGHT)
        y = TOP + (high - math.log10(error)) / max(high - low, 1) * (HEIGHT - TOP - BOTTOM)
        return round(x, 1), round(y, 1)

    parts = _axes(place, low, high, sorted({s for s, _ in known}))
    for i, (label, points) in enumerate(series.items()):
        parts += _curve(i, label, [place(s, e) for s, e in points if math.isfinite(e)])
    return "\n".join([*parts, "</svg>", ""])


def _axes(place: Callable[[float, float], tuple[float, float]], low: int, high: int, steps: Sequence[int]) -> list[str]:
    """The empty chart: its frame, a line for each power of ten of the error, and the numbers of steps."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    every = max(1, round((high - low) / 8))
    for power in range(low, high + 1, every):
        y = place(steps[0], 10.0**power)[1]
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">1e{power}</text>')
    for count in steps:
        x, y = place(count, 10.0**low)
        parts.append(f'<text x="{x}" y="{y + 20}" text-anchor="middle">{count}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">steps</text>')
    parts.append(
        f'<text x="16" y="{HEIGHT / 2}" transform="rotate(-90 16 {HEIGHT / 2})" text-anchor="middle">MSE per dimension</text>'
    )
    return parts


def _curve(i: int, label: str, points: Sequence[tuple[float, float]]) -> list[str]:
    """The curve of series i and its line in the legend; the first series is the paper's."""
    colour, dashes = ("#111827", ' stroke-dasharray="6 4"') if i == 0 else (COLOURS[(i - 1) % len(COLOURS)], "")
    path = "L".join(f"{x} {y}" for x, y in points)
    left, down = WIDTH - RIGHT + 20, TOP + 14 + 24 * i
    return [
        f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>',
        *(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points),
        f'<path d="M{left} {down - 4}h22" stroke="{colour}" stroke-width="2"{dashes}/>',
        f'<text x="{left + 30}" y="{down}">{escape(label)}</text>',
    ]
