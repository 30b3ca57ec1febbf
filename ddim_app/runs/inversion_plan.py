"""Inversion as a run of the engine."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ddim_app.diffusion import exact_inversion, naive_inversion
from ddim_app.diffusion.batch_sizes import BUCKETS, bucket_of
from ddim_app.diffusion.fixed_point_inversion import fixed_point
from ddim_app.diffusion.latent_paths import slerp
from ddim_app.diffusion.lockstep import in_lockstep
from ddim_app.diffusion.naive_inversion import AskedNetwork, InversionMove
from ddim_app.diffusion.noise import BrownianPath, keyed_noise, noise_key, picture_seed
from ddim_app.diffusion.sampler import Draw, Process, Query, relay
from ddim_app.diffusion.schedule import Level
from ddim_app.lazy import Tensor, torch
from ddim_app.runs.base import ArmCost, Asked, KeptEvents, Load, Plan, rows_in_step
from ddim_app.runs.inversion import STOCHASTIC, InvertRecipe
from ddim_app.runs.inversion_routes import InversionRoute, check_models, route_of
from ddim_app.runs.latent_files import Latent

BETWEEN = (0.25, 0.5, 0.75)
"""Places of the latents that the self-interpolation test decodes, from the true x_T (0) to the one that was found (1)."""


WAYS = {"sample": "of making the picture", "up": "on the way up", "down": "on the way down", "between": "between the latents"}
"""What an error says of the phases of a run."""


class InversionStep(NamedTuple):
    """All pictures of an arm after one transition, on the way up or down."""

    arm: int
    """-1 while the model makes the pictures to start from."""
    k: int
    """0-based number of the round of network calls."""
    phase: str
    """"sample", "up", "down" or "between"."""
    step: int
    """0-based number of the transition on that way, of `steps`."""
    steps: int
    level: Level
    x: Tensor
    """(pictures, C, H, W)."""
    pred_x0: Tensor
    residual: float | None
    """The largest root mean square residual of the pictures in a fixed-point step; None for other methods."""

    @property
    def is_finite(self) -> bool:
        return math.isfinite(float(self.x.sum()))


class InversionResult(NamedTuple):
    """The result of an arm; all tensors are on the CPU."""

    arm: int
    k: int
    original: Tensor
    """(pictures, C, H, W), as it went in."""
    latent: Latent
    back: Tensor
    """The reconstruction, before any clamping."""
    evaluations: tuple[int, int]
    """NFE per picture, up and down."""
    residuals: tuple[float, ...]
    """The largest residual of the pictures in each fixed-point step, from the clean picture up."""
    noise_stds: tuple[float, ...]
    """Standard deviation of the noise of each step that was solved for, from the noisiest down."""
    without_residual: Tensor | None
    """The reconstruction of a stochastic method when the last step's residual is left out."""
    true_latent: Tensor | None
    """The x_T that the pictures were made from, where it is known and the arm's to find."""
    between: Tensor | None
    """(BETWEEN, pictures, C, H, W): what DDIM makes of latents between `true_latent` and the latent that was found."""
    seconds: float
    """Seconds from the start of the run to the end of this arm, which may have shared its calls with other arms."""

    @property
    def is_finite(self) -> bool:
        return True


