"""How well pictures come back from their latents: one inversion's scores, and the table of error against steps.

The table is DDIM's Table 2 (arXiv:2010.02502), with more methods than its one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import NamedTuple

import numpy as np

from ddim_app.diffusion import gaussianity, metrics
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.lazy import Tensor
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs.inversion import METHODS, ONE_GRID, InversionArm, InvertRecipe
from ddim_app.runs.inversion_plan import InversionResult

TABLE_2 = {10: 0.014, 20: 0.0065, 50: 0.0023, 100: 0.0009, 200: 0.0004, 500: 0.0001, 1000: 0.0001}
"""Steps -> error of the paper's own CIFAR-10 model, encoded and decoded with as many, rounded to 0.0001."""

HEADER = (
    f"{'method':<17}{'steps':>6}{'NFE up':>8}{'down':>6}{'MSE':>10}{'worst':>10}{'8 bit':>10}{'latent std':>12}{'neighbours':>12}"
)
COLOURS = ("#0f766e", "#5eb3a6", "#1d4ed8", "#b45309", "#dc2626", "#7c3aed", "#a78bfa", "#6b7280")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 820, 470, 70, 20, 330, 50


class ReconstructionScores(NamedTuple):
    """How far one picture is from its reconstruction, on the [0, 1] scale."""

    mse: float
    """Per dimension, as in Table 2."""
    psnr: float | None
    """Peak signal-to-noise ratio in dB; None where nothing differs."""
    ssim: float
    """Window 7, range 1."""
    largest: float
    """The largest absolute difference of any value."""


def scores(original: Tensor, back: Tensor) -> list[ReconstructionScores]:
    """ReconstructionScores of each picture of (N, C, H, W) in [-1, 1], as they are."""
    mse, ssim = metrics.mse(original, back).tolist(), metrics.ssim(original, back).tolist()
    largest = ((original.double() - back.double()) / 2).abs().flatten(1).amax(1).tolist()
    decibels = [-10 * math.log10(value) if value > 0 and math.isfinite(value) else None for value in mse]
    return [ReconstructionScores(*each) for each in zip(mse, decibels, ssim, largest, strict=True)]


def scores_as_shown(original: Tensor, back: Tensor) -> list[ReconstructionScores]:
    """Scores after clamping to [-1, 1] and rounding to 8 bits, as pictures are shown and saved."""
    return scores(*(from_pixels(to_pixels(x), np.float64) for x in (original, back)))


@dataclass(frozen=True)
class TableLine:
    """One method at one step count: means over the pictures."""

    method: str
    steps: int
    nfe_up: int
    nfe_down: int
    mse: float
    mse_worst: float
    """The largest mean squared error of a picture."""
    mse_shown: float
    """Mean squared error after clamping and rounding to 8 bits."""
    mse_without_residual: float | None
    """Mean squared error of a stochastic method without its last step's residual; None for other methods."""
    latent_std: float
    neighbours: float
    """Correlation of neighbouring pixels of the latent."""
    residual: float | None
    """The largest residual of the fixed-point steps; None for other methods."""
    cosine: float | None
    """Cosine of the angle to the x_T that the pictures were made from, where it is known."""


def invert(engine: Engine, recipe: InvertRecipe) -> list[InversionResult]:
    """What each arm of the recipe comes to, in the order of the arms. Raises FieldError, or RunError midway."""
    results: list[InversionResult] = engine.run(recipe).result
    return results


def curve(
    engine: Engine, recipe: InvertRecipe, steps: Sequence[int], methods: Sequence[str] = tuple(METHODS)
) -> Iterator[tuple[InversionArm, InversionResult]]:
    """What each method comes to, step count by step count; the recipe's only arm has what they have in common.

    Methods that cannot be run at a step count (the exact pair at 1) are left out there.
    """
    for count in steps:
        chosen = tuple(arms(recipe.arms[0], methods, count))
        yield from zip(chosen, invert(engine, replace(recipe, arms=chosen)), strict=True)


