"""The stage: pictures of all arms side by side, drawn by the browser from the frames that a run streams.

Python sends a JSON value and never markup: template and style are constant files, and every text is set as text. A yield
carries the frames that are new, the last one all of them, so a page that opens late still gets the whole run.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

import gradio as gr

from ddim_app.diffusion import metrics
from ddim_app.diffusion.noise import initial_noise, picture_seed
from ddim_app.lazy import torch
from ddim_app.media.images import data_uri, side_by_side, to_pixels
from ddim_app.runs.sampling import Arm, Frame, Recipe, SamplingPlan
from ddim_app.ui.assets import asset, component_files
from ddim_app.ui.text import grid_note, recipe_line, replay_note

REPLAY_BYTES, FINAL_BYTES = 10_000_000, 5_000_000
"""Text of one run's pictures that server and page keep: those on the way, and the last ones. A visitor has one run at a time."""
BYTES_PER_PIXEL = 4.2
"""Bytes that a pixel of noise takes as PNG in base64; pictures take less."""
NOISE_SIDE = 48
"""Pixels of a side up to which the noise at the start is sent whole; of larger ones every second, third, ... is."""
FEWEST_FRAMES = 12
"""Steps that a replay has at least; pictures too large for that are kept smaller."""


def component(value: dict[str, Any]) -> gr.HTML:
    return gr.HTML(
        value,
        **component_files("stage", "make"),
        apply_default_css=False,
        elem_id="stage",
    )


def replay() -> gr.HTML:
    """What plays the stage's run: its steps as a film and in charts."""
    return gr.HTML({}, **component_files("replay", "make", "lines"), apply_default_css=False, elem_id="replay")


def preview(recipe: Recipe, pictures: "list[torch.Tensor]", serial: int) -> dict[str, Any]:
    """The value that shows the finished first picture of each arm, (1, C, H, W), before the live run of that serial."""
    shrink = _factor(sum(x.numel() for x in pictures) * BYTES_PER_PIXEL, FINAL_BYTES)
    _, _, height, width = pictures[0].shape
    about = {"run": f"live {serial}", "serial": serial, "height": height, "width": width, "hint": ""}
    arms = [_arm(recipe, arm, arm.steps) for arm in recipe.arms]
    return {
        **about,
        **_start(recipe, tuple(pictures[0].shape[1:])),
        "arms": arms,
        "frames": [],
        "preview": [_data_uri(x, shrink) for x in pictures],
    }


def _arm(recipe: Recipe, arm: Arm, steps: int) -> dict[str, Any]:
    """What the stage says of an arm: its name and its settings where they are not the usual ones."""
    name = arm.sampler.heading(arm.variance)
    notes = [f"η {arm.eta:g}"] if arm.sampler.eta is None and arm.eta else []
    notes += [f"w {arm.guidance:g}"] if arm.guidance is not None else []
    notes += [grid_note(steps, arm.spacing).removesuffix(", trailing")]
    notes += [arm.model] if arm.model else []
    return {"label": arm.label, "name": name, "steps": steps, "note": ", ".join(notes)}


def _start(recipe: Recipe, shape: Any) -> dict[str, Any]:
    """The seeds of a run's pictures, and the noise that all arms start from; "" where they do not start from the same."""
    seeds = [picture_seed(recipe.seed, i) for i in range(recipe.pictures)]
    if any(arm.seed is not None or arm.start_arm is not None for arm in recipe.arms):
        return {"seeds": seeds, "noise": ""}
    thinned = math.ceil(max(shape[1:]) / NOISE_SIDE)
    return {"seeds": seeds, "noise": _data_uri(initial_noise(seeds, shape)[..., ::thinned, ::thinned])}


STORED_RUN = "first_run.json"


def stored_run() -> dict[str, Any]:
    """The run of the bundled model that the first screen shows; made by `python -m ddim_app.ui.first_run`."""
    stored: dict[str, Any] = json.loads(asset(STORED_RUN))
    return stored


def stored_name() -> str:
    """The name under which a browser keeps the whole of the stored run, for ever: another run has another one."""
    version = hashlib.sha256(asset(STORED_RUN).encode()).hexdigest()[:12]
    return STORED_RUN.replace(".", f"-{version}.")


def stored_value() -> dict[str, Any]:
    """The stage's value with which the page opens: the stored run's finished pictures, and where the whole of it is."""
    whole = stored_run()
    finished = [frame for frame in whole["frames"] if frame["k"] == whole["arms"][frame["arm"]]["steps"] - 1]
    return {**whole, "frames": finished, "complete": False, "whole": stored_name()}


