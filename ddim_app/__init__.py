"""DDPM and DDIM side by side: schedules, samplers, and the page that compares them.

    from ddim_app import Arm, Engine, Recipe

    recipe = Recipe(arms=(Arm(method="ddim", steps=10), Arm(method="ddpm", steps=10)), seed=7)
    ddim, ddpm = Engine().final(recipe)

Everything below is loaded when it is first asked for, so that `import ddim_app` costs nothing. To read the code, begin with
`diffusion/reference.py`: the samplers as the papers write them, for one picture.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ddim_app import _old_paths

__version__ = "0.2.0"

if TYPE_CHECKING:
    from ddim_app.diffusion.reference import invert, sample
    from ddim_app.diffusion.schedule import Schedule
    from ddim_app.engine import Engine
    from ddim_app.errors import FieldError
    from ddim_app.media.images import contact_sheet, to_pixels
    from ddim_app.models.catalogue import load_model
    from ddim_app.runs.sampling import Arm, Recipe

__all__ = ["Arm", "Engine", "FieldError", "Recipe", "Schedule", "contact_sheet", "invert", "load_model", "sample", "to_pixels"]
"""Where one begins. The recipes of other kinds of runs, and what their snippets need, are here as well: see HOMES."""

HOMES = {
    "Engine": "engine", "FieldError": "errors",
    "Schedule": "diffusion.schedule", "initial_noise": "diffusion.noise", "sample": "diffusion.reference",
    "invert": "diffusion.reference", "load_model": "models.catalogue",
    "contact_sheet": "media.images", "to_pil": "media.images", "to_pixels": "media.images", "png": "runs.codecs",
    "from_json": "runs.kinds", "Source": "runs.sources",
    "Recipe": "runs.sampling", "Arm": "runs.sampling", "InvertRecipe": "runs.inversion", "InversionArm": "runs.inversion",
    "PathRecipe": "runs.interpolation", "MovingArm": "runs.interpolation", "MixRecipe": "runs.mixing",
    "LikelihoodRecipe": "runs.likelihood", "LessonRecipe": "runs.lessons", "DecodeRecipe": "runs.decoding",
}  # fmt: skip
"""The module of each name that can be imported from here."""


def __getattr__(name: str) -> Any:
    """A name of HOMES, from the module that it is defined in."""
    if name in HOMES:
        return getattr(import_module(f"ddim_app.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_old_paths.install()
