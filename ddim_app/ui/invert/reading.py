"""The recipe of the values of Invert's fields, for the tab and the endpoint alike."""

import io
from typing import Any

from PIL import Image

from ddim_app.errors import FieldError, choice, shown, whole
from ddim_app.runs import latent_files
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.decoding import of_file
from ddim_app.runs.forms import parse_noise_seed
from ddim_app.runs.inversion import STOCHASTIC, InversionArm, InvertRecipe
from ddim_app.runs.sources import Crop, Source, of_image
from ddim_app.studies.inversion_table import arms, parse_methods, parse_steps

TASKS = ("invert", "curve", "decode")
OWN: dict[str, Any] = {"name": "own", "own": "float"}
OWN_CLAMPED: dict[str, Any] = {"name": "own", "own": "clamped"}
"""The model's own sample of the seed, as it came out, or clamped to [-1, 1] as a saved picture is."""


NO_LATENT = "must be found or loaded first: run an inversion, or load a latent file"


def inversion_of(named: dict[str, Any], own: dict[str, Any], shape: tuple[int, int, int], T: int) -> BaseRecipe:
    """The recipe of raw values: of the settings column, and of the tab's or the API's own fields. Raises FieldError."""
    precision = "fp64" if named["precision"] == "fp64" else "fp32"
    noise_seed, seed = parse_noise_seed(named["noise_seed"]), whole("seed", named["seed"], 0)
    shared: dict[str, Any] = {"model": named["model"], "precision": precision}
    shared |= {"noise_seed": seed if noise_seed is None else noise_seed, "class_label": named.get("class_label")}
    if choice("task", own["task"], TASKS) == "decode":
        if not own["latent"]:
            raise FieldError("latent", NO_LATENT)
        latent = latent_files.load(own["latent"])
        # Of what belongs to its own eta none is asked for, unless somebody has moved it, who is then told.
        eta = named["eta"] if latent.kind == "single" or named["eta"] != 0 else None
        return of_file(own["latent"], eta=eta, **{**shared, "model": named.get("second_model") or named["model"]})
    picture: dict[str, Any] = own["picture"] if isinstance(own["picture"], dict) else dict(OWN)
    if "refused" in picture:
        raise FieldError("picture", f"{picture['refused']}. Choose another, or press the one before to go on with it")
    made = "file" not in picture
    source = Source(seed=named["seed"]) if made else of_image(_open(picture["file"]), shape, Crop(*own["crop"]))
    curve = own["task"] == "curve"
    arm = InversionArm(
        method="ddim-target" if curve else own["method"],
        steps=whole("steps", named["steps"], 1, T), spacing=named["spacing"], strength=own["strength"],
        eta=None if own["method"] in STOCHASTIC and not named["eta"] else named["eta"],
        decode_steps=whole("decode_steps", 0 if own["decode_steps"] is None else own["decode_steps"], 0, T) or None,
        evaluations=whole("evaluations", 0 if own["evaluations"] is None else own["evaluations"], 0) or None,
    )  # fmt: skip
    arms_made = _curve_arms(own, arm, T) if curve else [arm]
    return InvertRecipe(
        sources=(source,), arms=tuple(arms_made), decode_model=named.get("second_model") or None,
        clamped=picture.get("own") == "clamped", self_interpolation=bool(own["between"]) and made and not curve, **shared,
    )  # fmt: skip


def _curve_arms(own: dict[str, Any], common: InversionArm, T: int) -> list[InversionArm]:
    """The arms of a curve: every method at every step count."""
    if not isinstance(own["methods"], list):
        raise FieldError("methods", f"must be a list of methods; got {shown(own['methods'])}")
    methods = parse_methods(" ".join(map(str, own["methods"])))
    try:
        counts = parse_steps(str(own["curve steps"]))
    except FieldError as error:
        raise FieldError("curve steps", str(error).removeprefix("steps ")) from error
    return [arm for count in counts for arm in arms(common, methods, whole("curve steps", count, 1, T))]


def single_latent(data: bytes | None) -> bytes:
    """The bytes of a latent file, if paths between latents can take it; raises FieldError."""
    if not data:
        raise FieldError("latent", NO_LATENT)
    latent_files.load(data).check_end()
    return data


def is_end(data: bytes | None) -> bool:
    """Whether Interpolate takes the latent."""
    try:
        return bool(single_latent(data))
    except FieldError:
        return False


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("PNG",)).convert("RGB")