class StageFrames:
    """The frames of one run as the stage takes them, few enough to be kept.

    A run whose pictures would take more than REPLAY_BYTES is thinned evenly, the first and last step of each arm kept; where
    that would leave too few steps, pictures on the way are kept smaller.
    """

    def __init__(self, plan: SamplingPlan, run_id: str, serial: int = 0) -> None:
        recipe, (_, height, width) = plan.recipe, plan.model.shape
        step = 2 * recipe.pictures * height * width * BYTES_PER_PIXEL  # one arm's pictures of one step
        arms = len(recipe.arms)
        self._shrink = _factor(min(2 * FEWEST_FRAMES, plan.transitions) * arms * step, REPLAY_BYTES)
        self._shrink_last = _factor(arms * step, FINAL_BYTES)
        share = REPLAY_BYTES / arms * self._shrink**2
        self._strides = [max(1, math.ceil(row.transitions * step / share)) for row in plan.rows]
        self._curves = StepCurves()
        self.finals: dict[int, torch.Tensor] = {}
        """The finished pictures of each arm that is through."""
        self._about: dict[str, Any] = {
            "run": run_id,
            "serial": serial,
            "height": height,
            "width": width,
            **_start(recipe, plan.model.shape),
            "arms": [
                _arm(recipe, arm, row.transitions) | ({"width": row.width} if row.width > 1 else {})
                for arm, row in zip(recipe.arms, plan.rows, strict=True)
            ],
            "title": recipe_line(plan),
            "hint": replay_note(max(self._strides), self._shrink),
        }
        self.tape: dict[str, Any] = {**self._about, "frames": [], "recipe_json": recipe.to_json()}
        """What is kept of the run after its end, or when it is stopped; it grows with the run."""

    def add(self, frames: list[Frame]) -> dict[str, Any]:
        """The value that brings the stage these frames: those to keep for the replay, and the newest of each arm."""
        newest = {frame.arm: frame.k for frame in frames}
        fresh = []
        for frame in frames:
            kept = frame.is_last or frame.k % self._strides[frame.arm] == 0
            self._curves.add(frame, kept)
            if kept or frame.k == newest[frame.arm]:
                fresh.append(self._encode(frame))
                self.tape["frames"] += fresh[-1:] if kept else []
            if frame.is_last:
                self.finals[frame.arm] = frame.x_t
        return {**self._about, "frames": fresh, "scores": None}

    def early(self, frames: Iterable[Frame]) -> dict[str, Any]:
        """The value that shows the finished pictures of a live run, before the steps that led to them are encoded."""
        return {**self._about, "frames": [self._encode(frame) for frame in frames], "scores": None, "early": True}

    def complete(self, recipe: Recipe) -> dict[str, Any]:
        """The value that holds the whole run, made by `recipe`, with the distances of finished arms to the first."""
        apart = {str(arm): values for arm, values in distances(self.finals).items()}
        self.tape |= {"recipe_json": recipe.to_json(), "complete": True, "scores": apart, "curves": self.curves()}
        return self.tape

    def curves(self) -> list[dict[str, Any]]:
        """The numbers of the kept steps, for charts: a row per arm and step."""
        return self._curves.rows(unique([arm["label"] for arm in self._about["arms"]]))

    def _encode(self, frame: Frame) -> dict[str, Any]:
        shrink = self._shrink_last if frame.is_last else self._shrink
        return {
            "arm": frame.arm,
            "k": frame.k,
            "t": frame.level.t,
            "alpha_bar": frame.level.alpha_bar,
            "sigma": frame.sigma,
            "x_t": _data_uri(frame.x_t, shrink),
            "pred_x0": _data_uri(frame.pred_x0, shrink),
        }


class StepCurves:
    """Numbers of every step, means over an arm's pictures, gathered as the frames pass by."""

    def __init__(self) -> None:
        self._before: dict[int, torch.Tensor] = {}
        self._steps: dict[int, list[tuple[Frame, float | None, float]]] = {}

    def add(self, frame: Frame, kept: bool) -> None:
        """Takes the next frame of its arm; only those to be kept get a row."""
        before = self._before.get(frame.arm)
        self._before[frame.arm] = frame.pred_x0
        if kept:
            change = None if before is None else _rms(frame.pred_x0 - before)
            small = frame._replace(x_t=torch.empty(0), eps=torch.empty(0), pred_x0=torch.from_numpy(to_pixels(frame.pred_x0)))
            self._steps.setdefault(frame.arm, []).append((small, change, _rms(frame.eps)))

    def rows(self, labels: list[str]) -> list[dict[str, Any]]:
        """For each step {arm, step, t, change, eps, psnr}: root mean square of the change in pred_x0 and of eps, and the PSNR in
        dB of pred_x0 to the arm's last one, as shown in 8 bits. None where there is no such number."""
        rows = []
        for arm, steps in sorted(self._steps.items()):
            last = steps[-1][0].pred_x0.double()
            for frame, change, eps in steps:
                error = float((frame.pred_x0.double() - last).square().mean())
                psnr = 10 * math.log10(255**2 / error) if error else None
                place = {"arm": labels[arm], "step": frame.k + 1, "t": frame.level.t}
                rows.append({**place, "change": change, "eps": eps, "psnr": psnr})
        return rows


def unique(labels: list[str]) -> list[str]:
    """The labels, each that comes again with a number."""
    return [label if label not in labels[:i] else f"{label} ({labels[:i].count(label) + 1})" for i, label in enumerate(labels)]


def _rms(x: "torch.Tensor") -> float:
    return float(x.double().square().mean().sqrt())


def _factor(size: float, limit: float) -> int:
    """The whole factor by which both sides of pictures of `size` bytes must shrink to take no more than `limit` bytes."""
    return max(1, math.ceil(math.sqrt(size / limit)))


def scores(finals: "dict[int, torch.Tensor]") -> dict[str, list[float | None]] | None:
    """PSNR in dB and SSIM of each picture between the first two arms, once both are finished; PSNR is None for equal ones."""
    return distances(finals).get(1)


def distances(finals: "dict[int, torch.Tensor]") -> dict[int, dict[str, list[float | None]]]:
    """PSNR in dB and SSIM of each picture of each finished arm to the first arm's."""
    by_arm = {}
    for arm in sorted(finals.keys() - {0} if 0 in finals else ()):
        a, b = (finals[i].clamp(-1, 1) for i in (0, arm))
        decibels = [value if math.isfinite(value) else None for value in metrics.psnr(a, b).tolist()]
        by_arm[arm] = {"psnr": decibels, "ssim": metrics.ssim(a, b).tolist()}
    return by_arm


def _data_uri(x: "torch.Tensor", shrink: int = 1) -> str:
    if shrink > 1:
        x = torch.nn.functional.avg_pool2d(x.clamp(-1, 1), shrink, ceil_mode=True)
    return data_uri(side_by_side(to_pixels(x)))
