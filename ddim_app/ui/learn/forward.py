"""Panel 1: a picture's way to noise, step by step and at once."""

import math
from typing import Any

import torch

from ddim_app import ddim, forward
from ddim_app.schedule import Schedule
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import show
from ddim_app.ui.learn.panel import Panel, Scene

DRAWS = 1000


class ForwardPanel(Panel):
    """Closed form beside the Markov chain, with the moments of many draws."""

    title, name, needs_model = "1 Forward", "forward", False
    fields = ("forward t",)

    def __init__(self) -> None:
        self.t = dial("Timestep t", "forward-t", 250, (0, 999), 1, "0 is the least noise; the papers count from 1")
        self.formula = show.formula(elem_id="forward-formula")
        self.figures = show.figures("forward-figures")
        self.table = show.table("forward-table")
        self.chart = show.chart("t", "log10 SNR", "Signal to noise", "forward-chart", ["schedule", "t"])
        self.inputs, self.outputs = [self.t], [self.formula, self.figures, self.table, self.chart]

    def show(self, scene: Scene, *values: Any) -> list[Any]:
        t, schedule = scene.t(values[0]), scene.schedule
        a = schedule.level(t).alpha_bar
        before = schedule.level(t - 1).alpha_bar if t else 1.0
        text = show.filled(
            show.words("forward"), t=t, beta=1 - a / before, ab=a, signal=math.sqrt(a), noise=math.sqrt(1 - a), snr=a / (1 - a)
        )  # fmt: skip
        return [text, self._figures(scene, t), self._table(scene, t), snr_chart(schedule, t)]

    def _figures(self, scene: Scene, t: int) -> dict[str, Any]:
        shown = sorted({round(t * i / 6) for i in range(7)})
        closed = [ddim.add_noise(scene.x0, scene.noise, scene.schedule.level(s).alpha_bar) for s in shown]
        chain = markov_chain(scene.schedule, scene.x0, t, scene.generator())
        return show.rows(
            show.row("At once, with one noise (Eq. 4)", zip(closed, (f"t = {s}" for s in shown), strict=True)),
            show.row("Step by step (Eq. 2)", ((chain[s], f"t = {s}") for s in shown)),
        )

    def _table(self, scene: Scene, t: int) -> dict[str, Any]:
        value = float(scene.x0.flatten()[scene.x0.numel() // 2])
        exact = forward.closed_form(scene.schedule.level(t).alpha_bar)
        x0, generator = torch.full((DRAWS,), value), scene.generator()
        at_once = forward.moments(exact.sample(x0, x0, torch.randn(DRAWS, generator=generator)))
        steps = forward.moments(markov_chain(scene.schedule, x0, t, generator, every=False)[-1])
        head = (f"{DRAWS} draws of the middle pixel, x₀ = {value:.3f}", "exact", "at once", "step by step")
        return show.cells(
            head,
            [
                ("mean", show.plain(exact.of_x0 * value), *(spread(m.mean, m.mean_error) for m in (at_once, steps))),
                ("variance", show.plain(exact.variance), *(spread(m.variance, m.variance_error) for m in (at_once, steps))),
            ],
        )


def markov_chain(
    schedule: Schedule, x0: torch.Tensor, t: int, generator: torch.Generator, every: bool = True
) -> list[torch.Tensor]:
    """x after each step of DDPM's chain up to timestep t, all or only the last."""
    x, b, visited = x0, 1.0, []
    for s in range(t + 1):
        a = schedule.level(s).alpha_bar
        x = forward.markov(b, a).sample(x, x0, torch.randn(x0.shape, generator=generator))
        b = a
        if every or s == t:
            visited.append(x)
    return visited


def spread(value: float, error: float) -> str:
    return f"{value:.4f} ± {error:.4f}"


def snr_chart(schedule: Schedule, t: int) -> Any:
    line = [(s, math.log10(schedule.snr[s])) for s in show.thinned(schedule.num_train_timesteps) if schedule.snr[s] > 0]
    ends = [(t, line[-1][1]), (t, line[0][1])]
    return show.frame({"schedule": line, "t": ends}, "t", "log10 SNR")
