"""Latents brought down again: with another eta, more steps, another model, or their noise under another x_T."""

import base64
import binascii
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ddim_app.diffusion import exact_inversion, formulas, naive_inversion
from ddim_app.diffusion.lockstep import in_lockstep
from ddim_app.diffusion.naive_inversion import AskedNetwork
from ddim_app.diffusion.noise import MAX_SEED, BrownianPath, initial_noise, picture_seed
from ddim_app.diffusion.sampler import Process
from ddim_app.diffusion.schedule import Level
from ddim_app.errors import FieldError, choice, real, shown, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.models.loading import Model
from ddim_app.runs import latent_files
from ddim_app.runs.base import MAX_ETA, ArmCost, Asked, BaseRecipe, KeptEvents, Load, Plan, put, rows_in_step
from ddim_app.runs.inversion import PRECISIONS, InvertRecipe
from ddim_app.runs.inversion_plan import ArmLog, InversionStep
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.sources import Source

MAX_TEXT = 20_000_000


@dataclass(frozen=True, kw_only=True)
class DecodeRecipe(BaseRecipe):
    """A latent file (as base64) brought down by `model`.

    A single latent takes `eta` (its own unless given) and `steps` (its own levels unless given). A pair and a noise map belong to
    their levels and eta. A noise map may be used under another x_T: that of `seed`, or `edited`, a picture in place of the one
    that it was made from, whose noise is kept. `noise_seed` names the step noise of a single latent.
    """

    kind = "decode"

    latent: str
    eta: float | None = None
    steps: int | None = None
    seed: int | None = None
    edited: Source | None = None
    noise_seed: int = 0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        choice("precision", self.precision, PRECISIONS)
        super().__post_init__()
        if not isinstance(self.latent, str) or len(self.latent) > MAX_TEXT:
            raise FieldError("latent", f"must be base64 text of at most {MAX_TEXT} characters; got {shown(self.latent)}")
        if self.eta is not None:
            put(self, "eta", real("eta", self.eta, 0, MAX_ETA))
        if self.steps is not None:
            put(self, "steps", whole("steps", self.steps, 1))
        if self.seed is not None:
            put(self, "seed", whole("seed", self.seed, 0, MAX_SEED))
        if self.edited is not None:
            put(self, "edited", Source.from_values(self.edited))
            if self.seed is not None:
                raise FieldError("edited", "must not be given beside a seed: each of them takes the place of x_T")
        put(self, "noise_seed", whole("noise_seed", self.noise_seed, 0, MAX_SEED))

    def opened(self) -> Latent:
        """The latent of the file; raises FieldError."""
        try:
            return latent_files.load(base64.b64decode(self.latent, validate=True))
        except binascii.Error as error:
            raise FieldError("latent", "must be a latent file as base64") from error


def of_file(data: bytes, **settings: Any) -> DecodeRecipe:
    """The recipe of a latent file's bytes."""
    return DecodeRecipe(latent=base64.b64encode(data).decode("ascii"), **settings)


class Decoded(NamedTuple):
    """What a latent has come to, on the CPU."""

    k: int
    latent: Latent
    back: Tensor
    seconds: float
    arm: int = 0

    @property
    def is_finite(self) -> bool:
        return True


