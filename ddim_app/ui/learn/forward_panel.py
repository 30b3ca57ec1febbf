"""A picture's way to noise, step by step and at once."""

import math
from functools import lru_cache
from typing import Any

from ddim_app.diffusion import formulas, forward
from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.schedule import Schedule
from ddim_app.lazy import torch
from ddim_app.runs.sources import Source
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, Panel

DRAWS = 1000


class ForwardPanel(Panel):
    """Closed form beside the Markov chain, with the moments of many draws."""

    name, needs_model = "forward", False
    fields = ("forward t",)

    def __init__(self) -> None:
        self.t = dial("Timestep t", "forward-t", 250, (0, 999), 1, "0 is the least noise; the papers count from 1")
        self.formula = figures.formula(elem_id="forward-formula")
        self.figures = figures.figures("forward-figures")
        self.table = figures.table("forward-table")
        self.chart = figures.chart("forward-chart")
        self.inputs, self.outputs = [self.t], [self.formula, self.figures, self.table, self.chart]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        t, schedule = scene.t(values[0]), scene.schedule
        a = schedule.level(t).alpha_bar
        before = schedule.level(t - 1).alpha_bar if t else 1.0
        text = figures.filled(
            figures.words("forward"), t=t, beta=1 - a / before, ab=a, signal=math.sqrt(a), noise=math.sqrt(1 - a), snr=a / (1 - a)
        )  # fmt: skip
        return [text, self._figures(scene, t), self._table(scene, t), snr_chart(schedule, t)]

    def _figures(self, scene: LessonScene, t: int) -> dict[str, Any]:
        shown = sorted({round(t * i / 6) for i in range(7)})
        chain, _ = chains(scene)
        noise = torch.randn(scene.small_x0.shape, generator=scene.generator())
        closed = [formulas.add_noise(scene.small_x0, noise, scene.schedule.level(s).alpha_bar) for s in shown]
        return figures.rows(
            figures.row("At once, with one noise (Eq. 4)", zip(closed, (f"t = {s}" for s in shown), strict=True)),
            figures.row("Step by step (Eq. 2)", ((chain[s], f"t = {s}") for s in shown)),
        )

    def _table(self, scene: LessonScene, t: int) -> dict[str, Any]:
        value = scene.middle_pixel
        exact = forward.closed_form(scene.schedule.level(t).alpha_bar)
        x0 = torch.full((DRAWS,), value)
        at_once = forward.moments(exact.sample(x0, x0, torch.randn(DRAWS, generator=scene.generator())))
        steps = forward.moments(chains(scene)[1][t])
        head = (f"{DRAWS} draws of the middle pixel, x₀ = {value:.3f}", "exact", "at once", "step by step")
        return figures.cells(
            head,
            [
                ("mean", figures.plain(exact.of_x0 * value), *(spread(m.mean, m.mean_error) for m in (at_once, steps))),
                ("variance", figures.plain(exact.variance), *(spread(m.variance, m.variance_error) for m in (at_once, steps))),
            ],
        )


def chains(scene: LessonScene) -> "tuple[torch.Tensor, torch.Tensor]":
    """DDPM's chain step by step over all timesteps: of the small picture (T, C, H, W), and of DRAWS middle pixels (T, DRAWS)."""
    return _chains(scene.schedule, scene.small_source, scene.small, scene.compared.seed)


@lru_cache(maxsize=4)
def _chains(schedule: Schedule, source: Source, shape: Shape, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Kept, so that a slider of t only looks things up."""
    generator = torch.Generator().manual_seed(seed)
    picture = source.tensor(shape)[0]
    pixel = torch.full((DRAWS,), float(picture.flatten()[picture.numel() // 2]))
    return markov_chain(schedule, picture, generator), markov_chain(schedule, pixel, generator)


def markov_chain(schedule: Schedule, x0: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
    """x after each step of DDPM's chain, (T, *x0.shape)."""
    T = schedule.num_train_timesteps
    visited = torch.randn((T, *x0.shape), generator=generator)  # the noises, each replaced by what it leads to
    x, b = x0, 1.0
    for t in range(T):
        a = schedule.level(t).alpha_bar
        x = visited[t] = forward.markov(b, a).sample(x, x0, visited[t])
        b = a
    return visited


def spread(value: float, error: float) -> str:
    return f"{value:.4f} ± {error:.4f}"


def snr_chart(schedule: Schedule, t: int) -> dict[str, Any]:
    line = [(s, math.log10(schedule.snr[s])) for s in figures.thinned(schedule.num_train_timesteps) if schedule.snr[s] > 0]
    return figures.plotted("Signal to noise, log10 SNR", "t", {"schedule": line}, now=t)
