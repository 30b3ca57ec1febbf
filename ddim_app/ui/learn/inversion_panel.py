"""Chapter 5: DDIM run backwards in the world of two numbers, where only the way back is inexact."""

from typing import Any

from ddim_app.errors import whole
from ddim_app.lazy import Tensor, torch
from ddim_app.studies.point_worlds import STD, WORLDS, RoundTrip, apart, round_trip, schedule
from ddim_app.ui.fields import dial
from ddim_app.ui.learn import figures
from ddim_app.ui.learn.panel import LessonScene, Panel

COUNTS, MOST = (5, 10, 20, 50), 100
WAYS = {"backwards": 1, "fixed point": 5}
"""The ways up, and how often each of their steps asks the network."""
WORLD = WORLDS["clouds"]


class InversionPanel(Panel):
    """How far the data of the three clouds are from where they were, after the way up and down."""

    name, needs_model = "inversion", False
    talks_of = ""
    fields = ("inversion steps",)

    def __init__(self) -> None:
        self.steps = dial("Steps up, and down again", "inversion-steps", 10, (1, MOST), 1, "in the world of chapter 3")
        self.formula = figures.formula(elem_id="inversion-formula")
        self.table = figures.table("inversion-table")
        self.chart = figures.chart("inversion-chart")
        self.inputs, self.outputs = [self.steps], [self.formula, self.table, self.chart]

    def show(self, scene: LessonScene, *values: Any) -> list[Any]:
        steps = whole("inversion steps", values[0], 1, MOST)
        trips = {name: round_trip(WORLD, steps, evaluations) for name, evaluations in WAYS.items()}
        lines = [
            (name, str(WAYS[name] * steps), f"{away(trip):.4f}", f"{float(trip.visited[-1].std()):.2f}")
            for name, trip in trips.items()
        ]
        head = (
            f"{steps} steps up and {steps} down",
            "evaluations, at most",
            "distance, median",
            "deviation of the noise (1 is best)",
        )
        curves = {name: [(count, away(round_trip(WORLD, count, most))) for count in COUNTS] for name, most in WAYS.items()}
        chart = figures.plotted("Distance from where the points were", "steps", curves, log=True, ticks=list(COUNTS), floor=0)
        return [words(trips["backwards"]), figures.cells(head, lines), chart]


def away(trip: RoundTrip) -> float:
    return apart(trip.visited[0], trip.back)


def words(trip: RoundTrip) -> str:
    """The formula with the numbers of one point, at the step of its way up where the two predictions differ most."""
    levels = schedule().levels(len(trip.visited) - 1)[::-1]
    asked = [eps(trip.visited[k, :, :1], levels[k + 1].alpha_bar) for k in range(len(trip.visited) - 1)]
    wanted = [eps(trip.visited[k + 1, :, :1], levels[k + 1].alpha_bar) for k in range(len(trip.visited) - 1)]
    k = max(range(len(asked)), key=lambda k: float((asked[k] - wanted[k]).norm()))
    start = "0" if levels[k].is_clean else str(levels[k].t)
    return figures.filled(
        figures.words("inversion"), t=start, s=str(levels[k + 1].t), asked=vector(asked[k]), wanted=vector(wanted[k]), std=STD
    )  # fmt: skip


def eps(point: Tensor, alpha_bar: float) -> Tensor:
    """The exact prediction (2,) for a point (2, 1)."""
    return WORLD.mixture.eps(point.view(1, 2, 1, 1), torch.tensor([alpha_bar])).view(2)


def vector(point: Tensor) -> str:
    return f"({float(point[0]):.2f},\\ {float(point[1]):.2f})"
