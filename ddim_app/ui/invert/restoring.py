"""A recipe of an inversion, or of a latent drawn down, as values of Invert's fields."""

import base64
import io
from dataclasses import replace
from typing import Any, NamedTuple

from PIL import Image

from ddim_app.errors import FieldError
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import MAX_STEPS
from ddim_app.runs.decoding import DecodeRecipe
from ddim_app.runs.inversion import InvertRecipe
from ddim_app.runs.sources import MIDDLE, Source, of_image
from ddim_app.ui.controls import NO_CLASS
from ddim_app.ui.invert.asking import ASKED, chosen, uploaded
from ddim_app.ui.invert.reading import OWN, OWN_CLAMPED, inversion_of
from ddim_app.ui.invert.samples import SAMPLES, opened

NO_SHAPE = (0, 0, 0)
"""Of a run that takes no picture."""
AS_BEGUN = {"task": "invert", "strength": 1.0, "decode_steps": 0, "evaluations": 0, "between": False, "crop": tuple(MIDDLE)}


class Restored(NamedTuple):
    """What says a recipe on the page."""

    column: dict[str, Any]
    """Values of fields of the settings column."""
    own: dict[str, Any]
    """Values of the tab's own fields."""
    picture: dict[str, Any]
    """What the card of pictures, the visitor's own picture and the crop's view become."""


def restored(recipe: BaseRecipe) -> Restored | None:
    """What the fields have to be for the recipe, its weights, backend and bucket aside; None where none make it."""
    try:
        if isinstance(recipe, InvertRecipe) and len(recipe.sources) == len(recipe.arms) == 1:
            made, shape = _inversion(recipe, recipe.sources[0])
        elif isinstance(recipe, DecodeRecipe):
            made, shape = _decoding(recipe), NO_SHAPE
        else:
            return None
        again = inversion_of(made.column, {**AS_BEGUN, **made.column, **made.own}, shape, MAX_STEPS)
    except FieldError:  # what no field takes: more steps than a model has, a latent or a picture that cannot be read
        return None
    return made if _bare(again) == _bare(recipe) else None


def _inversion(recipe: InvertRecipe, source: Source) -> tuple[Restored, tuple[int, int, int]]:
    arm, seed, noise_seed = recipe.arms[0], recipe.noise_seed, ""
    picture, shape = OWN_CLAMPED if recipe.clamped else OWN, NO_SHAPE
    shown = chosen(picture["name"], None, None)
    if source.seed is not None:
        seed, noise_seed = source.seed, "" if source.seed == recipe.noise_seed else str(recipe.noise_seed)
    else:
        data, shape = _picture(source)
        height, width = shape[1:]
        name = next((name for name in SAMPLES if of_image(opened(name), shape) == source), None)
        shown = chosen(name, None, (height, width)) if name else uploaded(data, {}, None, (height, width))
    asked = dict(zip(ASKED, shown, strict=True))
    picture = picture if source.seed is not None else asked["picture"]
    column = {
        "steps": arm.steps, "eta": arm.eta, "spacing": arm.spacing, "method": arm.method, "seed": seed, "noise_seed": noise_seed,
        "second_model": recipe.decode_model or "",
    }  # fmt: skip
    own = {
        "task": "invert", "strength": arm.strength, "decode_steps": arm.decode_steps or 0, "evaluations": arm.evaluations or 0,
        "between": recipe.self_interpolation, "picture": picture, "crop": tuple(MIDDLE),
    }  # fmt: skip
    card = {name: asked[name] for name in ("pictures", "upload", "crop_view")}
    return Restored(_shared(recipe) | column, own, card), shape


def _decoding(recipe: DecodeRecipe) -> Restored:
    latent = recipe.opened()
    column = {"eta": latent.eta if recipe.eta is None else recipe.eta, "seed": recipe.noise_seed, "noise_seed": ""}
    if latent.kind != "single" and column["eta"] == latent.eta:
        column["eta"] = 0  # as it stands for one that belongs to its own
    own = {"task": "decode", "latent": base64.b64decode(recipe.latent)}
    return Restored(_shared(recipe) | column | {"second_model": ""}, own, {})


def _shared(recipe: InvertRecipe | DecodeRecipe) -> dict[str, Any]:
    label = {"class_label": recipe.class_label} if recipe.class_label else {}
    return {**NO_CLASS, **label, "model": recipe.model, "precision": recipe.precision}


def _picture(source: Source) -> tuple[bytes, tuple[int, int, int]]:
    """The picture of a source as a file, and as what shape (C, H, W) a model takes it; raises FieldError where it is none."""
    if source.png is None:
        raise FieldError("picture", "must be of 8 bits; this one is of floats")
    data = base64.b64decode(source.png)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            return data, (1 if image.mode == "L" else 3, image.height, image.width)
    except OSError as error:
        raise FieldError("picture", "must be a PNG picture; this one is none") from error


def _bare(recipe: BaseRecipe) -> BaseRecipe:
    """The recipe without what belongs to where it was made, and with the eta of its latent where it names none."""
    aside: dict[str, Any] = {"weights": None, "backend": None, "bucket": None}
    if isinstance(recipe, InvertRecipe):
        aside["decode_weights"] = None
    elif isinstance(recipe, DecodeRecipe) and recipe.eta is None:
        aside["eta"] = recipe.opened().eta
    return replace(recipe, **aside)
