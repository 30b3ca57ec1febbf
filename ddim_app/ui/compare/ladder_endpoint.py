"""The endpoint /ladder: the same picture at more and more steps by both samplers, and its distances to many steps."""

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from ddim_app.diffusion.metrics import patch_rmse, rmse, settled
from ddim_app.errors import FieldError, whole
from ddim_app.media.images import Pixels, from_pixels, to_pixels
from ddim_app.runs import axes, codecs, forms
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui.compare.ladder import COLUMNS, LIVE_REFERENCE, TRUSTED
from ddim_app.ui.controls import NO_CLASS, UNKNOWN_TIMESTEPS, Controls, checked, num_train_timesteps
from ddim_app.ui.endpoints import Endpoint, Outcome, class_fields
from ddim_app.ui.fields import raw
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.served_files import keep_picture

LEFT_OUT = ("steps", "pictures", "ddpm_steps", "second_model", *NO_CLASS)
"""Fields of the settings column that a ladder has no use for, or has behind its own."""
PARAMETERS = {
    "eta": "DDIM's stochasticity, 0 to 2; 0 is deterministic, 1 has DDPM's variance",
    "seed": "0 to 2^32 - 1; of the one picture",
    "columns": 'steps of the columns, such as "3, 5, 10" or "10:50:10"',
    "reference": "steps of each sampler's own picture that its row is measured to, the last column; 0: all of the model's",
}


def build(runs: PageRuns, settings: Controls, queued: dict[str, Any]) -> None:
    """Adds /ladder to the open Blocks."""
    with gr.Row(visible=False):
        columns = raw(gr.Textbox(", ".join(map(str, COLUMNS)), label="Columns"))
        reference = raw(gr.Number(LIVE_REFERENCE, label="Steps of the reference; 0: all"))
        outputs = [gr.Gallery(format="png", label="Pictures"), gr.JSON(label="Summary")]
        classes, button = class_fields(), gr.Button("ladder")
    fields = {name: field for name, field in settings.fields.items() if name not in LEFT_OUT}
    fields |= {"columns": columns, "reference": reference, **classes}
    Endpoint(
        "ladder", "Draws one seed at several step counts by DDIM(eta) and by DDPM, each measured to its own with many steps.",
        "the pictures, DDIM's first, and a summary: the RMSE over pixels of the 8-bit pictures (of 255) of each, that of its worst "
        "4 x 4 patch, and from which steps on a row stays within 5 of 255 and every patch under 15: stability, not quality; "
        "measured to fewer than all steps, columns above 20 carry no such verdict",
        fields, outputs, functools.partial(recipe_of, runs), answer, PARAMETERS, NO_CLASS,
    ).add(runs, button, queued)  # fmt: skip


def recipe_of(runs: PageRuns, values: dict[str, Any]) -> Recipe:
    """Both samplers at each column, and at the reference after them; raises FieldError."""
    T = num_train_timesteps(runs.engine, values["model"])
    columns = axes.parse("steps", values["columns"], T, "columns").values
    if values["reference"] == 0 and T == UNKNOWN_TIMESTEPS:
        raise FieldError("reference", "must be a number of steps for a model that is not here yet; got 0, all of them")
    last = whole("reference", values["reference"] or T, max(columns), T)
    column = {"steps": last, "pictures": 1, "ddpm_steps": 0, "second_model": ""}
    both: Recipe = checked(runs.engine, forms.compare, {**values, **column})
    return both.with_arms(*(replace(arm, steps=steps) for arm in both.arms for steps in sorted({*columns, last})))


def answer(outcome: Outcome, values: dict[str, Any]) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """The gallery, and the summary."""
    recipe: Recipe = outcome.plan.recipe
    pixels = [to_pixels(pictures) for pictures in outcome.result]
    count = len(pixels) // 2
    is_whole = recipe.arms[-1].steps == outcome.plan.model.schedule.num_train_timesteps
    summary = {
        "recipe": json.loads(recipe.to_json()), "columns": [arm.steps for arm in recipe.arms[:count]],
        "rows": [_row(recipe.arms[i : i + count], pixels[i : i + count], is_whole) for i in (0, count)],
        "seconds": round(outcome.seconds, 3),
    }  # fmt: skip
    shown = [
        (keep_picture(picture[0], codecs.texts(recipe.with_arms(arm))), f"{arm.label}, {arm.steps} steps, seed {recipe.seed}")
        for arm, picture in zip(recipe.arms, pixels, strict=True)
    ]
    return shown, summary


def _row(arms: Sequence[Arm], pixels: Sequence[Pixels], is_whole: bool) -> dict[str, Any]:
    """One sampler's distances to its last picture, which `is_whole` where it has all steps; else large columns have no verdict."""
    drawn = [from_pixels(picture) for picture in pixels]
    apart, patch = ([float(measure(picture, drawn[-1])) for picture in drawn] for measure in (rmse, patch_rmse))
    place = settled(apart, patch)
    within = arms[place].steps if place is not None and place < len(arms) - 1 else None
    return {
        "sampler": arms[0].label, "rmse": [round(value, 2) for value in apart], "worst_patch": [round(value, 2) for value in patch],
        "within_5_from": within if within is not None and (is_whole or within <= TRUSTED) else None,
    }  # fmt: skip
