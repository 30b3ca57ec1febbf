"""A restored recipe run exactly as it is."""

from typing import Any

import gradio as gr

from ddim_app.errors import FieldError
from ddim_app.runs.sampling import Recipe
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.controls import Controls
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.run_tab import RunTab


class ExactRun(RunTab):
    """Runs a restored recipe as it is, with all its arms and its bucket, on the stage of Compare."""

    title, name = CompareTab.title, CompareTab.name  # a run of either ends the other's

    def __init__(self, runs: PageRuns, settings: Controls, compare: CompareTab, recipe: gr.State) -> None:
        super().__init__(runs, settings)
        self._compare = compare
        self.inputs = [recipe]
        self.outputs = compare.outputs

    def recipe_of(self, values: tuple[Any, ...]) -> tuple[Recipe, None]:
        if not isinstance(values[0], Recipe):
            raise FieldError("recipe", "must be restored first")
        return values[0], None

    def board(self, plan: Any, about: None) -> Any:
        return self._compare.board(plan, about)

    def before(self, recipe: Recipe) -> list[Any]:
        return self._compare.before(recipe)

    def update(self, board: Any, plan: Any, frames: list[Any]) -> list[Any]:
        return self._compare.update(board, plan, frames)

    def last(self, board: Any, plan: Any, frames: list[Any], error: str | None) -> list[Any]:
        # The wipe is of two pictures.
        return self._compare.last(board, plan, frames, error if len(plan.recipe.arms) > 1 else "one arm")
