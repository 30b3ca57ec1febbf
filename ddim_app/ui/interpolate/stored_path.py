"""The loop and the rows with which Interpolate opens, made by `python -m ddim_app.ui.first_run`, read here."""

import base64
import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.lazy import torch
from ddim_app.media.images import Pixels, from_pixels
from ddim_app.runs.base import Plan
from ddim_app.runs.interpolation import NOISES, MovingArm, PathRecipe
from ddim_app.runs.path_frames import CollectedFrames, PathStart
from ddim_app.runs.sources import Source
from ddim_app.ui.assets import FOLDER, asset
from ddim_app.ui.bundled import STORED
from ddim_app.ui.interpolate.against import FRAMES, shown
from ddim_app.ui.interpolate.view import PathView

FILE = "stored/interpolate.json"
LOOP = PathRecipe(
    model=STORED, mode="loop", frames=32, ends=tuple(Source(seed=seed) for seed in (7, 8, 9, 10)), arms=(MovingArm(steps=20),),
    precision="fp32",
)  # fmt: skip
LINE = PathRecipe(
    model=STORED, mode="line", frames=FRAMES, ends=LOOP.ends[:2], precision="fp32",
    arms=(*LOOP.arms, *(MovingArm(method="ddpm", steps=20, noise=noise) for noise in NOISES)),
)  # fmt: skip


@cache
def stored_path() -> dict[str, Any]:
    """{film, charts, against, weights}: what the tab's components begin with, and the hash of the weights that drew it."""
    stored: dict[str, Any] = json.loads(asset(FILE))
    return stored


def is_stored(plan: Plan, stored: PathRecipe) -> bool:
    """Whether what is stored of LOOP or LINE is what a plan would draw; fp32 serves for the fast precision too."""
    if plan.recipe.precision == "fp64" or plan.model.sha256 != stored_path()["weights"]:
        return False
    return bool(replace(plan.recipe, weights=None, backend=None, bucket=None, precision=stored.precision) == stored)


def finished(engine: Engine) -> tuple[PathRecipe, CollectedFrames]:
    """The stored loop as a run that is through, for its files; its pictures are those of the page, of 8 bits."""
    plan = engine.plan(LOOP)
    frames, keys = CollectedFrames(plan), torch.cat([end.tensor(plan.model.shape) for end in LOOP.ends])
    frames.add(PathStart(-1, keys, LOOP.path(keys)(keys)))
    frames.finals[0] = from_pixels(pixels())
    return LOOP.made({LOOP.model: plan.model.sha256}), frames


def pixels() -> Pixels:
    """The frames of the stored loop, (N, H, W, C)."""
    strip = base64.b64decode(stored_path()["film"]["updates"][0]["picture"].partition(",")[2])
    wide = np.asarray(Image.open(io.BytesIO(strip), formats=("PNG",)).convert("RGB"))
    return wide.reshape(wide.shape[0], LOOP.frames, -1, 3).swapaxes(0, 1)


def make(engine: Engine) -> dict[str, Any]:
    """What is stored."""
    loop = PathView(engine.plan(LOOP))
    loop.add(list(engine.run(LOOP)))
    line = CollectedFrames(engine.plan(LINE))
    for frame in engine.run(LINE):
        line.add(frame)
    film = loop.complete() | {"run": "stored", "playing": True}
    return {"film": film, "charts": loop.charts(), "against": shown(line), "weights": engine.model(STORED).sha256}


def save(engine: Engine) -> Path:
    """Writes what is stored."""
    path = FOLDER / FILE
    path.write_text(json.dumps(make(engine), separators=(",", ":")) + "\n", "utf-8")
    return path