@dataclass(frozen=True)
class InvertPlan(Plan):
    """The plan of an InvertRecipe."""

    recipe: InvertRecipe
    routes: tuple[InversionRoute, ...]

    @property
    def pictures(self) -> int:
        return len(self.recipe.sources)

    @property
    def seeds(self) -> list[int]:
        """Which pictures the model makes itself."""
        return [i for i, source in enumerate(self.recipe.sources) if not source.is_picture]

    @property
    def sampled(self) -> int:
        """Network evaluations that sample one picture of a seed."""
        return len(self.routes[0].grid) - 1 if self.seeds else 0

    def classes(self, number: int) -> tuple[int, ...]:
        """The class of each picture for the encoder's network (0) or the decoder's (-1), of a model that has classes."""
        known, label = self.models[number].classes, self.recipe.class_label
        return tuple(y for source in self.recipe.sources for y in known.asked(label, seed=source.seed))

    def knows(self, route: InversionRoute) -> bool:
        """Whether the true x_T of the pictures is known for this route."""
        single = route.arm.method not in ("sdedit", *STOCHASTIC)
        return len(self.seeds) == self.pictures and route.up == self.routes[0].grid and single

    def interpolates(self, route: InversionRoute) -> bool:
        return self.recipe.self_interpolation and self.knows(route)

    @property
    def arms(self) -> list[ArmCost]:
        return [ArmCost(self.pictures, sum(route.nfe)) for route in self.routes]

    def steps(self) -> Iterator[Sequence[Asked]]:
        yield from rows_in_step([(range(self.sampled), 0, len(self.seeds))])
        spans, decoder = [], len(self.models) - 1
        for route in self.routes:
            up, down = route.nfe
            between = len(route.down) - 1 if self.interpolates(route) else 0
            spans += [
                (range(up), 0, self.pictures),
                (range(up, up + down), decoder, self.pictures),
                (range(up + down, up + down + between), decoder, self.pictures * len(BETWEEN)),
            ]
        yield from rows_in_step(spans)

    def process(self, device: "torch.device") -> Process:
        """All arms in lockstep, once the model has made the pictures of seeds."""
        began = time.perf_counter()
        dtype = torch.float64 if self.recipe.precision == "fp64" else torch.float32
        start = torch.cat([source.tensor(self.model.shape) for source in self.recipe.sources]).to(device, dtype)
        x0 = start
        if self.seeds:
            grid, made = self.routes[0].grid, torch.tensor(self.seeds, device=device)
            network = self._network(0)
            network = network._replace(classes=[network.classes[i] for i in self.seeds if network.classes])
            sampling = ArmLog(-1).relay(naive_inversion.down(start[made], grid, network), "sample", len(grid) - 1)
            pictures = yield from in_lockstep([sampling])
            x0 = start.index_copy(0, made, pictures[0].clamp(-1, 1) if self.recipe.clamped else pictures[0])
        yield from in_lockstep([self._arm(i, x0, start, began) for i in range(len(self.routes))], self.sampled)

    def frames(self, report: InversionStep | InversionResult) -> Iterator[InversionStep | InversionResult]:
        if isinstance(report, InversionStep):
            report = report._replace(x=report.x.cpu(), pred_x0=report.pred_x0.cpu())
        yield report

    def collector(self) -> KeptEvents:
        return KeptEvents(InversionResult)

    def _arm(self, arm: int, x0: Tensor, start: Tensor, began: float) -> Process:
        """One arm, up and down, step by step and then its result; `start` holds the x_T of pictures of seeds."""
        route, log = self.routes[arm], ArmLog(arm)
        latent = yield from log.relay(self._up(route, x0), "up", len(route.up) - 1)
        up_nfe = log.evaluations
        back = yield from log.relay(self._down(route, latent), "down", len(route.down) - 1)
        evaluations = (up_nfe, log.evaluations - up_nfe)
        between = None
        if self.interpolates(route):
            ends = start.cpu(), _x(latent).cpu()
            x = torch.cat([slerp(*ends, [place] * len(start)) for place in BETWEEN]).to(start.device)
            network = self._network(-1)._replace(classes=self.classes(-1) * len(BETWEEN))
            drawn = yield from log.relay(naive_inversion.down(x, route.down, network), "between", len(route.down) - 1)
            between = drawn.view(len(BETWEEN), *x0.shape).cpu()
        yield InversionResult(
            arm, 0, x0.cpu(), self._latent(route, latent), back.cpu(), evaluations, tuple(log.residuals), tuple(log.noise_stds),
            (back - latent.residual).cpu() if isinstance(latent, exact_inversion.NoiseMap) else None,
            start.cpu() if self.knows(route) else None, between, time.perf_counter() - began,
        )  # fmt: skip

    def _up(self, route: InversionRoute, x0: Tensor) -> Process:
        arm, levels, network = route.arm, route.up, self._network(0)
        if arm.method in ("ddim-source", "ddim-target"):
            return naive_inversion.naive(x0, levels, network, arm.method.removeprefix("ddim-"))
        if arm.method == "fixed-point":
            return fixed_point(x0, levels, network, route.allotted, arm.tolerance)
        if arm.method in ("o-belm", "o-belm-single"):
            return exact_inversion.belm_up(x0, levels, network)
        noise, eta = self._noise(x0), float(arm.eta or 0)
        if arm.method == "sdedit":
            return _at_once(exact_inversion.independent(x0, levels[:1] + levels[-1:], noise)[0])
        drawn = (
            exact_inversion.independent(x0, levels, noise)
            if arm.method == "stochastic"
            else exact_inversion.chained(x0, levels, noise, eta)
        )
        return exact_inversion.noise_up(x0, drawn, levels, network, eta)

    def _down(self, route: InversionRoute, latent: Any) -> Process:
        network, eta = self._network(-1), float(route.arm.eta or 0)
        if isinstance(latent, exact_inversion.NoiseMap):
            return exact_inversion.noise_down(latent, route.down, network, eta)
        if route.arm.method == "o-belm":
            return exact_inversion.belm_down(latent, route.down, network)
        return naive_inversion.down(_x(latent), route.down, network, eta, self._draws() if eta else ())

    def _latent(self, route: InversionRoute, latent: Any) -> Latent:
        arm, tensors = route.arm, {"x": _x(latent).cpu()}
        if isinstance(latent, exact_inversion.NoiseMap):
            tensors |= {"noises": latent.noises.cpu(), "residual": latent.residual.cpu()}
        elif arm.method == "o-belm":
            tensors["second"] = latent.second.cpu()
        return Latent(
            **tensors, model=self.recipe.model, weights=self.model.sha256, timesteps=tuple(level.t for level in route.down[:-1]),
            eta=float(arm.eta or 0), recipe=replace(self.recipe, arms=(arm,)),
        )  # fmt: skip

    def _network(self, number: int) -> AskedNetwork:
        """The encoder's network (0) or the decoder's (-1)."""
        schedule = self.models[number].schedule
        return AskedNetwork(schedule.level(0), schedule.prediction_type, number % len(self.models), self.classes(number))

    def _noise(self, like: Tensor) -> exact_inversion.Noise:
        """Noise of each picture at each level, from the recipe's noise seed alone."""
        keys = [noise_key(picture_seed(self.recipe.noise_seed, i)) for i in range(self.pictures)]
        return lambda level: torch.stack([keyed_noise(key, level.t, self.model.shape) for key in keys]).to(like)

    def _draws(self) -> list[Draw]:
        """The step noise of each picture on the way down."""
        schedule, shape = self.models[-1].schedule, self.model.shape
        return [BrownianPath(schedule, shape, picture_seed(self.recipe.noise_seed, i)).between for i in range(self.pictures)]


