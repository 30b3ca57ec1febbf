"""The score, a Langevin-like step, and DDIM as Euler's method on a nearly straight path."""

import math
from typing import Any

from ddim_app.diffusion import elbo
from ddim_app.diffusion.schedule import Level
from ddim_app.lazy import Tensor, torch
from ddim_app.runs.lessons import RULES, LessonPlan, LessonRecipe, LessonStep, turn
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, RunPanel

COUNTS = (5, 10, 20, 50)
REFERENCE = 100
NAMES = {"ddim": "Eq. 14: DDIM", "flow": "Eq. 15: Euler in t"}


class ScorePanel(RunPanel):
    """The score as a picture; the two Euler methods by their distance to a long chain, and how much the path turns."""

    name = "score"
    fields = ("score t",)

    def __init__(self) -> None:
        self.t = dial("Timestep t", "score-t", 300, (0, 999), 1, "where the score is taken")
        self.formula = figures.formula(elem_id="score-formula")
        self.figures = figures.figures("score-figures")
        self.chart = figures.chart("score-chart")
        self.turns = figures.chart("score-turns")
        self.ends = figures.figures("score-ends")
        self.inputs, self.outputs = [self.t], [self.formula, self.figures]
        self.run_outputs = [self.chart, self.turns, self.ends]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        t = scene.t(values[0])
        sight = scene.look(t)
        rest = 1 - scene.schedule.level(t).alpha_bar
        delta = 0.1 * rest
        score = -sight.eps / math.sqrt(rest)
        noise = torch.randn(sight.x_t.shape, generator=scene.generator())
        moved = sight.x_t + delta / 2 * score + math.sqrt(delta) * noise
        parts = [
            (sight.x_t, f"x at t = {t}"),
            (score * math.sqrt(rest), f"score × √(1 − ᾱ)\n|score| = {float(score.norm()):.1f}"),
            (moved, "after one step"),
            (sight.pred_x0, "x̂₀ before it"),
        ]
        return [figures.filled(figures.words("score"), t=t, delta=delta), figures.rows(figures.row("", parts, large=True))]

    def recipe_of(self, scene: LessonScene, *values: Any) -> LessonRecipe:
        T = scene.need_model().schedule.num_train_timesteps
        counts = [count for count in COUNTS if count <= T]
        return scene.lesson("euler", counts, steps=min(REFERENCE, T), spacing="trailing", eta=0.0, clip="off", picture=None)

    def board(self, plan: LessonPlan, scene: LessonScene) -> "EulerRace":
        return EulerRace(plan)

    def last(self, board: "EulerRace", scene: LessonScene) -> list[Any]:
        reference = board.ends[len(board.counts) * len(RULES)].clamp(-1, 1)
        lines: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES.values()}
        chains: dict[str, list[tuple[Tensor, str]]] = {name: [] for name in NAMES.values()}
        for row, x in sorted(board.ends.items())[:-1]:
            count, name = board.counts[row // len(RULES)], NAMES[RULES[row % len(RULES)]]
            error = float(elbo.rmse(reference[None], x.clamp(-1, 1)[None]))
            lines[name].append((count, error))
            chains[name].append((x, f"{count} steps\nRMSE {error:.1f}"))
        rows = [figures.row(name, [*chain, (reference, f"{REFERENCE} steps")]) for name, chain in chains.items()]
        apart = figures.plotted(f"Distance to DDIM with {REFERENCE} steps, RMSE of 255", "steps", lines, log=True, floor=0)
        turns = figures.plotted("How much ε turns per step of the long chain, degrees", "t", {"turn": board.turns}, floor=0)
        return [apart, turns, figures.rows(*rows)]


class EulerRace:
    """Ends of all chains, and the turns of the long one, which is the last row."""

    def __init__(self, plan: LessonPlan) -> None:
        self.counts = plan.recipe.timesteps
        self._levels: tuple[Level, ...] = plan.grids[-1]
        self._long = len(plan.grids) - 1
        self.ends: dict[int, Tensor] = {}
        self.turns: list[tuple[float, float]] = []
        self._eps: Tensor | None = None

    def add(self, move: LessonStep) -> None:
        self.ends |= dict(zip(move.rows, move.x_next, strict=True))
        eps = move.eps[move.rows.index(self._long)]
        if self._eps is not None:
            self.turns.append((self._levels[move.k].t, turn(self._eps, eps)))
        self._eps = eps
