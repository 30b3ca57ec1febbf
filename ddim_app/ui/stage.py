"""The stage: pictures of all arms side by side, drawn by the browser from the frames that a run streams.

Python sends a JSON value and never markup: template and style are constant files, and every text is set as text. A yield
carries the frames that are new, the last one all of them, so a page that opens late still gets the whole run.
"""

import base64
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from ddim_app import metrics
from ddim_app.images import png_bytes, strip, to_pixels
from ddim_app.latents import picture_seed
from ddim_app.plan import Frame, SamplingPlan
from ddim_app.ui.text import grid_note

ASSETS = Path(__file__).parent / "assets"
MAX_PIXELS = 3_000_000
"""Pixels of one arm's frames that a page keeps; a longer run is thinned evenly, its first and last step kept."""


@cache
def asset(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


def component(value: dict[str, Any]) -> gr.HTML:
    return gr.HTML(
        value,
        html_template=asset("stage.html"),
        css_template=asset("stage.css"),
        js_on_load=asset("stage.js"),
        apply_default_css=False,
        elem_id="stage",
    )


def stored_run() -> dict[str, Any]:
    """The run of the bundled model that the first screen shows; made by `python -m ddim_app.ui.first_run`."""
    stored: dict[str, Any] = json.loads(asset("first_run.json"))
    return stored


class Reel:
    """The frames of one run as the stage takes them."""

    def __init__(self, plan: SamplingPlan, run_id: str) -> None:
        recipe, (_, height, width) = plan.recipe, plan.model.shape
        per_frame = 2 * recipe.pictures * height * width
        self._strides = [max(1, math.ceil(row.transitions * per_frame / MAX_PIXELS)) for row in plan.rows]
        self._kept: list[dict[str, Any]] = []
        self.finals: dict[int, torch.Tensor] = {}
        """The finished pictures of each arm that is through."""
        self._about = {
            "run": run_id,
            "height": height,
            "width": width,
            "seeds": [picture_seed(recipe.seed, i) for i in range(recipe.pictures)],
            "arms": [
                {"label": arm.label, "steps": row.transitions, "note": grid_note(row.transitions, arm.spacing)}
                for arm, row in zip(recipe.arms, plan.rows, strict=True)
            ],
            "thinned": max(self._strides),
        }

    def add(self, frames: list[Frame]) -> dict[str, Any]:
        """The value that brings the stage these frames: those to keep for the replay, and the newest of each arm."""
        newest = {frame.arm: frame.k for frame in frames}
        fresh = []
        for frame in frames:
            kept = frame.is_last or frame.k % self._strides[frame.arm] == 0
            if kept or frame.k == newest[frame.arm]:
                fresh.append(self._encode(frame))
                self._kept += fresh[-1:] if kept else []
            if frame.is_last:
                self.finals[frame.arm] = frame.x_t
        return {**self._about, "frames": fresh, "scores": None}

    def complete(self) -> dict[str, Any]:
        """The value that holds the whole run, with the distance between its first two arms when both are finished."""
        return {**self._about, "complete": True, "frames": self._kept, "scores": scores(self.finals)}

    def _encode(self, frame: Frame) -> dict[str, Any]:
        return {
            "arm": frame.arm,
            "k": frame.k,
            "t": frame.level.t,
            "alpha_bar": frame.level.alpha_bar,
            "sigma": frame.sigma,
            "x_t": _data_uri(frame.x_t),
            "pred_x0": _data_uri(frame.pred_x0),
        }


def scores(finals: dict[int, torch.Tensor]) -> dict[str, list[float | None]] | None:
    """PSNR in dB and SSIM of each picture between the first two arms, once both are finished; PSNR is None for equal ones."""
    if not {0, 1} <= finals.keys():
        return None
    a, b = (finals[arm].clamp(-1, 1) for arm in (0, 1))
    decibels = [value if math.isfinite(value) else None for value in metrics.psnr(a, b).tolist()]
    return {"psnr": decibels, "ssim": metrics.ssim(a, b).tolist()}


def _data_uri(x: torch.Tensor) -> str:
    return "data:image/png;base64," + base64.b64encode(png_bytes(strip(to_pixels(x)))).decode("ascii")
