"""The endpoint /likelihood: the bound of an uploaded picture, for gradio_client and curl."""

import functools
import json
from typing import Any

import gradio as gr

from ddim_app.models.classes import ANY
from ddim_app.runs.likelihood import Bound, LikelihoodRecipe
from ddim_app.runs.sources import of_image
from ddim_app.ui import uploads
from ddim_app.ui.endpoints import Endpoint, Outcome, class_fields
from ddim_app.ui.fields import raw
from ddim_app.ui.page_runs import PageRuns

FIELDS = ("picture", "model", "mode", "evaluations", "draws", "seed", "clip", "precision", "class_label")
PARAMETERS = {
    "picture": "a picture file; it is cut and resized to the model's size",
    "mode": "quick or full",
    "evaluations": "network evaluations of a quick estimate, 60 to 1000",
    "draws": "noise draws of every term of a full bound, 2 to 16",
    "class_label": "of a model with classes, by its name or number; empty or none: the null class",
    "seed": "names the noise draws",
    "precision": "fp32, fp64, or fast, which may be bf16",
}


def build(runs: PageRuns, queued: dict[str, Any]) -> None:
    """Adds the endpoint to the open Blocks."""
    names = runs.engine.catalogue.names()
    with gr.Row(visible=False):
        inputs = [
            uploads.upload("Picture", "api-likelihood-picture"),
            raw(gr.Textbox(names[0] if names else "", label="Model")),
            raw(gr.Radio(["quick", "full"], value="quick", label="Mode")),
            raw(gr.Number(100, label="Evaluations of a quick estimate")),
            raw(gr.Number(2, label="Noise draws of every term of a full bound")),
            raw(gr.Number(0, label="Seed of the noise")),
            raw(gr.Radio(["clip", "off", "dynamic"], value="clip", label="Predicted picture")),
            raw(gr.Radio(["fp32", "fp64", "fast"], value="fp32", label="Precision")),
            *class_fields("class_label").values(),
        ]
        result, button = gr.JSON(label="Bound"), gr.Button("likelihood")

    Endpoint(
        "likelihood", "Measures how many bits a model needs for a picture, by the variational bound.",
        "bits per dimension with standard errors, rate, distortion, RMSE, and the terms, for both variances",
        dict(zip(FIELDS, inputs, strict=True)), [result], functools.partial(recipe_of, runs), _answer, PARAMETERS,
        {"class_label": ANY},
    ).add(runs, button, queued)  # fmt: skip


def recipe_of(runs: PageRuns, values: dict[str, Any]) -> LikelihoodRecipe:
    """The recipe of raw values; raises FieldError."""
    settings = {name: value for name, value in values.items() if name != "picture"}
    made = LikelihoodRecipe(**settings)  # judges all but the picture, before anything is loaded
    source = of_image(uploads.opened(values["picture"]), runs.engine.model(made.model).shape)
    return LikelihoodRecipe(**settings, pictures=(source,))


def _answer(outcome: Outcome, values: dict[str, Any]) -> dict[str, Any]:
    return summary(outcome.result[0], outcome.plan.recipe)


def summary(bound: Bound, recipe: LikelihoodRecipe) -> dict[str, Any]:
    """A bound as JSON, in bits per dimension."""
    settings = json.loads(recipe.to_json())
    del settings["pictures"]
    return {"recipe": settings, "evaluations": len(bound.design), "prior": bound.prior, "rmse": bound.rmse} | {
        variance: {
            "bits_per_dim": bound.total(variance)[0],
            "standard_error": bound.total(variance)[1],
            "bits_per_dim_decoder_beta": bound.total(variance, "beta")[0],
            "rate": bound.rate(variance),
            "distortion": bound.distortion(),
            "terms": {str(t): term for t, term in bound.by_t(bound.terms(variance)).items()},
        }
        for variance in ("small", "large")
    }
