"""Chapter 3's world of two numbers: what the page is told of a run, in numbers and words, and the handler behind it."""

import base64
import json
import math
from functools import cache
from typing import Any

import gradio as gr

from ddim_app.diffusion import formulas
from ddim_app.errors import FieldError, whole
from ddim_app.lazy import Tensor, torch
from ddim_app.studies import point_worlds
from ddim_app.studies.point_worlds import LADDER, REFERENCE, STD, PointRun, PointWorld, apart
from ddim_app.ui.assets import asset, component_files
from ddim_app.ui.hosting.gradio_patches import event_data

BEGIN = {"world": "clouds", "steps": 8, "starts": 28, "noise": 3, "point": 5, "step": 6}
"""What the chapter opens with; stored in world.json, which `python -m ddim_app.ui.first_run` makes."""
TRACED, SWARM, DATA = 12, 120, 160
"""How many of the 400 points have their path drawn, how many are shown at all, and how many of the data."""
FRAMES = 64
"""Most moments of the swarm's way that are sent; of longer runs evenly chosen ones."""
SCALE = 4096
"""Coordinates travel as 16-bit whole numbers of this part of one."""
OFF = {"clouds": "between clouds", "moons": "outside the moons", "ring": "off the ring", "own": "between clouds"}


def packed(points: Tensor) -> str:
    """Coordinates of any shape as little-endian 16-bit numbers in base64; what is farther than 8 from the middle is put there."""
    numbers = (points * SCALE).round().clamp(-32767, 32767).to(torch.int16).contiguous()
    return base64.b64encode(numbers.numpy().astype("<i2").tobytes()).decode()


def value(world: PointWorld, steps: int, starts: int, noise: int, point: int, step: int) -> dict[str, Any]:
    """What the card shows; raises FieldError. `point` is the one whose path is thick, `step` the one that is written out."""
    run, ladder = point_worlds.run(world, steps, starts, noise), point_worlds.ladder(world, starts, noise)
    whole("point", point, 0, TRACED - 1)
    frames = sorted({round(i * steps / (FRAMES - 1)) for i in range(FRAMES)})
    paths = run.paths[:2].permute(0, 1, 3, 2)  # (samplers, levels, points, coordinates)
    away = [[round(apart(ends, row[-1]), 3) for ends in row[:-1]] for row in ladder]
    question, answer = words(run, ladder)
    return {
        "world": world.name, "steps": steps, "starts": starts, "noise": noise, "point": point, "reference": REFERENCE,
        "centres": world.centres, "std": STD, "levels": [[level.t, level.alpha_bar] for level in run.levels],
        "traced": TRACED, "swarm": SWARM, "scale": SCALE, "frames": frames,
        "paths": packed(paths[:, :, :TRACED]), "swarms": packed(paths[:, frames, :SWARM]),
        "references": packed(ladder[:, -1, :, :TRACED].transpose(1, 2)),
        "data": packed(world.mixture.draw(DATA, torch.Generator().manual_seed(0)).T),
        "columns": [*LADDER, REFERENCE], "ends": packed(ladder[0, :, :, :SWARM].transpose(1, 2)), "away": away,
        "question": question, "answer": answer, "right": verdict(run, ladder), **formula(run, point, min(step, steps)),
    }  # fmt: skip


def verdict(run: PointRun, ladder: Tensor) -> str:
    """Whose points end, in the median, within a cloud's standard deviation of their own ends after REFERENCE steps."""
    near = [apart(run.ends[row], ladder[row, -1]) < STD for row in (0, 1)]
    return {(True, True): "Both", (True, False): "DDIM", (False, True): "DDPM"}.get((near[0], near[1]), "Neither")


