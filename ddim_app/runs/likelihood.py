"""Runs that measure the variational bound of pictures: recipe, plan, and what comes of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np

from ddim_app.diffusion import elbo, formulas, term_sampling
from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.noise import MAX_SEED, keyed_noise, picture_seed
from ddim_app.diffusion.sampler import Process, Query, Report
from ddim_app.diffusion.schedule import Schedule
from ddim_app.diffusion.term_sampling import Design, Evaluation
from ddim_app.errors import FieldError, choice, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.runs.base import ArmCost, Asked, BaseRecipe, Load, Plan, put
from ddim_app.runs.sampling import MAX_PICTURES
from ddim_app.runs.sources import Source

MODES = ("quick", "full")
MOST_DRAWS = 16
BATCH = 64
"""Rows that a run asks for together."""
_CODING_NOISE = 0xC0DE
"""Third word of the noise key, so that it is no step noise of the same seed."""


@dataclass(frozen=True, kw_only=True)
class LikelihoodRecipe(BaseRecipe):
    """The bound of `pictures`; a recipe without any holds the settings for others.

    "quick" makes `evaluations` of each picture, "full" evaluates every term with `draws` noise draws.

    `clip` treats pred_x0 as when pictures are drawn. Both variances and both decoders come out of the same evaluations.
    Precision is fp32 unless asked otherwise, since a bound in bf16 is that of another network.
    """

    kind = "likelihood"

    pictures: tuple[Source, ...] = field(default=())
    mode: str = "quick"
    evaluations: int = 100
    draws: int = 2
    seed: int = 0
    clip: str = "clip"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        choice("mode", self.mode, MODES)
        put(self, "evaluations", whole("evaluations", self.evaluations, term_sampling.LEAST, 1000))
        put(self, "draws", whole("draws", self.draws, 2, MOST_DRAWS))
        put(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        choice("clip", self.clip, CLIP_RULES)
        if len(self.pictures) > MAX_PICTURES:
            raise FieldError("pictures", f"must be 1 to {MAX_PICTURES} pictures; got {len(self.pictures)}")
        if any(source.png is None for source in self.pictures):
            raise FieldError("pictures", "must be 8-bit pictures, since the bound counts the bits of their 256 values")

    @classmethod
    def from_values(cls, values: Any) -> Self:
        return cls(**{**values, "pictures": tuple(map(Source.from_values, values["pictures"]))})


class TermBatch(NamedTuple):
    """A batch of evaluated terms of one picture; a row each."""

    k: int
    """0-based number of the batch in the run."""
    picture: int
    first: int
    """Place of its first row in the design."""
    values: Tensor
    """(n, len(COLUMNS)) float64, on the CPU."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(float(self.values.sum()))


COLUMNS = ("small", "large", "beta", "distance", "simple")
"""Term in nats with the variance small and large (at t = 0 of the posterior's decoder), L_0 with beta_1's (0 at other t), mean
square distance of pred_x0 to the picture, and of eps to the noise, which is L_simple."""


