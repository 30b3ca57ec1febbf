"""The variational bound of the picture, its rate and distortion, and the loss that training minimises instead."""

import math
from typing import Any

import gradio as gr

from ddim_app.diffusion import elbo
from ddim_app.runs.likelihood import Bound, LikelihoodPlan, LikelihoodRecipe, TermBatch, TermCollector
from ddim_app.ui.fields import raw
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, RunPanel


class BoundPanel(RunPanel):
    """Totals with standard errors, and every evaluated term."""

    name = "likelihood"
    fields = ("mode",)

    def __init__(self) -> None:
        self.formula = figures.formula(elem_id="likelihood-formula")
        modes = [("Quick, 100 evaluations", "quick"), ("Full bound, 2 draws of each", "full")]
        self.mode = raw(gr.Radio(modes, value="quick", label="Estimate", elem_id="likelihood-mode"))
        self.table = figures.table("likelihood-table")
        self.chart = figures.chart("likelihood-chart")
        self.inputs, self.outputs, self.run_outputs = [self.mode], [self.formula], [self.table, self.chart]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        small, large = (elbo.decoder_variance(scene.schedule, name) for name in elbo.DECODERS)
        count = scene.schedule.num_train_timesteps
        return [figures.filled(figures.words("likelihood"), small=small, large=large, count=str(count))]

    def recipe_of(self, scene: LessonScene, *values: Any) -> LikelihoodRecipe:
        scene.need_model()
        compared = scene.compared
        return LikelihoodRecipe(
            pictures=(scene.source,), model=compared.model, mode=values[0], seed=compared.seed, clip=compared.arms[0].clip,
            class_label=compared.class_label,
            precision="fp64" if compared.precision == "fp64" else "fp32",
        )  # fmt: skip

    def board(self, plan: LikelihoodPlan, scene: LessonScene) -> TermCollector:
        return TermCollector(plan)

    def update(self, board: TermCollector, frames: list[TermBatch]) -> list[Any]:
        super().update(board, frames)
        return [gr.skip(), term_chart(board)]

    def last(self, board: TermCollector, scene: LessonScene) -> list[Any]:
        return [totals(board.result[0]), term_chart(board)]


class RatePanel(RunPanel):
    """The curve, and what the receiver sees; filled by the same run as the bound."""

    name = "rate"
    fields = ("mode",)
    PAPER = "CIFAR-10 (paper)"

    def __init__(self, bound: BoundPanel) -> None:
        self.bound = bound
        self.formula = figures.formula(figures.words("rate"), elem_id="rate-formula")
        self.chart = figures.chart("rate-chart")
        self.figures = figures.figures("rate-figures")
        self.inputs, self.outputs, self.run_outputs = [bound.mode], [self.formula], [self.chart, self.figures]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        return [figures.words("rate")]

    def recipe_of(self, scene: LessonScene, *values: Any) -> LikelihoodRecipe:
        return self.bound.recipe_of(scene, *values)

    def board(self, plan: LikelihoodPlan, scene: LessonScene) -> TermCollector:
        return TermCollector(plan)

    def last(self, board: TermCollector, scene: LessonScene) -> list[Any]:
        bound = board.result[0]
        curve = bound.curve("small")
        lines = {"this picture": [(rate, rmse) for _, rate, rmse in curve], self.PAPER: list(elbo.CIFAR10_TABLE_4)}
        chart = figures.plotted("Distortion by rate, RMSE of 255", "rate, bits/dim", lines, floor=0)
        return [chart, receiver(scene, bound)]


class LossPanel(RunPanel):
    """Weights and losses per timestep; filled by the same run as the bound."""

    name = "losses"
    fields = ("mode",)

    def __init__(self, bound: BoundPanel) -> None:
        self.bound = bound
        self.formula = figures.formula(elem_id="losses-formula")
        self.weights, self.chart = figures.chart("losses-weights"), figures.chart("losses-chart")
        self.inputs, self.outputs, self.run_outputs = [bound.mode], [self.formula, self.weights], [self.chart]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        schedule = scene.schedule
        points = range(1, schedule.num_train_timesteps)
        tables = {name: elbo.loss_weights(schedule, name) for name in ("small", "large")}
        chosen = [t for t in figures.thinned(schedule.num_train_timesteps) if t]
        lines = {name: [(t, log10(float(table[t]))) for t in chosen] for name, table in tables.items()}
        lines["L_simple"] = [(t, 0.0) for t in chosen]
        first, middle = (float(tables["small"][t]) for t in (points[0], points[len(points) // 2]))
        weights = figures.plotted("Weight of the squared error, log10", "t", lines, dashed={"large"})
        return [figures.filled(figures.words("losses"), first=first, middle=middle), weights]

    def recipe_of(self, scene: LessonScene, *values: Any) -> LikelihoodRecipe:
        return self.bound.recipe_of(scene, *values)

    def board(self, plan: LikelihoodPlan, scene: LessonScene) -> TermCollector:
        return TermCollector(plan)

    def last(self, board: TermCollector, scene: LessonScene) -> list[Any]:
        bound = board.result[0]
        lines = {
            "bound": [(t, log10(value)) for t, value in bound.by_t(bound.terms("small")).items()],
            "L_simple": [(t, log10(value)) for t, value in bound.by_t(bound.column("simple")).items()],
        }
        return [figures.plotted("This model's losses on the picture, log10", "t", lines)]


def log10(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


def totals(bound: Bound) -> dict[str, Any]:
    """The bound's parts for both variances."""
    lines = []
    for variance in ("small", "large"):
        total, error = bound.total(variance)
        other, other_error = bound.total(variance, "beta")
        lines.append(
            (
                variance, f"{bound.prior:.6f}", f"{bound.rate(variance):.4f}", f"{bound.distortion():.4f}",
                f"{total:.4f} ± {error:.4f}", f"{other:.4f} ± {other_error:.4f}",
            )
        )  # fmt: skip
    note = f"{len(bound.design)} evaluations"
    return figures.cells((f"Variance ({note})", "L_T", "rate", "L_0", "bits/dim", "bits/dim, L_0 by β₁"), lines)


def term_chart(board: TermCollector) -> dict[str, Any]:
    """The evaluated terms, finished or not."""
    scale = board.dimensions * math.log(2)
    evaluated = board.evaluated()
    stride = max(1, len(evaluated) // 150)
    lines = {
        name: [(e.t, log10(float(values[column]) / scale)) for e, values in evaluated[::stride] if e.draw == 0]
        for column, name in enumerate(("small", "large"))
    }
    return figures.plotted("Every term, log10 bits/dim", "t", lines, dashed={"large"})


def receiver(scene: LessonScene, bound: Bound) -> dict[str, Any]:
    """What is shown after so many bits."""
    curve = bound.curve("small")
    marks = [curve[round(i * (len(curve) - 1) / 7)] for i in range(8)]
    sight = scene.look(*(t for t, _, _ in marks))
    parts = [
        (
            sight.pred_x0[i],
            f"t = {t}\n{rate * bound.dimensions:,.0f} bits\nRMSE {float(elbo.rmse(scene.x0, sight.pred_x0[i : i + 1])):.1f}",
        )
        for i, (t, rate, _) in enumerate(marks)
    ]
    parts.append((scene.x0, f"and L₀\n{bound.total()[0] * bound.dimensions:,.0f} bits\nwithout loss"))
    return figures.rows(figures.row("What a receiver sees after so many bits", parts))
