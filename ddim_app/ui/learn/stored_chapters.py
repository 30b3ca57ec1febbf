"""Makes what the chapters begin with: panels on the bundled model with the column's first settings, and the bits of sample 1."""

from typing import Any

import gradio as gr

from ddim_app.diffusion import formulas
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.engine import Engine
from ddim_app.studies.point_worlds import round_trip
from ddim_app.ui import controls
from ddim_app.ui.learn import panel as panels
from ddim_app.ui.learn import picture
from ddim_app.ui.learn.bound_panels import BoundPanel, LossPanel, RatePanel
from ddim_app.ui.learn.family_panel import FamilyPanel
from ddim_app.ui.learn.forward_panel import ForwardPanel
from ddim_app.ui.learn.inversion_panel import WAYS, WORLD, InversionPanel, away
from ddim_app.ui.learn.panel import Panel, RunPanel
from ddim_app.ui.learn.schedule_panel import SchedulePanel
from ddim_app.ui.learn.step_panel import StepPanel
from ddim_app.ui.learn.variance_panel import VariancePanel

KINDS: tuple[type[Panel], ...] = (ForwardPanel, StepPanel, FamilyPanel, InversionPanel, SchedulePanel, VariancePanel)


def make(engine: Engine) -> dict[str, Any]:
    """Names of the panels, the numbers in answers, and the values of the panels' parts by elem_id."""
    with gr.Blocks():
        settings = controls.build(engine).of("learn")
        shown: list[Panel] = [kind() for kind in KINDS]
        bound = BoundPanel()
        together: list[RunPanel] = [bound, RatePanel(bound), LossPanel(bound)]
    scene = panels.scene(engine, settings.named(tuple(field.value for field in settings.inputs)), picture.samples()[0])
    recipe = bound.recipe_of(scene, bound.mode.value)
    board = bound.board(engine.plan(recipe), scene)
    bound.update(board, list(engine.run(recipe)))
    filled = [(output, value) for panel in (*shown, *together) for output, value in _shown(panel, scene)]
    filled += [
        (output, value) for panel in together for output, value in zip(panel.run_outputs, panel.last(board, scene), strict=True)
    ]
    return {
        "panels": [panel.name for panel in (*shown, *together)],
        "numbers": {name: f"{value:.3g}" for name, value in known_numbers().items()},
        "parts": {part.elem_id: value for part, value in filled if part.elem_id},
    }


def known_numbers() -> dict[str, float]:
    """The numbers in answers to the questions."""
    schedule = Schedule(cumulative(betas()))
    even = min(range(1000), key=lambda t: abs(schedule.snr[t] - 1))
    (one5, hat5), (one100, hat100) = (first_noises(schedule, steps) for steps in (5, 100))
    ways = [away(round_trip(WORLD, 10, evaluations)) for evaluations in WAYS.values()]
    return {"even": even, "hat5": hat5, "one5": one5, "hat100": hat100, "one100": one100, "back": ways[0], "fixed": ways[1]}


def first_noises(schedule: Schedule, steps: int) -> tuple[float, float]:
    """(sigma(1), sigma-hat) of the last step that adds noise."""
    cur, nxt = schedule.levels(steps)[-3:-1]
    return formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, 1.0), formulas.sigma_hat(cur.alpha_bar, nxt.alpha_bar)


def _shown(panel: Panel, scene: panels.LessonScene) -> list[tuple[Any, Any]]:
    """The panel's outputs, each with its value."""
    return list(zip(panel.outputs, panel.show(scene, *(field.value for field in panel.inputs)), strict=True))
