"""The Compare tab: DDIM(eta) and DDPM side by side from the same noise."""

import uuid
from typing import Any

import gradio as gr
from PIL import Image

from ddim_app.media.images import contact_sheet, enlargement, to_pixels
from ddim_app.runs import codecs, forms
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.sampling import Frame, Recipe, SamplingPlan
from ddim_app.ui import text
from ddim_app.ui.compare.charts import StepCharts
from ddim_app.ui.components import stage
from ddim_app.ui.controls import Controls, checked
from ddim_app.ui.fields import PRIVATE
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_films import RunFilms
from ddim_app.ui.run_tab import KEEP, RunTab

EXAMPLE_FIELDS = ("steps", "eta", "ddpm_steps", "variance", "spacing", "clip")
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "10 steps: DDIM clean, DDPM (σ̂) noisy": (10, 0.0, 0, "large", "trailing", "clip"),
    "eta 1: DDIM is DDPM": (25, 1.0, 0, "small", "trailing", "clip"),
    "eta 0.5: between": (25, 0.5, 0, "small", "trailing", "clip"),
    "Same seed, 5 steps": (5, 0.0, 0, "small", "trailing", "clip"),
    "20 steps": (20, 0.0, 0, "small", "trailing", "clip"),
    "50 steps": (50, 0.0, 0, "small", "trailing", "clip"),
}
"""Runs that start in one click, by the values of EXAMPLE_FIELDS."""


class CompareTab(RunTab):
    """DDIM(eta) beside DDPM, step by step, from the same noise."""

    title, name = "Compare", "compare"

    def __init__(self, runs: PageRuns, settings: Controls) -> None:
        super().__init__(runs, settings)
        first = stage.stored_run()
        self.stage = stage.component(first)
        with gr.Accordion("Wipe between the two", open=False, elem_id="wipe-fold"):
            self.wipe = gr.ImageSlider(
                None, format="png", label="DDIM left, DDPM right", interactive=False, elem_id="wipe", buttons=["fullscreen"]
            )
        self.charts = StepCharts()
        self.tape = gr.State(None)
        RunFilms(self.tape)
        self.recipe = text.line(first["recipe"], "recipe")
        self.inputs = settings.inputs
        self.also = self._examples()
        self.outputs = [self.stage, self.wipe, self.recipe, settings.last_seed, self.tape, *self.charts.outputs]

    def _examples(self) -> list[Any]:
        """Buttons that set all that their words speak of, after which a run is to start.

        Not gr.Examples, which sends each component anew with its properties, and so loses those that hand over raw values.
        """
        inputs = [self.settings.fields[name] for name in EXAMPLE_FIELDS]
        with gr.Row(elem_id="examples"):
            buttons = {gr.Button(words, size="sm", min_width=60): values for words, values in EXAMPLES.items()}
        return [button.click(lambda values=values: list(values), None, inputs, **PRIVATE) for button, values in buttons.items()]

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Recipe, None]:
        return checked(self.runs.engine, forms.compare, self.settings.named(values)), None

    def values_of(self, recipe: BaseRecipe) -> list[Any] | None:
        values = codecs.compare_values(recipe)
        return None if values is None else [values[name] for name in self.settings.fields]

    def board(self, plan: SamplingPlan, about: None) -> stage.StageFrames:
        return stage.StageFrames(plan, uuid.uuid4().hex)

    def before(self, recipe: Recipe) -> list[Any]:
        # The pictures of the run before stay, with their own recipe, until there are new ones; the wipe would outlive them.
        return [KEEP, None, KEEP, recipe.seed, KEEP, *self._charts_stay]

    def update(self, board: stage.StageFrames, plan: SamplingPlan, frames: list[Frame]) -> list[Any]:
        return [board.add(frames), KEEP, text.recipe_line(plan), KEEP, board.tape, *self._charts_stay]

    def last(self, board: stage.StageFrames, plan: SamplingPlan, frames: list[Frame], error: str | None) -> list[Any]:
        board.add(frames)
        sheets = KEEP if error else final_sheets(plan, board)
        return [board.complete(plan.recipe), sheets, text.recipe_line(plan), KEEP, board.tape, *self.charts.values(board.curves())]

    @property
    def _charts_stay(self) -> list[Any]:
        return [KEEP] * len(self.charts.outputs)


def final_sheets(plan: SamplingPlan, reel: stage.StageFrames) -> tuple[Image.Image, Image.Image]:
    """The finished pictures of the two arms, each as one sheet with square pixels."""
    scale = enlargement(*plan.model.shape[1:])
    left, right = (contact_sheet(to_pixels(reel.finals[arm]), scale=scale) for arm in (0, 1))
    for sheet in (left, right):
        sheet.info.update(codecs.texts(plan.recipe))  # gradio keeps it in the PNG that it makes
    return left, right
