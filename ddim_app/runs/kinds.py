"""The kinds of runs in one table, by the name that their JSON has, and a recipe read back from its JSON."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from ddim_app.errors import FieldError, shown
from ddim_app.runs import decoding, interpolation_plan, inversion_plan, lessons, likelihood, mixing, sampling
from ddim_app.runs.base import LINK, BaseRecipe, Load, Plan
from ddim_app.runs.decoding import DecodeRecipe
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.inversion import InvertRecipe
from ddim_app.runs.lessons import LessonRecipe
from ddim_app.runs.likelihood import LikelihoodRecipe
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Recipe


class Kind(NamedTuple):
    """A kind of run: its recipe, and what makes a recipe ready to run on its models."""

    recipe: type[BaseRecipe]
    plan: Callable[[Any, Load], Plan]


KINDS = {
    kind.recipe.kind: kind
    for kind in (
        Kind(Recipe, sampling.plan), Kind(PathRecipe, interpolation_plan.plan), Kind(InvertRecipe, inversion_plan.plan),
        Kind(LessonRecipe, lessons.plan), Kind(LikelihoodRecipe, likelihood.plan), Kind(MixRecipe, mixing.plan),
        Kind(DecodeRecipe, decoding.plan),
    )
}  # fmt: skip
"""All kinds of runs; a new one is a line and its imports here."""


def plan(recipe: BaseRecipe, load: Load) -> Plan:
    """The plan of a recipe of any kind; raises FieldError when its models cannot do what it asks for."""
    return KINDS[recipe.kind].plan(recipe, load)


def from_json(text: str) -> BaseRecipe:
    """The recipe that to_json wrote, of whatever kind; raises FieldError when a value is wrong or the text is no recipe."""
    try:
        values = json.loads(text)
        values.pop(LINK, None)
        return KINDS[values.pop("kind", Recipe.kind)].recipe.from_values(values)
    except FieldError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FieldError("recipe", f"must be the JSON of a recipe; got {shown(text)}") from error
