"""A recipe made ready to run: checked against its model, with the rows it samples and the frames that come of them."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ddim_app.latents import NoisePath, initial_noise, picture_seed
from ddim_app.model import Model
from ddim_app.recipe import Arm, FieldError, Recipe, whole
from ddim_app.sample import Process, Row, Step, sample
from ddim_app.schedule import Level, Schedule


class Plan(NamedTuple):
    """A checked recipe with everything that sampling it needs."""

    recipe: Recipe
    model: Model
    rows: list[Row]
    """How each arm samples one picture, its noise left out."""

    @property
    def evaluations(self) -> int:
        """Rows that the network evaluates in all."""
        return self.recipe.pictures * sum(row.transitions for row in self.rows)

    @property
    def transitions(self) -> int:
        """Steps of the longest arm."""
        return max(row.transitions for row in self.rows)

    def calls(self, max_rows: int) -> int:
        """Network calls that the run needs when it is alone and a call may have `max_rows` rows."""
        lengths = [row.transitions for row in self.rows]
        live = (self.recipe.pictures * sum(length > k for length in lengths) for k in range(max(lengths)))
        return sum(math.ceil(rows / max_rows) for rows in live)


class Frame(NamedTuple):
    """One arm after one transition, for all its pictures."""

    arm: int
    k: int
    """0-based number of the transition."""
    steps: int
    """How many transitions the arm has, which is also its NFE."""
    level: Level
    """The level that the network was asked at."""
    sigma: float
    """Standard deviation of the noise that was added."""
    x_t: Tensor
    """(pictures, C, H, W), float, on the CPU: the pictures after the transition; of the last frame the final ones."""
    pred_x0: Tensor
    """The clean pictures predicted before the transition."""

    @property
    def is_last(self) -> bool:
        return self.k == self.steps - 1


def plan(recipe: Recipe, model: Model) -> Plan:
    """The recipe's plan on its model; raises FieldError when the model cannot do what an arm asks for."""
    return Plan(recipe, model, [arm_row(arm, model.schedule) for arm in recipe.arms])


def arm_row(arm: Arm, schedule: Schedule) -> Row:
    """How an arm samples one picture of a model; DDPM is the eta = 1 member of the family. Raises FieldError."""
    T = schedule.num_train_timesteps
    if arm.timesteps is None:
        whole("steps", arm.steps, 1, T)
    try:
        levels = schedule.levels_at(arm.timesteps) if arm.timesteps else schedule.levels(arm.steps, arm.spacing)
    except ValueError as error:
        raise FieldError("timesteps" if arm.timesteps else "spacing", f"cannot be used: {error}") from error
    ddpm = arm.method == "ddpm"
    return Row(levels, 1.0 if ddpm else arm.eta, arm.variance if ddpm else "small", arm.clip)


def process(plan: Plan, device: torch.device) -> Process:
    """The run as rows in the order arm by arm, picture by picture, each arm from the same x_T and on the same noise path."""
    recipe, model = plan.recipe, plan.model
    noise_seed = recipe.seed if recipe.noise_seed is None else recipe.noise_seed
    seeds, noise_seeds = ([picture_seed(first, i) for i in range(recipe.pictures)] for first in (recipe.seed, noise_seed))
    dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
    x_T = initial_noise(seeds, model.shape).to(device, dtype)
    rows = []
    for row in plan.rows:
        for seed in noise_seeds:
            path = NoisePath(model.schedule, model.shape, seed, recipe.branch) if row.eta else None
            rows.append(replace(row, draw=path.between if path else None))
    schedule = model.schedule
    return sample(
        x_T.repeat(len(plan.rows), 1, 1, 1), rows, prediction_type=schedule.prediction_type, clip_range=schedule.clip_range
    )


def frames(plan: Plan, step: Step) -> Iterator[Frame]:
    """A step of all rows, cut into one frame per arm; an arm's pictures move together, since they share its levels."""
    pictures = plan.recipe.pictures
    x_t, pred_x0 = step.x_next.cpu(), step.pred_x0.cpu()
    for at in range(0, len(step.rows), pictures):
        arm = step.rows[at] // pictures
        row = plan.rows[arm]
        cur, nxt = row.levels[step.k], row.levels[step.k + 1]
        chosen = slice(at, at + pictures)
        yield Frame(arm, step.k, row.transitions, cur, row.noise(cur, nxt)[1], x_t[chosen], pred_x0[chosen])
