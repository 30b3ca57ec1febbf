"""The kinds of runs in one table, by the name that their JSON has, and a recipe read back from its JSON."""

import json

from ddim_app.errors import FieldError, shown
from ddim_app.runs import interpolation_plan, inversion_plan  # noqa: F401  (their plans)
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.decoding import DecodeRecipe
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.inversion import InvertRecipe
from ddim_app.runs.lessons import LessonRecipe
from ddim_app.runs.likelihood import LikelihoodRecipe
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.sampling import Recipe

KINDS: dict[str, type[BaseRecipe]] = {
    cls.kind: cls for cls in (Recipe, PathRecipe, InvertRecipe, LessonRecipe, LikelihoodRecipe, MixRecipe, DecodeRecipe)
}
"""The recipe of each kind of run, by its `kind`."""


def from_json(text: str) -> BaseRecipe:
    """The recipe that to_json wrote, of whatever kind; raises FieldError when a value is wrong or the text is no recipe."""
    try:
        values = json.loads(text)
        return KINDS[values.pop("kind", Recipe.kind)].from_values(values)
    except FieldError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FieldError("recipe", f"must be the JSON of a recipe; got {shown(text)}") from error
