"""The endpoint /interpolate: what the tab does, for gradio_client and curl."""

from dataclasses import asdict
from typing import Any

import gradio as gr

from ddim_app.errors import FieldError
from ddim_app.media.animation import AnimationError
from ddim_app.media.images import RECIPE_KEY, to_pixels
from ddim_app.runs import path_files
from ddim_app.runs.path_frames import CollectedFrames
from ddim_app.ui.controls import NO_CLASS, Controls
from ddim_app.ui.endpoints import Endpoint, Outcome, class_fields
from ddim_app.ui.fields import raw
from ddim_app.ui.hosting.gradio_patches import preprocessed
from ddim_app.ui.interpolate import tab
from ddim_app.ui.page_runs import PageRuns
from ddim_app.ui.served_files import keep, keep_picture
from ddim_app.ui.uploads import uploaded_bytes

LEFT_OUT = ("pictures", "second_model", *NO_CLASS)
"""Fields of the settings column that a path has no use for, or has behind its own."""
FILES = ("end_a", "end_b", "end_c", "end_d")
PARAMETERS = {
    "steps": "network evaluations per picture, 1 to the model's train timesteps",
    "seed": "the first end, where `seeds` names none",
    "ddpm_steps": "DDPM's own step count, 0: the same; of a mix, its steps over all T",
    "noise_seed": "names the step noise; empty: that of the ends' own seeds",
    "mode": "line, grid, loop, mix (DDPM's way), arithmetic, variation or truncation",
    "seeds": 'the ends, such as "7, 8"; those that are missing count up',
    "noise": "step noise from frame to frame: slerp (moves along), shared (one for all) or fresh",
    "method": "ddim, ddpm, both, or all (DDIM, and DDPM with each noise)",
    "way": "slerp, lerp, or restored (lerp with its norm put right)",
    "frames": "of a line, loop, mix, arithmetic or truncation, 2 to 121; of variations, at most 24",
    "start": "where a line begins, -1 to 2; below 0 is beyond the first end",
    "stop": "where it ends",
    "rows": "of a grid, 2 to 11",
    "columns": "of a grid, 2 to 11",
    "strength": "of variations, 0 to 1",
    "level": "forward steps of a mix, 0 to T",
    "table": "whether a mix is made at nine levels, as in the DDPM paper's Fig. 9",
    "q_noise": "independent, or shared by the two ends of a mix",
    "end_a": "a picture or latent file in place of the first end",
    "end_b": "of the second",
    "end_c": "of the third",
    "end_d": "of the fourth",
    "file_kind": "a file to make of the result: sheet, gif, webp, mp4 or latents; empty: none",
}


def build(runs: PageRuns, settings: Controls, queued: dict[str, Any]) -> None:
    """Adds /interpolate to the open Blocks."""
    with gr.Row(visible=False):
        own = {name: raw(component) for name, component in _fields().items()}
        files = {name: preprocessed(gr.File(None, label=f"End {name[-1].upper()}"), uploaded_bytes) for name in FILES}
        classes = class_fields()
        kind = raw(gr.Dropdown(["", *path_files.KINDS], value="", label="File to make"))
        outputs = [gr.Gallery(format="png", label="Frames"), gr.File(label="File"), gr.JSON(label="Summary")]
        button = gr.Button("interpolate")
    fields = {name: component for name, component in settings.fields.items() if name not in LEFT_OUT}

    def recipe_of(values: dict[str, Any]) -> Any:
        if values["file_kind"] not in ("", *path_files.KINDS):
            raise FieldError("file_kind", f"must be empty or one of {', '.join(path_files.KINDS)}; got {values['file_kind']!r}")
        column = {name: values.get(name) for name in settings.fields}
        own_files = [data if isinstance(data, bytes) else None for data in map(values.get, FILES)]
        return tab.recipe_of(runs, {**column, **{name: values[name] for name in own}}, own_files)

    Endpoint(
        "interpolate", "Draws pictures between pictures.",
        "the frames strip by strip, the file, and a summary with recipe, NFE, seconds, norms, and distances of neighbours",
        {**fields, **own, **files, "file_kind": kind, **classes}, outputs, recipe_of, _answer, PARAMETERS,
        {**dict.fromkeys(FILES), "file_kind": "", **NO_CLASS},
    ).add(runs, button, queued)  # fmt: skip


def _fields() -> dict[str, Any]:
    """The tab's own fields once more, so that the endpoint's defaults do not follow what a visitor of the page has set."""
    return {
        "mode": gr.Textbox("line"), "seeds": gr.Textbox(""), "noise": gr.Textbox("slerp"), "method": gr.Textbox("ddim"),
        "way": gr.Textbox("slerp"), "frames": gr.Number(9), "start": gr.Number(0), "stop": gr.Number(1), "rows": gr.Number(5),
        "columns": gr.Number(5), "strength": gr.Number(0.25), "level": gr.Number(500), "table": gr.Checkbox(False),
        "q_noise": gr.Textbox("independent"), "bucket": gr.Number(0),
    }  # fmt: skip


def _answer(outcome: Outcome, values: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    collected, plan, kind = outcome.result, outcome.plan, values["file_kind"]
    where = path_files.layout(plan)
    captions = getattr(plan.recipe, "captions", where.columns)
    shown = []
    for frame_row, pictures in zip(where.frame_rows, collected.pictures, strict=True):
        for caption, pixels in zip(captions, to_pixels(pictures), strict=True):
            path = keep_picture(pixels, [(RECIPE_KEY, plan.recipe.to_json())])
            shown.append((path, f"{frame_row.label}, {caption}"))
    smooth = zip(where.frame_rows, collected.smoothness(), strict=True)
    summary = {
        "recipe": asdict(plan.recipe),
        "nfe": [arm.nfe for arm in plan.arms],
        "seconds": round(outcome.seconds, 3),
        "norms": [round(value, 5) for value in collected.norms()] or collected.levels,
        "neighbours": [{"strip": frame_row.label, "rmse": result.rmse, "ssim": result.ssim} for frame_row, result in smooth],
        "reconstructions": collected.reconstructions(),
    }
    return shown, _written(kind, plan.recipe, collected) if kind else None, summary


def _written(kind: str, recipe: Any, collected: CollectedFrames) -> str:
    """Path of the file; raises gr.Error."""
    try:
        data = path_files.file_of(kind, recipe, collected)
    except (AnimationError, ValueError) as error:
        raise gr.Error(str(error), print_exception=False) from error
    return keep(data, path_files.file_name(kind, recipe))