@dataclass(frozen=True)
class DecodePlan(Plan):
    """The plan of a DecodeRecipe."""

    recipe: DecodeRecipe
    latent: Latent
    levels: list[Level]
    eta: float
    classes: tuple[int, ...] = ()
    """The class of each latent, for a model that has classes."""

    @property
    def arms(self) -> list[ArmCost]:
        return [ArmCost(len(self.latent.x), len(self.levels) - 1 - (self.latent.kind == "pair"))]

    def steps(self) -> Iterator[Sequence[Asked]]:
        return rows_in_step([(range(arm.nfe), 0, arm.pictures) for arm in self.arms])

    def process(self, device: "torch.device") -> Process:
        yield from in_lockstep([self._run(device)])

    def frames(self, report: InversionStep | Decoded) -> Iterator[InversionStep | Decoded]:
        if isinstance(report, InversionStep):
            report = report._replace(x=report.x.cpu(), pred_x0=report.pred_x0.cpu())
        yield report

    def collector(self) -> KeptEvents:
        return KeptEvents(Decoded)

    def _run(self, device: "torch.device") -> Process:
        began = time.perf_counter()
        dtype = torch.float64 if self.recipe.precision == "fp64" else self.latent.x.dtype
        x, second, noises, residual = (
            None if tensor is None else tensor.to(device, dtype)
            for tensor in (self.latent.x, self.latent.second, self.latent.noises, self.latent.residual)
        )
        assert x is not None
        schedule = self.model.schedule
        network = AskedNetwork(schedule.level(0), schedule.prediction_type, 0, self.classes)
        if noises is not None and residual is not None:
            start = self._start(x)
            residual = residual if start is x else torch.zeros_like(residual)
            steps: Process = exact_inversion.noise_down(
                exact_inversion.NoiseMap(start, noises, residual), self.levels, network, self.eta
            )
        elif second is not None:
            steps = exact_inversion.belm_down(exact_inversion.LatentPair(x, second), self.levels, network)
        else:
            paths = [BrownianPath(schedule, self.model.shape, picture_seed(self.recipe.noise_seed, i)) for i in range(len(x))]
            steps = naive_inversion.down(x, self.levels, network, self.eta, [path.between for path in paths] if self.eta else ())
        back = yield from ArmLog(0).relay(steps, "down", self.transitions)
        yield Decoded(0, self.latent, back.cpu(), time.perf_counter() - began)

    def _start(self, x: Tensor) -> Tensor:
        """x_T, or what the recipe puts in its place."""
        if self.recipe.seed is not None:
            return initial_noise([picture_seed(self.recipe.seed, i) for i in range(len(x))], self.model.shape).to(x)
        if self.recipe.edited is not None:
            made = self.latent.recipe
            assert isinstance(made, InvertRecipe)
            before = torch.cat([source.tensor(self.model.shape) for source in made.sources]).to(x)
            ab = self.levels[0].alpha_bar
            return formulas.add_noise(self.recipe.edited.tensor(self.model.shape).to(x), formulas.predict_eps(x, before, ab), ab)
        return x


def plan(recipe: DecodeRecipe, load: Load) -> DecodePlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    model = load(recipe.model)
    latent = recipe.opened().check_shape(model.shape)
    T = model.schedule.num_train_timesteps
    if latent.timesteps[0] >= T:
        raise FieldError("latent", f"must lie on the model's {T} timesteps; it has {latent.timesteps[0]}")
    levels, eta = model.schedule.levels_at(latent.timesteps), latent.eta if recipe.eta is None else recipe.eta
    whole_latent = latent.kind != "single"
    if whole_latent and (eta != latent.eta or recipe.steps not in (None, len(latent.timesteps))):
        raise FieldError(
            "eta" if eta != latent.eta else "steps", f"must be its own for a {latent.kind} latent, which belongs to them"
        )
    if (recipe.seed is not None or recipe.edited is not None) and latent.kind != "stochastic":
        raise FieldError("seed", f"must not be given for a {latent.kind} latent: only a noise map can be used under another x_T")
    if recipe.edited is not None:
        recipe.edited.tensor(model.shape)
        sources = latent.recipe.sources if isinstance(latent.recipe, InvertRecipe) else ()
        if not sources or not all(source.is_picture for source in sources):
            raise FieldError("edited", "needs a latent that knows the picture it was made from")
    if not whole_latent and recipe.steps is not None:
        below = model.schedule.levels(whole("steps", recipe.steps, 1, T))
        levels = [levels[0], *(level for level in below if level.alpha_bar > levels[0].alpha_bar)]
    return DecodePlan(recipe, (model,), latent, levels, eta, _classes(recipe, latent, model))


def _classes(recipe: DecodeRecipe, latent: Latent, model: Model) -> tuple[int, ...]:
    """The class of each latent: the one that the recipe names, else that of the run that made it."""
    made, n = latent.recipe, len(latent.x)
    label = recipe.class_label or (made.class_label if made else None)
    seeds = [source.seed for source in getattr(made, "sources", ())]
    first = next((end.seed for end in getattr(made, "ends", ()) if end.seed is not None), None)
    return tuple(y for seed in (seeds if len(seeds) == n else [first] * n) for y in model.classes.asked(label, seed=seed))


def same(plan: DecodePlan) -> bool:
    """Whether the latent is brought down by the weights that it was made with."""
    return plan.latent.weights in (None, *plan.model.hashes)
