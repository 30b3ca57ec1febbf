"""One step of DDIM under the microscope."""

import math
from typing import Any

from ddim_app.diffusion import formulas
from ddim_app.diffusion.noise import BrownianPath
from ddim_app.diffusion.schedule import CLEAN, Level
from ddim_app.lazy import Tensor
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, Panel


class StepPanel(Panel):
    """All parts of one transition as pictures, with their norms, and Eq. 12 with its numbers."""

    name = "step"
    fields = ("step t",)

    def __init__(self) -> None:
        self.t = dial("Timestep t", "step-t", 499, (0, 999), 1, "where the step starts")
        self.formula = figures.formula(elem_id="step-formula")
        self.figures = figures.figures("step-figures")
        self.inputs, self.outputs = [self.t], [self.formula, self.figures]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        t = scene.t(values[0])
        sight = scene.look(t)
        cur, nxt = scene.schedule.level(t), following(scene, t)
        a, b = cur.alpha_bar, nxt.alpha_bar
        sigma = formulas.ddim_sigma(a, b, scene.eta)
        along = math.sqrt(max(1 - b - sigma**2, 0.0))
        x_t, pred_x0 = sight.x_t.double(), sight.pred_x0.double()
        eps = formulas.predict_eps(x_t, pred_x0, a)
        apart, family = identity(x_t, pred_x0, eps, a, b)
        text = figures.filled(
            figures.words("step"), t=t, s="0" + r"\ (\text{clean})" if nxt.is_clean else nxt.t, eta=scene.eta, root_a=math.sqrt(a),
            rest_a=math.sqrt(1 - a), root_b=math.sqrt(b), along=along, sigma=sigma, ratio=a / b, beta=1 - a / b,
            apart=figures.number(apart, 2), family=figures.number(family, 2),
        )  # fmt: skip
        noise = fresh_noise(scene, cur, nxt) if sigma else scene.x0 * 0
        x_next = formulas.ddim_step(pred_x0, eps, b, sigma) + sigma * noise
        parts = [
            (scene.x0, "x₀, the picture"), (x_t, f"x at t = {t}"), (eps, "εθ, predicted"), (pred_x0, "x̂₀"),
            (math.sqrt(b) * pred_x0, "√ᾱ x̂₀"), (along * eps, "direction"), (sigma * noise, "σ ε, noise"),
            (x_next, "x₀, the end" if nxt.is_clean else f"x at s = {nxt.t}"),
        ]  # fmt: skip
        return [text, figures.rows(figures.row("The parts of the step, each with its norm", with_norms(parts), large=True))]


def with_norms(parts: list[tuple[Tensor, str]]) -> list[tuple[Tensor, str]]:
    return [(x, f"{words}\n|·| = {float(x.double().norm()):.2f}") for x, words in parts]


def following(scene: LessonScene, t: int) -> Level:
    """The first chosen timestep below t, or the clean level."""
    return next((level for level in scene.grid[:-1] if level.t < t), CLEAN)


def identity(x_t: Tensor, pred_x0: Tensor, eps: Tensor, a: float, b: float) -> tuple[float, float]:
    """Largest difference of the posterior mean's two forms, and of Eq. 12 at eta 1 from the first."""
    from_x0, _ = formulas.ddpm_posterior(x_t, pred_x0, a, b)
    ratio = a / b
    from_eps = (x_t - (1 - ratio) / math.sqrt(1 - a) * eps) / math.sqrt(ratio)
    family = formulas.ddim_step(pred_x0, eps, b, formulas.ddim_sigma(a, b, 1.0))
    return float((from_x0 - from_eps).abs().max()), float((from_x0 - family).abs().max())


def fresh_noise(scene: LessonScene, cur: Level, nxt: Level) -> Tensor:
    path = BrownianPath(scene.schedule, scene.shape, scene.compared.seed)
    return path.between(cur.t, nxt.t)[None]