@dataclass
class ArmLog:
    """Evaluations and residuals of one arm so far."""

    arm: int
    evaluations: int = 0
    residuals: list[float] = field(default_factory=list)
    noise_stds: list[float] = field(default_factory=list)

    def relay(self, process: Process, phase: str, steps: int) -> Process:
        """The process with its moves noted and reported as InversionSteps; returns the process's own result."""
        done = 0

        def asked(query: Query) -> Query:
            self.evaluations += 1
            return query._replace(where=f"step {done + 1} of {steps} {WAYS[phase]}")

        def report(move: InversionMove) -> InversionStep:
            nonlocal done
            done = move.k + 1
            residual = None if move.residual is None else float(move.residual.max())
            self.residuals += [] if residual is None else [residual]
            self.noise_stds += [] if move.noise is None else [float(move.noise.std())]
            return InversionStep(self.arm, 0, phase, move.k, steps, move.level, move.x, move.pred_x0, residual)

        return relay(process, report, asked)


def plan(recipe: InvertRecipe, load: Load) -> InvertPlan:
    """The recipe's plan on its models; raises FieldError when they cannot do what it asks for."""
    models = tuple(load(name) for name in recipe.models)
    check_models(models)
    for source in recipe.sources:
        source.tensor(models[0].shape)
    routes = tuple(route_of(arm, models[0].schedule, models[-1].schedule) for arm in recipe.arms)
    if recipe.precision == "fp64" and recipe.bucket is None:
        # What is exact in float64 is so only if the network says the same to the last bit on both ways.
        recipe = replace(recipe, bucket=min(bucket_of(len(recipe.sources) * len(routes)), BUCKETS[-1]))
    made = InvertPlan(recipe, models, routes)
    for number in (0, -1):
        made.classes(number)  # raises for a class that one of the models has not
    return made


def _x(latent: Any) -> Tensor:
    x: Tensor = latent if isinstance(latent, torch.Tensor) else latent.x
    return x


def _at_once(x: Tensor) -> Process:
    """A latent that takes no evaluation."""
    yield from ()
    return x