def arms(common: InversionArm, methods: Sequence[str], steps: int) -> list[InversionArm]:
    """The methods at a step count, each with as much of what is common to them as it takes."""
    made = []
    for method in methods:
        if method.startswith("o-belm") and round(common.strength * steps) < 2:
            continue
        made.append(
            replace(
                common, method=method, steps=steps, eta=None if common.eta == 0 or method == "o-belm" else common.eta,
                decode_steps=None if method in ONE_GRID else common.decode_steps,
                evaluations=common.evaluations if method == "fixed-point" else None,
            )
        )  # fmt: skip
    if not made:
        raise FieldError("steps", f"must be 2 or more for {', '.join(methods)}")
    return made


def line(arm: InversionArm, result: InversionResult) -> TableLine:
    """What the table has of one arm."""
    each, shown = scores(result.original, result.back), scores_as_shown(result.original, result.back)
    looks = gaussianity.look(result.latent.x)
    bare = None if result.without_residual is None else metrics.mse(result.original, result.without_residual).mean().item()
    same = None if result.true_latent is None else _mean(gaussianity.cosine(result.latent.x, result.true_latent))
    return TableLine(
        arm.method, arm.steps, *result.evaluations, _mean([s.mse for s in each]), max(s.mse for s in each),
        _mean([s.mse for s in shown]), bare, _mean([look.std for look in looks]), _mean([look.neighbours for look in looks]),
        max(result.residuals, default=None), same,
    )  # fmt: skip


def parse_steps(text: str) -> list[int]:
    """Step counts given as "10, 20, 50"; raises FieldError."""
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and 0 < int(word) < 100_000 for word in words):
        raise FieldError("steps", f"must be whole numbers such as 10, 20, 50; got {text[:60]!r}")
    return [int(word) for word in words]


def parse_methods(text: str) -> list[str]:
    """Methods given as "fixed-point, o-belm"; none means all. Raises FieldError."""
    words = text.replace(",", " ").split()
    for word in words:
        if word not in METHODS:
            raise FieldError("methods", f"must be of {', '.join(METHODS)}; got {word[:60]!r}")
    return list(dict.fromkeys(words)) or list(METHODS)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# ---- as text, and as a curve in an SVG file ---------------------------------------------------------------------------


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
        points = sorted((line.steps, line.mse) for line in lines if line.method == method and 0 < line.mse < math.inf)
        series |= {label: points} if points else {}
    steps, errors = (sorted({point[i] for points in series.values() for point in points}) or [1] for i in (0, 1))
    low, high = math.floor(math.log10(errors[0])), math.ceil(math.log10(errors[-1]))

    def place(count: float, error: float) -> tuple[float, float]:
        x = math.log(count / steps[0]) / max(math.log(steps[-1] / steps[0]), 1e-9)
        y = (high - math.log10(error)) / max(high - low, 1)
        return round(LEFT + x * (WIDTH - LEFT - RIGHT), 1), round(TOP + y * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "steps", "middle"),
        _text(-HEIGHT / 2, 16, "MSE per dimension", "middle", ' transform="rotate(-90)"'),
    ]
    for power in range(low, high + 1, max(1, round((high - low) / 8))):
        y = place(steps[0], 10.0**power)[1]
        parts += [f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>', _text(LEFT - 8, y + 4, f"1e{power}", "end")]
    parts += [_text(place(count, 1)[0], HEIGHT - BOTTOM + 20, f"{count}", "middle") for count in steps]
    for i, (label, points) in enumerate(series.items()):
        colour, dashes = (COLOURS[(i - 1) % len(COLOURS)], "") if i else ("#111827", ' stroke-dasharray="6 4"')
        dots, left, down = [place(*point) for point in points], WIDTH - RIGHT + 20, TOP + 14 + 24 * i
        curves = [" ".join(f"{x},{y}" for x, y in dots), f"{left},{down - 4} {left + 22},{down - 4}"]
        parts += [f'<polyline points="{curve}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>' for curve in curves]
        parts += [*(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in dots), _text(left + 30, down, label)]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(words)}</text>'
