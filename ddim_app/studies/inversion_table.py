"""How well pictures come back from their latents: one inversion's scores, and the table of error against steps.

The table is DDIM's Table 2 (arXiv:2010.02502), with more methods than its one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ddim_app.diffusion import gaussianity, metrics
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs.inversion import METHODS, InversionArm, InvertRecipe
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.sources import Source

TABLE_2 = {10: 0.014, 20: 0.0065, 50: 0.0023, 100: 0.0009, 200: 0.0004, 500: 0.0001, 1000: 0.0001}
"""Steps -> error of the paper's own CIFAR-10 model, encoded and decoded with as many, rounded to 0.0001."""


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
    done = {frame.arm: frame for frame in engine.run(recipe) if isinstance(frame, InversionResult)}
    return [done[arm] for arm in range(len(recipe.arms))]


def curve(
    engine: Engine,
    sources: Sequence[Source],
    steps: Sequence[int],
    methods: Sequence[str] = tuple(METHODS),
    *,
    common: InversionArm | None = None,
    **settings: Any,
) -> Iterator[TableLine]:
    """The table's lines, step count by step count, for pictures taken together.

    `common` has what the methods have in common; `settings` are an InvertRecipe's. Methods that cannot be run at a step count (the
    exact pair at 1) are left out there.
    """  # fmt: skip
    for count in steps:
        chosen = arms(common or InversionArm(), methods, count)
        recipe = InvertRecipe(sources=tuple(sources), arms=tuple(chosen), **settings)
        for arm, result in zip(chosen, invert(engine, recipe), strict=True):
            yield line(arm, result)


def arms(common: InversionArm, methods: Sequence[str], steps: int) -> list[InversionArm]:
    """The methods at a step count, each with as much of what is common to them as it takes."""
    made = [_arm(asdict(common), method, steps) for method in methods]
    if not any(made):
        raise FieldError("steps", f"must be 2 or more for {', '.join(methods)}")
    return [arm for arm in made if arm is not None]


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


def _arm(common: dict[str, Any], method: str, steps: int) -> InversionArm | None:
    if method.startswith("o-belm") and round(common["strength"] * steps) < 2:
        return None
    values = {**common, "method": method, "steps": steps}
    if values["eta"] == 0 or method == "o-belm":
        values["eta"] = None
    if method in ("o-belm", "stochastic", "stochastic-chain"):
        values["decode_steps"] = None
    if values["evaluations"] is not None and method != "fixed-point":
        values["evaluations"] = None
    return InversionArm(**values)


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
