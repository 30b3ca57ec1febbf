"""A model's analytic variance, estimated on a folder of pictures: V_t = E|x0 - pred_x0|^2 a dimension, at every train timestep.

It comes of the evaluations that the variational bound is made of, so the same ones say what each variance costs in bits.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ddim_app.diffusion import elbo
from ddim_app.diffusion.term_sampling import Design, Evaluation
from ddim_app.engine import Engine
from ddim_app.errors import FieldError, whole
from ddim_app.media.images import FORMATS, open_picture
from ddim_app.models.loading import Model
from ddim_app.models.variance_files import Residuals
from ddim_app.runs.likelihood import Bound, LikelihoodPlan, LikelihoodRecipe
from ddim_app.runs.sources import Source, of_image

VARIANCES = ("small", "large", "analytic")
TOLD_EVERY = 20
"""Pictures after which a line says how far it is."""
Tell = Callable[[str], None]


class VarianceEstimate(NamedTuple):
    """What was estimated, and what each variance costs on the pictures that it was estimated on."""

    residuals: Residuals
    bits: dict[str, float]
    """Bits per dimension of all transitions between noisy levels, terms t >= 1 of the bound, by variance."""
    refused: dict[str, str]
    """Files that could not be used, and why."""


def estimate(
    engine: Engine, folder: Path, recipe: LikelihoodRecipe, evaluations: int, limit: int | None, tell: Tell
) -> VarianceEstimate:
    """Evaluates every timestep `evaluations` times, each time with another picture as long as there are; raises FieldError.

    Pictures are noised and predictions treated by the settings of `recipe`, which names the model.
    """
    whole("evaluations", evaluations, 2, 1000)
    model = engine.model(recipe.model)
    if model.schedule.alphas_cumprod[-1] == 0 and model.schedule.prediction_type == "epsilon":
        raise FieldError("model", "predicts epsilon at a level without signal, where that says nothing of the picture")
    sources, refused = _sources(folder, model, limit)
    T = model.schedule.num_train_timesteps
    found: list[list[tuple[float, float, float]]] = [[] for _ in range(T)]
    for i, source in enumerate(sources):
        bound = _measured(engine, model, recipe, source, i, designs(T, evaluations, len(sources), i))
        rows = zip(*(bound.column(name).tolist() for name in ("distance", "small", "large")), strict=True)
        for asked, row in zip(bound.design, rows, strict=True):
            found[asked.t].append(row)
        if (i + 1) % TOLD_EVERY == 0 or i + 1 == len(sources):
            tell(f"{i + 1} of {len(sources)} pictures")
    columns = np.array(found)  # (T, evaluations, 3)
    distance = columns[:, :, 0]
    residuals = Residuals(
        model.sha256, tuple(np.minimum(distance.mean(1), model.schedule.clip_range**2).tolist()),
        tuple((distance.std(1, ddof=1) / math.sqrt(evaluations)).tolist()), recipe.clip, len(sources), evaluations,
    )  # fmt: skip
    return VarianceEstimate(residuals, _bits(model, residuals, columns.mean(1)), refused)


def designs(T: int, evaluations: int, pictures: int, i: int) -> Design:
    """What picture i is evaluated at, so that the pictures take turns over the timesteps: evaluation j of t is of picture
    (t evaluations + j) modulo their number, by a further noise draw where it is a picture's second at that t."""
    return tuple(
        Evaluation(t, j // pictures, 1.0, t)
        for t in range(T) for j in range((i - t * evaluations) % pictures, evaluations, pictures)
    )  # fmt: skip


def lines(found: VarianceEstimate, every: int = 100) -> list[str]:
    """A table of V_t at some timesteps, and of what the variances cost."""
    residuals, T = found.residuals, len(found.residuals.values)
    some = sorted({*range(0, T, every), *(t for t in (1, 10, T - 1) if t < T)})
    text = [f"{'t':>6}{'V_t':>14}{'standard error':>16}"]
    text += [f"{t:>6}{residuals.values[t]:>14.6f}{residuals.errors[t]:>16.6f}" for t in some]
    text += ["", "bits/dim of the terms t >= 1 on these pictures, eta 1, all timesteps"]
    return text + [f"  {name:12}{bits:.4f}" for name, bits in found.bits.items()]


def _bits(model: Model, residuals: Residuals, means: np.ndarray) -> dict[str, float]:
    """The terms t >= 1 by each variance; means (T, 3) holds V_t before any bound, and the terms with both fixed variances."""
    table, T = elbo.variances(model.schedule), len(means)
    small, analytic = table["small"][1:], elbo.analytic(model.schedule, residuals.values)[1:]
    of_x0 = elbo.analytic(model.schedule, [1.0] * T)[1:] - small  # squared
    apart = of_x0 * torch.from_numpy(means[1:, 0])  # of the means, squared, a dimension
    own = 0.5 * (small / analytic - 1 - (small / analytic).log() + apart / analytic)  # elbo.gaussian_kl, a dimension
    dimensions = math.prod(model.shape)
    fixed = {name: float(means[1:, column].sum()) / dimensions for column, name in ((1, "small"), (2, "large"))}
    return {name: nats / math.log(2) for name, nats in (fixed | {"analytic": float(own.sum())}).items()}


def _measured(engine: Engine, model: Model, recipe: LikelihoodRecipe, source: Source, i: int, design: Design) -> Bound:
    settings: dict[str, Any] = {"pictures": (source,), "seed": i}
    own = LikelihoodRecipe(**{name: getattr(recipe, name) for name in ("model", "clip", "precision", "class_label")}, **settings)
    x0 = source.tensor(model.shape)
    bounds: Sequence[Bound] = engine.run(
        LikelihoodPlan(own, (model,), x0, design, model.classes.asked(recipe.class_label))
    ).result  # fmt: skip
    return bounds[0]


def _sources(folder: Path, model: Model, limit: int | None) -> tuple[list[Source], dict[str, str]]:
    """The pictures of a folder and its subfolders, and the files that are none."""
    if not folder.is_dir():
        raise FieldError("images", f"must be a folder; there is none called {folder}")
    sources: list[Source] = []
    refused: dict[str, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        if len(sources) == limit:
            break
        try:
            sources.append(of_image(open_picture(path), model.shape))
        except ValueError as reason:
            refused[path.name] = str(reason)
    if not sources:
        raise FieldError("images", f"must hold pictures in one of the formats {', '.join(FORMATS)}; {folder} has none")
    return sources, refused
