"""A recipe as values of the page's fields: which tab can say it, and how."""

from collections.abc import Sequence
from typing import Any

from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import MAX_STEPS
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.tables import table_of
from ddim_app.ui.controls import NO_CLASS, Controls
from ddim_app.ui.matrix.tab import MatrixTab
from ddim_app.ui.run_tab import RunTab


def shown_by(tabs: Sequence[RunTab], settings: Controls, recipe: BaseRecipe) -> tuple[RunTab, list[Any]] | None:
    """The first tab whose fields say the recipe, and the values of its inputs; None where none does."""
    for tab in tabs:
        own = matrix_values(settings, recipe) if isinstance(tab, MatrixTab) else tab.values_of(recipe)
        if own is not None:
            return tab, own
    return None


def field_values(recipe: Recipe, arm: Arm) -> dict[str, Any]:
    """The settings column for one arm of a recipe."""
    shared = {name: getattr(recipe, name) for name in ("model", "seed", "pictures", "precision", "branch")}
    its = {name: getattr(arm, name) for name in ("steps", "eta", "spacing", "variance", "clip")}
    noise_seed = "" if recipe.noise_seed is None else str(recipe.noise_seed)
    label, weight = arm.class_label or recipe.class_label, arm.guidance
    classes = {**NO_CLASS, **({"class_label": label} if label else {}), **({} if weight is None else {"guidance": weight})}
    return {**shared, **its, "ddpm_steps": 0, "second_model": "", "noise_seed": noise_seed, **classes}


def matrix_values(settings: Controls, recipe: BaseRecipe) -> list[Any] | None:
    """What the matrix' inputs have to be for a recipe whose arms fill one."""
    table = table_of(recipe.arms, MAX_STEPS) if isinstance(recipe, Recipe) else None
    if table is None or not isinstance(recipe, Recipe):
        return None
    values = field_values(recipe, table.base)
    return [*(values[name] for name in settings.fields), *table.rows, *table.columns]
