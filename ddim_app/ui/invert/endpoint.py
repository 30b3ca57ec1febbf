"""The endpoint /invert: a picture's latent, its reconstruction and its scores, for gradio_client and curl."""

import functools
from typing import Any

import gradio as gr

from ddim_app.diffusion import gaussianity
from ddim_app.media.images import RECIPE_KEY, png_bytes, to_pixels
from ddim_app.models.classes import ANY
from ddim_app.runs import latent_files
from ddim_app.runs.inversion import METHODS
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.sources import MIDDLE
from ddim_app.studies.inversion_table import scores, scores_as_shown
from ddim_app.ui.controls import Controls, num_train_timesteps
from ddim_app.ui.endpoints import Endpoint, Outcome, class_fields
from ddim_app.ui.fields import raw
from ddim_app.ui.invert.reading import OWN, OWN_CLAMPED, inversion_of
from ddim_app.ui.invert.tab import InvertTab
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.served_files import keep, keep_picture
from ddim_app.ui.uploads import opened, upload

SHARED = ("model", "steps", "eta", "seed", "spacing", "noise_seed", "precision", "second_model")
OWN_FIELDS = ("picture", "method", "strength", "decode_steps", "evaluations", "clamped")
PARAMETERS = {
    "picture": "a picture file, of which the middle is taken; none: the model's own sample of the seed",
    "method": "ddim-target, ddim-source, fixed-point, o-belm, o-belm-single, stochastic, stochastic-chain or sdedit",
    "strength": "part of the way up that is gone, above 0 to 1",
    "decode_steps": "steps of the way down; 0: as many as up",
    "evaluations": "of the fixed-point method's way up; 0: 4 for each step",
    "clamped": "whether the own sample is clamped to [-1, 1] first",
    "eta": "of the way down, 0 to 2; of the stochastic methods 1 where it is 0",
    "seed": "of the own sample",
    "class_label": "of a model with classes, by its name or number, or none; empty: by the seed, of a picture the null class",
    "noise_seed": "names the noise of the stochastic methods; empty: follows the seed",
    "precision": "fp64, or else fp32",
    "second_model": "another model for the way down; empty: the same",
}


def build(runs: PageRuns, settings: Controls, queued: dict[str, Any]) -> None:
    """Adds /invert to the open Blocks."""
    with gr.Row(visible=False):
        picture = upload("Picture; none: the model's own sample of the seed", "api-invert-picture")
        method = raw(gr.Dropdown(list(METHODS), value="fixed-point", label="Method"))
        strength = raw(gr.Number(1, label="Strength"))
        decode_steps, evaluations = (raw(gr.Number(0, label=label)) for label in ("Steps down", "Fixed-point evaluations"))
        clamped = raw(gr.Checkbox(False, label="Clamp the own sample"))
        classes = class_fields("class_label")
        outputs = [gr.Gallery(format="png", label="Pictures"), gr.File(label="Latent"), gr.JSON(label="Summary")]
        button = gr.Button("invert")
    fields = dict(zip(OWN_FIELDS, (picture, method, strength, decode_steps, evaluations, clamped), strict=True))
    fields |= {name: settings.fields[name] for name in SHARED} | classes
    Endpoint(
        "invert", "Turns a picture into its latent and back.",
        "the original and its reconstruction, the latent as a .safetensors file, and a summary with recipe and scores",
        fields, outputs, functools.partial(_recipe, runs), _answer, PARAMETERS,
        {"class_label": ANY},
    ).add(runs, button, queued)  # fmt: skip


def _recipe(runs: PageRuns, values: dict[str, Any]) -> Any:
    """The recipe of the endpoint's values; raises FieldError."""
    T = num_train_timesteps(runs.engine, values["model"])
    shape = InvertTab.shape_of(runs, values["model"])
    source: dict[str, Any] = OWN_CLAMPED if values["clamped"] is True else OWN
    if values["picture"]:
        source = {"file": png_bytes(opened(values["picture"]))}
    own = {name: values[name] for name in ("method", "strength", "decode_steps", "evaluations")}
    own |= {"task": "invert", "between": False, "picture": source, "crop": tuple(MIDDLE)}
    return inversion_of({name: values[name] for name in (*SHARED, "class_label")}, own, shape, T)


def _answer(outcome: Outcome, values: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    return _result(outcome.result[0], outcome.plan.recipe)


def _result(result: InversionResult, recipe: Any) -> tuple[Any, Any, dict[str, Any]]:
    shown = []
    for words, x in (("original", result.original), ("reconstruction", result.back)):
        shown.append((keep_picture(to_pixels(x)[0], [(RECIPE_KEY, recipe.to_json())]), words))
    name = f"latent{latent_files.SUFFIX}"
    path = keep(latent_files.save(result.latent), name)
    look = gaussianity.look(result.latent.x)[0]
    bare = None if result.without_residual is None else scores(result.original, result.without_residual)[0].mse
    cosine = None if result.true_latent is None else gaussianity.cosine(result.latent.x, result.true_latent)[0]
    summary = {
        "recipe": recipe.to_json(),
        "nfe": list(result.evaluations),
        "seconds": round(result.seconds, 3),
        "scores": scores(result.original, result.back)[0]._asdict(),
        "scores_as_shown": scores_as_shown(result.original, result.back)[0]._asdict(),
        "mse_without_residual": bare,
        "residuals": list(result.residuals),
        "noise_stds": list(result.noise_stds),
        "latent": {**look._asdict(), "verdict": look.verdict, "kind": result.latent.kind, "cosine_to_true": cosine},
    }
    return shown, path, summary
