"""The noise schedule, the model's own beside others, and what the chosen timesteps make of it."""

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import gradio as gr

from ddim_app.diffusion import elbo, formulas
from ddim_app.diffusion.schedule import Level, Schedule, betas, cumulative
from ddim_app.ui.fields import raw
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, Panel

OTHERS = {"linear": "linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}


def posterior(schedule: Schedule, t: int) -> float:
    return float(elbo.variances(schedule)["small"][t])


QUANTITIES: dict[str, Callable[[Schedule, int], float]] = {
    "alpha_bar": lambda schedule, t: schedule.level(t).alpha_bar,
    "log10 SNR": lambda schedule, t: math.log10(schedule.snr[t]) if schedule.snr[t] > 0 else -math.inf,
    "beta": lambda schedule, t: 1 - schedule.level(t).alpha_bar / (schedule.level(t - 1).alpha_bar if t else 1.0),
    "posterior variance": posterior,
}


class SchedulePanel(Panel):
    """Curves over t, and the chosen steps as marks."""

    name, needs_model = "schedule", False
    talks_of = ""
    fields = ("quantity",)

    def __init__(self) -> None:
        self.quantity = raw(gr.Radio(list(QUANTITIES), value="alpha_bar", label="Quantity", elem_id="quantity"))
        figures.formula(figures.words("schedule_terms"))  # aside, since typesetting it anew takes most of the time of an answer
        self.formula = figures.formula(elem_id="schedule-formula")
        self.chart = figures.chart("schedule-chart")
        self.marks = figures.chart("schedule-marks")
        self.inputs, self.outputs = [self.quantity], [self.formula, self.chart, self.marks]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        quantity = values[0] if isinstance(values[0], str) and values[0] in QUANTITIES else "alpha_bar"
        grid = scene.grid
        moves = f"First step: {noises(grid[0], grid[1], scene.eta)}."
        if len(grid) > 3:
            moves += f" Last step that adds noise: {noises(grid[-3], grid[-2], scene.eta)}."
        text = figures.filled(
            figures.words("schedule"), steps=len(grid) - 1, spacing=scene.compared.arms[0].spacing, moves=moves,
            what=quantity.replace("_", r"\_"),
        )  # fmt: skip
        return [text, curves(scene.schedule, quantity), marks(scene)]


def curves(schedule: Schedule, quantity: str) -> dict[str, Any]:
    T = schedule.num_train_timesteps
    points = figures.thinned(T)
    value = QUANTITIES[quantity]
    lines = {"this model": [(t, value(schedule, t)) for t in points]}
    lines |= {name: [(t, value(usual(kind, T), t)) for t in points] for name, kind in OTHERS.items()}
    return figures.plotted(f"{quantity}, this schedule beside others", "t", lines, dashed=OTHERS)


@cache
def usual(kind: str, T: int) -> Schedule:
    """The schedule of that kind; linear and sigmoid betas are scaled to keep their total noise at other T."""
    scale = 1000 / T
    return Schedule(cumulative(betas(kind, T, min(1e-4 * scale, 0.5), min(0.02 * scale, 0.9))))


def noises(cur: Level, nxt: Level, eta: float) -> str:
    """The noise of one step, in words and formulas."""
    a, b = cur.alpha_bar, nxt.alpha_bar
    return figures.filled(
        r"$t=<t>\to<s>,\ \sigma(<eta>)=<sigma>,\ \sigma(1)=<one>,\ \hat\sigma=<hat>$", t=cur.t,
        s=r"\text{the picture}" if nxt.is_clean else nxt.t,
        eta=eta, sigma=formulas.ddim_sigma(a, b, eta), one=formulas.ddim_sigma(a, b, 1.0), hat=formulas.sigma_hat(a, b),
    )  # fmt: skip


def marks(scene: LessonScene) -> dict[str, Any]:
    moves = [(cur.t, cur.alpha_bar, nxt.alpha_bar) for cur, nxt in pairwise(scene.grid)]
    lines = {
        "σ(η)": [(t, formulas.ddim_sigma(a, b, scene.eta)) for t, a, b in moves],
        "σ(1), posterior": [(t, formulas.ddim_sigma(a, b, 1.0)) for t, a, b in moves],
        "σ̂": [(t, formulas.sigma_hat(a, b)) for t, a, b in moves],
    }
    return figures.plotted("Noise of each step, at the chosen timesteps", "t", lines, dots=True, floor=0)
