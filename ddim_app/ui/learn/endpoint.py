"""The endpoint /likelihood: the bound of an uploaded picture, for gradio_client and curl."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.runs.likelihood import Bound, LikelihoodPlan, LikelihoodRecipe, TermCollector
from ddim_app.runs.sources import of_image
from ddim_app.ui import uploads
from ddim_app.ui.controls import validator
from ddim_app.ui.fields import raw
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.progress import ProgressEvents

FIELDS = ("picture", "model", "mode", "evaluations", "draws", "seed", "clip", "precision")


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
        ]
        result, button = gr.JSON(label="Bound"), gr.Button("likelihood")

    def check(values: tuple[Any, ...]) -> None:
        made = recipe_of(runs, dict(zip(FIELDS, values, strict=True)))
        if runs.engine.is_here(made.model):
            runs.engine.plan(made)

    button.click(
        _likelihood(runs), inputs, result, api_name="likelihood", validator=validator(check, list(FIELDS)), trigger_mode="multiple",
        **queued,
    )  # fmt: skip


def recipe_of(runs: PageRuns, values: dict[str, Any]) -> LikelihoodRecipe:
    """The recipe of raw values; raises FieldError."""
    settings = {name: value for name, value in values.items() if name != "picture"}
    made = LikelihoodRecipe(**settings)  # judges all but the picture, before anything is loaded
    source = of_image(uploads.opened(values["picture"]), runs.engine.model(made.model).shape)
    return LikelihoodRecipe(**settings, pictures=(source,))


def _likelihood(runs: PageRuns) -> Any:
    async def likelihood(
        request: gr.Request, picture: str, model: str, mode: str, evaluations: int, draws: int, seed: int, clip: str,
        precision: str,
    ) -> AsyncGenerator[dict[str, Any], None]:  # fmt: skip
        """Measures how many bits a model needs for a picture, by the variational bound.

        Args:
            picture: a picture file; it is cut and resized to the model's size
            model: name of a model of this app, or an id on the Hugging Face Hub
            mode: quick or full
            evaluations: network evaluations of a quick estimate, 60 to 1000
            draws: noise draws of every term of a full bound, 2 to 16
            seed: names the noise draws
            clip: what is done to the predicted picture: clip, off or dynamic
            precision: fp32, fp64, or fast, which may be bf16

        Returns:
            bits per dimension with standard errors, rate, distortion, RMSE, and the terms, for both variances
        """
        values = {key: value for key, value in locals().items() if key in FIELDS}
        try:
            made = await asyncio.to_thread(recipe_of, runs, values)
        except FieldError as error:
            raise gr.Error(str(error), print_exception=False) from error
        collector: TermCollector | None = None
        progress = ProgressEvents()
        async with aclosing(runs.stream(made, request)) as stream:
            async for news in stream:
                for item in news:
                    if isinstance(item, LikelihoodPlan):
                        collector = TermCollector(item)
                    elif isinstance(item, list) and collector:
                        for terms in item:
                            collector.add(terms)
                    elif isinstance(item, Finished) and item.error:
                        raise gr.Error(item.error, print_exception=False)
                    elif isinstance(item, Finished) and collector:
                        yield summary(collector.bounds()[0], item.recipe)
                        return
                if step := progress.of(news):
                    yield step

    return likelihood


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
