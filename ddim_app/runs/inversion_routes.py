"""The levels that each arm of an inversion visits on its models' schedules, up and down."""

from dataclasses import dataclass

from ddim_app.diffusion.fixed_point_inversion import allotment
from ddim_app.diffusion.naive_inversion import reachable
from ddim_app.diffusion.schedule import Level, Schedule
from ddim_app.errors import FieldError, whole
from ddim_app.lazy import torch
from ddim_app.models.loading import Model
from ddim_app.runs.inversion import BUDGET_PER_STEP, InversionArm


@dataclass(frozen=True)
class InversionRoute:
    """The levels of an InversionArm on its models' schedules."""

    arm: InversionArm
    grid: list[Level]
    """All levels of the arm's steps that pictures can be taken up to, noisiest first."""
    up: list[Level]
    """The levels that the arm visits on the way up, noisiest first."""
    down: list[Level]
    allotted: tuple[int, ...] = ()
    """The fixed-point method's evaluations for each step up."""

    @property
    def nfe(self) -> tuple[int, int]:
        """Evaluations per picture, up and down, at most."""
        up, down, method = len(self.up) - 1, len(self.down) - 1, self.arm.method
        if method == "fixed-point":
            return sum(self.allotted), down
        return 0 if method == "sdedit" else up, down - 1 if method == "o-belm" else down


def route_of(arm: InversionArm, encoder: Schedule, decoder: Schedule) -> InversionRoute:
    """The arm's levels; raises FieldError where the schedules have none for it."""
    T = encoder.num_train_timesteps
    whole("steps", arm.steps, 1, T)
    grid = _grid(arm.steps, arm.spacing, encoder)
    up = reachable(grid, arm.strength)
    if arm.method in ("o-belm", "o-belm-single") and len(up) < 3:
        raise FieldError(
            "steps", f"must leave O-BELM two transitions or more: it needs two levels above the clean one; got {len(up) - 1}"
        )
    down = up
    if arm.decode_steps is not None:
        whole("decode_steps", arm.decode_steps, 1, T)
        down = [up[0], *(level for level in _grid(arm.decode_steps, arm.spacing, decoder) if level.alpha_bar > up[0].alpha_bar)]
    allotted: tuple[int, ...] = ()
    if arm.method == "fixed-point":
        least, steps = len(up) - 1, len(up) - 1
        whole("evaluations", BUDGET_PER_STEP * steps if arm.evaluations is None else arm.evaluations, least)
        allotted = allotment(steps, arm.evaluations or BUDGET_PER_STEP * steps)
    return InversionRoute(arm, grid, up, down, allotted)


def _grid(steps: int, spacing: str, schedule: Schedule) -> list[Level]:
    try:
        # v and x0 say what the picture is at ab = 0, but not how to get there; epsilon models refuse such lists.
        levels = reachable(schedule.levels(steps, spacing))
    except ValueError as error:
        raise FieldError("spacing", f"cannot be used: {error}") from error
    if len(levels) < 2:
        raise FieldError("steps", "must leave a level below pure noise: take more, or another spacing")
    return levels


def check_models(models: tuple[Model, ...]) -> None:
    first, last = models[0], models[-1]
    if first.shape != last.shape:
        sizes = " and ".join("x".join(map(str, model.shape)) for model in (first, last))
        raise FieldError("decode_model", f"must make pictures of the encoder's size; these make {sizes}")
    ours, theirs = first.schedule.alphas_cumprod, last.schedule.alphas_cumprod
    if len(ours) != len(theirs) or not torch.allclose(ours, theirs, rtol=1e-6, atol=0):
        raise FieldError("decode_model", "must have the encoder's noise schedule: a latent means nothing on another one's levels")
