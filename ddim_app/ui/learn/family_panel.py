"""DDIM's forward processes, which need the picture and are no chains, but have the same levels."""

import math
from itertools import pairwise
from typing import Any

import gradio as gr

from ddim_app.diffusion import formulas, forward
from ddim_app.lazy import torch
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.forward_panel import spread
from ddim_app.ui.learn.panel import LessonScene, Panel

DRAWS = 4000
PROOF = (
    (
        "Step 1: it holds at T",
        r"$x_T$ is drawn from $\mathcal N(\sqrt{\bar\alpha_T}x_0,(1-\bar\alpha_T)I)$: true by definition. "
        r"Here $\sqrt{\bar\alpha_T}=<root_last>$, $1-\bar\alpha_T=<rest_last>$.",
    ),
    (
        "Step 2: suppose it holds at t",
        r"Then $x_t-\sqrt{\bar\alpha_t}x_0$ has mean $0$ and variance $1-\bar\alpha_t=<rest_t>$; divided by "
        r"$\sqrt{1-\bar\alpha_t}=<root_rest_t>$ it has variance $<one>$.",
    ),
    (
        "Step 3: the mean at t − 1",
        r"$c\,\sqrt{\bar\alpha_t}+\big(\sqrt{\bar\alpha_{t-1}}-c\,\sqrt{\bar\alpha_t}\big)=\sqrt{\bar\alpha_{t-1}}$ with "
        r"$c=\sqrt{1-\bar\alpha_{t-1}-\sigma_t^2}/\sqrt{1-\bar\alpha_t}=<c>$: "
        r"$<c>\cdot<root_t>+(<of_x0>)=<mean>$, and $\sqrt{\bar\alpha_{t-1}}=<root_b>$.",
    ),
    (
        "Step 4: the variance at t − 1",
        r"$c^2(1-\bar\alpha_t)+\sigma_t^2=<first>+<sigma2>=<variance>$, and $1-\bar\alpha_{t-1}=<rest_b>$. So it holds at $t-1$, "
        r"and by induction at every level (Lemma 1).",
    ),
)


class FamilyPanel(Panel):
    """Paths of several eta from one x_T, their moments, the forward transition and the proof of Lemma 1."""

    name, needs_model = "family", False
    fields = ("family t",)

    def __init__(self) -> None:
        self.t = dial("Timestep t", "family-t", 500, (1, 999), 1, "of the transition; eta is among the settings")
        self.formula = figures.formula(figures.words("family"), elem_id="family-formula")
        self.figures = figures.figures("family-figures")
        self.moments = figures.table("family-moments")
        self.bayes = figures.formula(elem_id="family-bayes")
        self.table = figures.table("family-table")
        self.proof = []
        for i, (title, _) in enumerate(PROOF):
            with gr.Accordion(title, open=False, elem_id=f"proof-{i + 1}"):
                self.proof.append(figures.formula(elem_id=f"proof-words-{i + 1}"))
        with gr.Accordion("Common errors in notes on these papers", open=False, elem_id="mistakes"):
            figures.formula(figures.words("mistakes"))
        self.inputs = [self.t]
        self.outputs = [self.figures, self.moments, self.bayes, self.table, *self.proof]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        t = max(1, scene.t(values[0]))
        return [
            self._figures(scene), self._moments(scene), *self._bayes(scene, t), *proof(scene, t),
        ]  # fmt: skip

    def _figures(self, scene: LessonScene) -> dict[str, Any]:
        timesteps = five(scene)
        return figures.rows(
            *(
                figures.row(f"η = {eta:g}", ((x, f"t = {t}") for x, t in zip(path(scene, eta, timesteps), timesteps, strict=True)))
                for eta in etas(scene)
            )
        )

    def _moments(self, scene: LessonScene) -> dict[str, Any]:
        value = scene.middle_pixel
        x0, generator, timesteps = torch.full((DRAWS,), value), scene.generator(), five(scene)
        levels = [scene.schedule.level(t).alpha_bar for t in timesteps]
        x = forward.closed_form(levels[0]).sample(x0, x0, torch.randn(DRAWS, generator=generator))
        seen = [forward.moments(x)]
        for a, b in pairwise(levels):
            x = forward.downwards(a, b, scene.eta).sample(x, x0, torch.randn(DRAWS, generator=generator))
            seen.append(forward.moments(x))
        lines = [
            (
                f"t = {t}", figures.plain(math.sqrt(a) * value), spread(m.mean, m.mean_error), figures.plain(1 - a),
                spread(m.variance, m.variance_error),
            )
            for t, a, m in zip(timesteps, levels, seen, strict=True)
        ]  # fmt: skip
        head = (f"η = {scene.eta:g}, {DRAWS} draws, x₀ = {value:.3f}", "mean, exact", "mean, seen", "variance, exact", "seen")
        return figures.cells(head, lines)

    def _bayes(self, scene: LessonScene, t: int) -> list[Any]:
        a, b = scene.schedule.level(t).alpha_bar, scene.schedule.level(t - 1).alpha_bar
        up = forward.upwards(b, a, scene.eta)
        text = figures.filled(
            figures.words("bayes"), t=t, eta=scene.eta, sigma=formulas.ddim_sigma(a, b, scene.eta), k=up.of_x,
            of_x0=signed(up.of_x0), variance=up.variance,
        )  # fmt: skip
        lines = [(f"η = {eta:g}", *coefficients(forward.upwards(b, a, eta))) for eta in etas(scene)]
        lines.append(("DDPM's chain", *coefficients(forward.markov(b, a))))
        return [text, figures.cells((f"x at t = {t}, given t = {t - 1}", "× x before", "× x₀", "variance"), lines)]