def words(run: PointRun, ladder: Tensor) -> tuple[str, str]:
    """(question, answer) with the run's numbers: only what they bear out."""
    steps, world = len(run.levels) - 1, run.world
    count = "1 step" if steps == 1 else f"{steps} steps"
    question = f"With {count}, whose points end where {REFERENCE} steps would take them?"
    if steps == 1:
        away = apart(run.ends[0], ladder[0, -1])
        return question, (
            "One step is the same for both, since no noise goes into the last one: the mean of all data that the start could have "
            f"come from, {away:.2f} from where DDIM’s {REFERENCE} steps end, in the median."
        )
    ddim, ddpm = (apart(run.ends[row], ladder[row, -1]) for row in (0, 1))
    straight, crooked = run.straightness(0), run.straightness(1)
    nearly = "nearly straight (" if straight < 1.25 else "not straight ("
    parts = [f"DDIM’s paths are {nearly}{straight:.2f} times the direct way), DDPM’s are {crooked:.1f} times the direct way."]
    if steps == REFERENCE:
        parts.append(f"These are the {REFERENCE} steps that the others are measured to.")
    else:
        parts.append(
            f"DDIM’s {count} end {ddim:.2f} from where its {REFERENCE} do, in the median; DDPM’s, with the same noise, {ddpm:.2f}. "
            f"The standard deviation of a cloud is {STD}."
        )
    if len(set(world.groups)) > 1:
        parts.append(f"Another draw of noise sends {_percent(run.changed)} of DDPM’s points to another {world.part}.")
    outside = [world.outside(run.ends[row]) for row in (0, 1)]
    off = OFF[world.name] if len(world.centres) > 1 else "outside the cloud"
    parts.append(f"After {count} {_percent(outside[0])} (DDIM) and {_percent(outside[1])} (DDPM) of the points are {off}.")
    return question, " ".join(parts)


def _percent(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.1f} %" if share < 0.01 else f"{100 * share:.0f} %"


def formula(run: PointRun, point: int, step: int) -> dict[str, Any]:
    """DDIM's Eq. 12 with the numbers of one step of one point; `step` counts from 1."""
    whole("step", step, 1, len(run.levels) - 1)
    cur, nxt = run.levels[step - 1], run.levels[step]
    x = run.paths[0, step - 1, :, point]
    eps = run.world.mixture.eps(x.view(1, 2, 1, 1), torch.tensor([cur.alpha_bar])).view(2)
    pred_x0 = formulas.predict_x0(x, eps, cur.alpha_bar)
    sigma = formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, 1.0)
    numbers = [
        _pair(run.paths[0, step, :, point]), f"{math.sqrt(nxt.alpha_bar):.3f}", _pair(pred_x0),
        f"{math.sqrt(1 - nxt.alpha_bar):.3f}", _pair(eps), "0", "none",
    ]  # fmt: skip
    at = "the points themselves" if nxt.is_clean else str(nxt.t)
    then = "No noise goes into the last step, with any η." if nxt.is_clean else (
        f"With η = 1 σ would be {sigma:.3f}, and z new at every step: that is DDPM."
    )  # fmt: skip
    note = f"Step {step} of {len(run.levels) - 1}, from t = {cur.t} to {at}, η = 0. {then}"
    return {"step": step, "numbers": numbers, "note": note}


def _pair(point: Tensor) -> str:
    return f"({float(point[0]):.2f}, {float(point[1]):.2f})".replace("-", "−")


@cache
def stored() -> dict[str, Any]:
    """The world with which the chapter opens."""
    kept: dict[str, Any] = json.loads(asset("stored/world.json"))
    return kept


def of_values(asked: dict[str, Any]) -> dict[str, Any]:
    """What the card shows for values from outside; raises FieldError."""
    world = point_worlds.named(asked.get("world"), asked.get("centres"))
    steps = whole("steps", asked.get("steps"), 1, REFERENCE)
    starts, noise = (whole(name, asked.get(name), 0, 999) for name in ("starts", "noise"))
    return value(
        world, steps, starts, noise, whole("point", asked.get("point"), 0, TRACED - 1), whole("step", asked.get("step"), 1)
    )


def build() -> gr.HTML:
    """The card, in the open Blocks; its script asks for what is to be shown."""
    card = gr.HTML(stored(), **component_files("world"), apply_default_css=False, elem_id="world")
    card.input(
        answered, None, card, show_progress="hidden", trigger_mode="multiple", api_visibility="private", concurrency_id="world",
        concurrency_limit=2,
    )  # fmt: skip
    return card


def answered(event: gr.EventData) -> dict[str, Any]:
    """The world that the script asks for, or why there is none, with the number of its request."""
    asked = event_data(event)
    serial = asked.get("serial") if isinstance(asked.get("serial"), int) else 0
    try:
        return {"serial": serial, **of_values(asked)}
    except FieldError as error:
        return {"serial": serial, "wrong": str(error)}
