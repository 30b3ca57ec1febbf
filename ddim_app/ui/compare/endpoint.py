"""The endpoints /compare and /generate: what the tab does, for gradio_client and curl."""

import functools
import json
from itertools import chain
from typing import Any

import gradio as gr

from ddim_app.diffusion.noise import picture_seed
from ddim_app.lazy import torch
from ddim_app.media.images import to_pixels
from ddim_app.runs import codecs, forms
from ddim_app.runs.methods import METHODS
from ddim_app.runs.sampling import Recipe, SamplingPlan
from ddim_app.ui.components import stage
from ddim_app.ui.controls import NO_CLASS, Controls, checked
from ddim_app.ui.endpoints import Endpoint, Outcome, class_fields
from ddim_app.ui.fields import raw
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.served_files import keep_picture

Shown = list[tuple[str, str]]


def build(runs: PageRuns, settings: Controls, queued: dict[str, Any]) -> None:
    """Adds /compare and /generate to the open Blocks."""
    with gr.Row(visible=False):
        pictures, others = (gr.Gallery(format="png", label=label) for label in ("DDIM", "DDPM"))
        summary = gr.JSON(label="Summary")
        method = raw(gr.Radio(list(METHODS), value="ddim", label="Method"))
        timesteps = raw(gr.Textbox("", label="Explicit timesteps, such as 999, 500, 0; empty: none"))
        bucket = raw(gr.Number(0, label="Rows of every network call; 0: whatever comes"))
        classes = class_fields()
        buttons = [gr.Button(name) for name in ("compare", "generate")]
    shared = {name: field for name, field in settings.fields.items() if name not in NO_CLASS} | {"bucket": bucket}
    fields = shared | classes
    _compare(runs, fields, [pictures, others, summary]).add(runs, buttons[0], queued)
    fields = {"method": method, **shared, "timesteps": timesteps, **classes}
    del fields["ddpm_steps"], fields["second_model"]
    _generate(runs, fields, [pictures, summary]).add(runs, buttons[1], queued)


def _compare(runs: PageRuns, fields: dict[str, Any], outputs: list[Any]) -> Endpoint:
    def answer(outcome: Outcome, values: dict[str, Any]) -> tuple[Shown, Shown, dict[str, Any]]:
        shown = _shown(outcome)
        return [*chain(*shown[::2])], [*chain(*shown[1::2])], _summary(runs, outcome)

    return Endpoint(
        "compare", "Draws the same seeds by DDIM(eta) and by DDPM from the same starting noise.",
        "DDIM's pictures, DDPM's pictures (each model's in turn), and a summary with recipe, NFE, seconds, PSNR and SSIM",
        fields, outputs, functools.partial(checked, runs.engine, forms.compare), answer,
        {
            "eta": "DDIM's stochasticity, 0 to 2; 0 is deterministic, 1 has DDPM's variance",
            "ddpm_steps": "DDPM's own step count; 0 means the same",
            "second_model": "another model to sample in the same way from the same noise; empty: none",
        },
        NO_CLASS,
    )  # fmt: skip


def _generate(runs: PageRuns, fields: dict[str, Any], outputs: list[Any]) -> Endpoint:
    def answer(outcome: Outcome, values: dict[str, Any]) -> tuple[Shown, dict[str, Any]]:
        return _shown(outcome)[0], _summary(runs, outcome)

    return Endpoint(
        "generate", "Draws pictures by one method.", "the pictures, and a summary with recipe, NFE and seconds",
        fields, outputs, functools.partial(checked, runs.engine, forms.generate), answer,
        {
            "method": "ddim, ddpm or 2m, which is DPM-Solver++ (2M)",
            "timesteps": "the train timesteps to visit, such as 999, 500, 0; takes the place of steps and spacing",
        },
        NO_CLASS,
    )  # fmt: skip


def _shown(outcome: Outcome) -> list[Shown]:
    """The pictures of each arm, with their captions."""
    return [_captioned(pictures, arm, outcome.plan.recipe) for arm, pictures in enumerate(outcome.result)]


def _captioned(pictures: "torch.Tensor", arm: int, recipe: Recipe) -> Shown:
    shown = []
    for i, pixels in enumerate(to_pixels(pictures)):
        path = keep_picture(pixels, codecs.texts(recipe))
        shown.append((path, f"{recipe.arms[arm].label}, seed {picture_seed(recipe.seed, i)}"))
    return shown


def _summary(runs: PageRuns, outcome: Outcome) -> dict[str, Any]:
    plan: SamplingPlan = outcome.plan
    return {
        "recipe": json.loads(plan.recipe.to_json()),
        "number_format": runs.engine.number_format(plan.recipe.precision),
        "nfe": [arm.nfe for arm in plan.arms],
        "first_timestep": [row.levels[0].t for row in plan.rows],
        "seconds": round(outcome.seconds, 3),
        "scores": stage.scores(dict(enumerate(outcome.result))),
    }