def etas(scene: LessonScene) -> list[float]:
    return sorted({0.0, scene.eta, 1.0})


def five(scene: LessonScene) -> list[int]:
    """Timesteps from the last to the first, five where there are as many."""
    last = scene.schedule.num_train_timesteps - 1
    return sorted({round(last * i / 4) for i in range(5)}, reverse=True)


def path(scene: LessonScene, eta: float, timesteps: list[int]) -> "list[torch.Tensor]":
    """The picture at each timestep, drawn downwards; x_T and the step noises are the same for every eta."""
    generator = scene.generator()
    levels = [scene.schedule.level(t).alpha_bar for t in timesteps]
    x0 = scene.small_x0
    visited = [forward.closed_form(levels[0]).sample(x0, x0, torch.randn(x0.shape, generator=generator))]
    for a, b in pairwise(levels):
        noise = torch.randn(x0.shape, generator=generator)
        visited.append(forward.downwards(a, b, eta).sample(visited[-1], x0, noise))
    return visited


def coefficients(step: forward.Linear) -> tuple[str, str, str]:
    return figures.plain(step.of_x), figures.plain(0.0 if abs(step.of_x0) < 1e-9 else step.of_x0), figures.plain(step.variance)


def signed(value: float) -> str:
    value = 0.0 if abs(value) < 1e-9 else value
    return ("+" if value >= 0 else "-") + figures.number(abs(value))


def proof(scene: LessonScene, t: int) -> list[str]:
    """The four steps with their numbers."""
    schedule = scene.schedule
    a, b = schedule.level(t).alpha_bar, schedule.level(t - 1).alpha_bar
    last = schedule.level(schedule.num_train_timesteps - 1).alpha_bar
    down = forward.downwards(a, b, scene.eta)
    values: dict[str, float | str] = {
        "root_t": math.sqrt(a), "root_b": math.sqrt(b), "rest_t": 1 - a, "rest_b": 1 - b, "root_rest_t": math.sqrt(1 - a),
        "one": (1 - a) / math.sqrt(1 - a) ** 2, "c": down.of_x, "of_x0": down.of_x0,
        "mean": down.of_x * math.sqrt(a) + down.of_x0, "first": down.of_x**2 * (1 - a), "sigma2": down.variance,
        "variance": down.of_x**2 * (1 - a) + down.variance,
    }  # fmt: skip
    values = {name: figures.number(float(value), 6) for name, value in values.items()}
    values |= {"root_last": figures.number(math.sqrt(last)), "rest_last": figures.number(1 - last, 6)}
    return [figures.filled(text, **values) for _, text in PROOF]