@dataclass(frozen=True)
class LikelihoodPlan(Plan):
    """The plan of a LikelihoodRecipe."""

    recipe: LikelihoodRecipe
    x0: Tensor
    """The pictures, (N, C, H, W)."""
    design: Design
    classes: tuple[int, ...] = ()
    """The class of the pictures, of a model that has classes."""

    @property
    def pictures(self) -> int:
        return len(self.x0)

    @property
    def arms(self) -> list[ArmCost]:
        return [ArmCost(len(self.x0), len(self.design))]

    @property
    def batches(self) -> int:
        """Batches of evaluations for one picture."""
        return math.ceil(len(self.design) / BATCH)

    def steps(self) -> Iterator[Sequence[Asked]]:
        for _ in self.x0:
            for first in range(0, len(self.design), BATCH):
                yield [{0: len(self.design[first : first + BATCH])}]

    def process(self, device: "torch.device") -> Process:
        """Batch after batch of each picture's timesteps."""
        schedule, dtype = self.model.schedule, torch.float64 if self.recipe.precision == "fp64" else torch.float32
        for i, x0 in enumerate(self.x0):
            keys = [_key(picture_seed(self.recipe.seed, i), draw) for draw in range(max(e.draw for e in self.design) + 1)]
            for first in range(0, len(self.design), BATCH):
                part = self.design[first : first + BATCH]
                noise = torch.stack([keyed_noise(keys[e.draw], e.t, self.model.shape) for e in part])
                t = torch.tensor([e.t for e in part])
                x_t = formulas.add_noise(x0.to(dtype).expand_as(noise), noise.to(dtype), schedule.alphas_cumprod[t])
                output = yield Query(x_t.to(device), t.tolist(), classes=self.classes * len(t))
                values = measure(x0, noise, x_t, output.cpu().to(dtype), t, schedule, self.recipe.clip)
                yield TermBatch(i * self.batches + first // BATCH, i, first, values)

    def frames(self, report: Report) -> Iterator[TermBatch]:
        assert isinstance(report, TermBatch)
        yield report

    def collector(self) -> "TermCollector":
        return TermCollector(self)


def plan(recipe: LikelihoodRecipe, load: Load) -> LikelihoodPlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    if not recipe.pictures:
        raise FieldError("pictures", f"must be 1 to {MAX_PICTURES} pictures; got none")
    model = load(recipe.model)
    schedule = model.schedule
    if schedule.alphas_cumprod[-1] == 0 and schedule.prediction_type == "epsilon":
        raise FieldError("model", "has no bound: its last level holds no picture, of which a network of epsilon says nothing")
    x0 = torch.cat([source.tensor(model.shape) for source in recipe.pictures])
    T = schedule.num_train_timesteps
    if recipe.mode == "full":
        design = term_sampling.full(T, recipe.draws)
    else:
        design = term_sampling.quick(T, recipe.evaluations, _key(recipe.seed, MAX_SEED))
    return LikelihoodPlan(recipe, (model,), x0, design, model.classes.asked(recipe.class_label))


def measure(x0: Tensor, noise: Tensor, x_t: Tensor, output: Tensor, t: Tensor, schedule: Schedule, clip: str) -> Tensor:
    """The COLUMNS of rows x_t (n, C, H, W) of one picture x0 (C, H, W), by what the network gave out for them."""
    pred_x0, eps = formulas.denoise(output, x_t, schedule.alphas_cumprod[t], schedule.prediction_type)
    pred_x0 = formulas.clipped(pred_x0, clip, schedule.clip_range)
    picture = x0.expand_as(pred_x0)
    values = torch.zeros(len(t), len(COLUMNS), dtype=torch.float64)
    for column, variance in enumerate(("small", "large")):
        values[:, column] = elbo.transition(picture, pred_x0, schedule, t, variance)
    for row in (t == 0).nonzero().flatten().tolist():
        losses = [
            float(elbo.decoder_loss(x0[None], pred_x0[row : row + 1], elbo.decoder_variance(schedule, decoder)))
            for decoder in elbo.DECODERS
        ]
        values[row, :3] = torch.tensor([losses[0], losses[0], losses[1]], dtype=torch.float64)
    values[:, 3] = (picture.double() - pred_x0.double()).flatten(1).square().mean(1)
    values[:, 4] = (noise.double() - eps.double()).flatten(1).square().mean(1)
    return values


@dataclass(frozen=True)
class Bound:
    """The bound of one picture in bits per dimension, with everything that it is made of."""

    design: Design
    values: np.ndarray
    """(evaluations, len(COLUMNS)), in nats."""
    prior: float
    """L_T in bits per dimension."""
    dimensions: int

    def terms(self, variance: str, decoder: str = "posterior") -> np.ndarray:
        """Bits per dimension of every evaluation."""
        terms = self.column(variance).copy()
        if decoder == "beta":
            first = np.array([evaluation.t == 0 for evaluation in self.design])
            terms[first] = self.column("beta")[first]
        scaled: np.ndarray = terms / (self.dimensions * math.log(2))
        return scaled

    def column(self, name: str) -> np.ndarray:
        column: np.ndarray = self.values[:, COLUMNS.index(name)]
        return column

    def total(self, variance: str = "small", decoder: str = "posterior") -> tuple[float, float]:
        """(bits per dimension, standard error)."""
        bits, error = term_sampling.total(self.design, self.terms(variance, decoder))
        return bits + self.prior, error

    def rate(self, variance: str = "small") -> float:
        """L_T and all terms but L_0."""
        return self.total(variance)[0] - self.distortion()

    def distortion(self, decoder: str = "posterior") -> float:
        """L_0."""
        return self.by_t(self.terms("small", decoder))[0]

    @property
    def rmse(self) -> float:
        """Distance of the picture decoded from x_1, on 0..255."""
        return 127.5 * math.sqrt(self.by_t(self.column("distance"))[0])

    def by_t(self, values: np.ndarray) -> dict[int, float]:
        """Mean over the draws at each evaluated timestep."""
        return term_sampling.means(self.design, values)

    def curve(self, variance: str = "small") -> list[tuple[int, float, float]]:
        """(t, rate once x_t is sent, RMSE of pred_x0(x_t) on 0..255) at the evaluated timesteps, noisiest first."""
        terms, distances = self.terms(variance), self.by_t(self.column("distance"))
        spent, points = self.prior, []
        by_timestep: dict[int, float] = {}
        for evaluation, term in zip(self.design, terms.tolist(), strict=True):
            by_timestep[evaluation.t] = by_timestep.get(evaluation.t, 0.0) + evaluation.weight * term
        for t in sorted(by_timestep, reverse=True):
            points.append((t, spent, 127.5 * math.sqrt(distances[t])))
            spent += by_timestep[t]
        return points


class TermCollector:
    """Puts a run's frames together to the pictures' bounds."""

    def __init__(self, planned: LikelihoodPlan) -> None:
        self._plan = planned
        rows = (len(planned.x0), len(planned.design), len(COLUMNS))
        self._values, self._done = np.zeros(rows), np.zeros(rows[:2], dtype=bool)

    def add(self, terms: TermBatch) -> None:
        rows = slice(terms.first, terms.first + len(terms.values))
        self._values[terms.picture, rows] = terms.values.numpy()
        self._done[terms.picture, rows] = True

    @property
    def dimensions(self) -> int:
        """Values of one picture."""
        return self._plan.x0[0].numel()

    def evaluated(self, picture: int = 0) -> list[tuple[Evaluation, np.ndarray]]:
        """What is there of a picture, complete or not."""
        done = self._done[picture]
        pairs = zip(self._plan.design, self._values[picture], done, strict=True)
        return [(evaluation, values) for evaluation, values, there in pairs if there]

    @property
    def result(self) -> list[Bound]:
        """The bounds of the pictures whose terms have all been evaluated."""
        schedule = self._plan.model.schedule
        dimensions, last = self.dimensions, schedule.level(schedule.num_train_timesteps - 1)
        priors = elbo.bits(elbo.prior(self._plan.x0, last.alpha_bar), dimensions)
        return [
            Bound(self._plan.design, self._values[i], float(priors[i]), dimensions)
            for i in range(len(self._plan.x0))
            if self._done[i].all()
        ]


def with_picture(recipe: LikelihoodRecipe, source: Source) -> LikelihoodRecipe:
    """The recipe of the same measurement for another picture."""
    return replace(recipe, pictures=(source,))


def _key(seed: int, draw: int) -> np.ndarray:
    return np.random.SeedSequence([seed, draw, _CODING_NOISE]).generate_state(2, np.uint64)
