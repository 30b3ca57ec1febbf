"""Pred_x0 once and over a chain, from a noised picture and from pure noise."""

from typing import Any

from ddim_app.diffusion import elbo
from ddim_app.lazy import Tensor
from ddim_app.runs.lessons import LessonPlan, LessonRecipe, LessonStep
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, RunPanel

SHOWN = 8
"""Pictures of a chain that are shown."""


class DenoisePanel(RunPanel):
    """A real picture noised to t: pred_x0 against the chain from there."""

    name = "denoise"
    fields = ("t",)

    def __init__(self) -> None:
        self.t = dial("Timestep t", "denoise-t", 400, (0, 999), 1, "how far the picture is noised")
        self.formula = figures.formula(elem_id="denoise-formula")
        self.once, self.chain = figures.figures("denoise-once"), figures.figures("denoise-chain")
        self.inputs, self.outputs, self.run_outputs = [self.t], [self.formula, self.once], [self.chain]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        t = scene.t(values[0])
        sight = scene.look(t)
        apart = float(elbo.rmse(scene.x0, sight.pred_x0))
        root = scene.schedule.level(t).alpha_bar ** 0.5
        count = 1 + sum(level.t < t for level in scene.grid[:-1])
        text = figures.filled(figures.words("denoise"), t=t, root=root, rmse=f"{apart:.1f}", count=count)
        parts = [
            (scene.x0, "x₀, the picture"),
            (sight.x_t, f"x at t = {t}"),
            (sight.pred_x0, f"x̂₀, one evaluation\nRMSE {apart:.1f} of 255"),
        ]
        return [text, figures.rows(figures.row("One evaluation", parts, large=True))]

    def recipe_of(self, scene: LessonScene, *values: Any) -> LessonRecipe:
        scene.need_model()
        return scene.lesson("denoise", [scene.t(values[0])])

    def board(self, plan: LessonPlan, scene: LessonScene) -> "ChainFrames":
        return ChainFrames([level.t for level in plan.grids[0]])

    def last(self, board: "ChainFrames", scene: LessonScene) -> list[Any]:
        return [figures.rows(board.row("The chain: x̂₀ on the way, and its end", scene.x0, "the picture"))]


class ProgressPanel(RunPanel):
    """pred_x0 over the chain from noise, with its distance to the end."""

    name = "progress"
    talks_of = "seed"

    def __init__(self) -> None:
        self.formula = figures.formula(elem_id="progress-formula")
        self.figures = figures.figures("progress-figures")
        self.chart = figures.chart("progress-chart")
        self.inputs, self.outputs, self.run_outputs = [], [self.formula], [self.figures, self.chart]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        compared = scene.compared
        return [
            figures.filled(figures.words("progress"), seed=str(compared.seed), steps=str(compared.arms[0].steps), eta=scene.eta)
        ]

    def recipe_of(self, scene: LessonScene, *values: Any) -> Recipe:
        scene.need_model()
        ddim: Arm = scene.compared.arms[0]
        return Recipe(
            arms=(ddim,), model=scene.compared.model, seed=scene.compared.seed, precision=scene.compared.precision,
            noise_seed=scene.compared.noise_seed, branch=scene.compared.branch,
        )  # fmt: skip

    def board(self, plan: SamplingPlan, scene: LessonScene) -> "ChainFrames":
        return ChainFrames([level.t for level in plan.rows[0].levels])

    def last(self, board: "ChainFrames", scene: LessonScene) -> list[Any]:
        final = board.x[-1].clamp(-1, 1)
        lines = {
            "x̂₀": [(t, float(elbo.rmse(final, x))) for t, x in zip(board.timesteps, board.pred_x0, strict=False)],
            "x_t": [(t, float(elbo.rmse(final, x))) for t, x in zip(board.timesteps[1:-1], board.x[:-1], strict=False)],
        }
        row = board.row("x̂₀ on the way, and the end of the chain", final, "the end")
        return [figures.rows(row), figures.plotted("Distance to the final picture, RMSE of 255", "t", lines, floor=0)]


class ChainFrames:
    """What comes of a chain of one picture: the tensors of a LessonStep or a Frame."""

    def __init__(self, timesteps: list[int]) -> None:
        self.timesteps = timesteps
        self.x: list[Tensor] = []
        self.pred_x0: list[Tensor] = []

    def add(self, frame: LessonStep | Frame) -> None:
        self.x.append(frame.x_next if isinstance(frame, LessonStep) else frame.x_t)
        self.pred_x0.append(frame.pred_x0)

    def row(self, label: str, reference: Tensor, name: str) -> dict[str, Any]:
        """Up to SHOWN predictions, each with its distance to `reference`, and the end of the chain."""
        count = len(self.pred_x0)
        places = sorted({round(i * (count - 1) / (SHOWN - 1)) for i in range(SHOWN)})
        parts = [(self.pred_x0[k], f"t = {self.timesteps[k]}\n{float(elbo.rmse(reference, self.pred_x0[k])):.1f}") for k in places]
        parts.append((self.x[-1], f"the end\n{float(elbo.rmse(reference, self.x[-1].clamp(-1, 1))):.1f}"))
        return figures.row(f"{label}; below: RMSE of 255 to {name}", parts)
