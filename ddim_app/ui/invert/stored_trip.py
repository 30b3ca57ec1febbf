"""The round trip with which Invert opens: made by `python -m ddim_app.ui.first_run`, read here."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from ddim_app.engine import Engine
from ddim_app.media.images import data_uri, to_pil, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.runs.sources import of_image
from ddim_app.studies import inversion_table
from ddim_app.ui.assets import FOLDER, asset
from ddim_app.ui.invert.samples import FIRST, opened
from ddim_app.ui.invert.view import InversionView
from ddim_app.ui.invert.ways import KnownWays, WaysBoard

FILE = "stored/invert.json"
MODEL, SHAPE, STEPS, SEED = "avatars-32", (3, 32, 32), 50, 7


@cache
def stored_trip() -> dict[str, Any]:
    """{stage, tables, figures, residuals, ways, own, weights, latent as bytes} of the stored round trip."""
    stored: dict[str, Any] = json.loads(asset(FILE))
    return {**stored, "latent": base64.b64decode(stored["latent"])}


@cache
def recipe() -> InvertRecipe:
    """The stored round trip: the first sample by the fixed point."""
    source = of_image(opened(FIRST), SHAPE)
    return InvertRecipe(model=MODEL, sources=(source,), arms=(InversionArm(method="fixed-point", steps=STEPS),))


def make(engine: Engine) -> dict[str, Any]:
    """What is stored: the round trip as the stage takes it, and all ways up beside it."""
    asked, weights = recipe(), engine.model(MODEL).sha256
    plan = engine.plan(asked)
    view, ways = InversionView(plan), WaysBoard(asked, [weights], KnownWays())
    value = view.complete(list(engine.run(asked)), None)
    for missing in ways.missing():
        for arm, result in zip(missing.arms, inversion_table.invert(engine, missing), strict=True):
            ways.add(arm, result)
    assert isinstance(view.result, InversionResult)
    tables = {"rows": [row for row in view.tables()["rows"] if row[:1] != ["Seconds"]]}  # those of the machine that made it
    own = engine.final(Recipe(model=MODEL, arms=(Arm(steps=STEPS, clip="off"),), seed=SEED, precision="fp32"))
    return {
        "stage": value | {"run": "stored", "stored": True, "key": ways.key}, "tables": tables, "figures": view.figures(),
        "residuals": view.plot(), "ways": ways.value(), "own": data_uri(to_pil(to_pixels(own[0])[0])),
        "weights": weights, "latent": base64.b64encode(latent_files.save(view.result.latent)).decode("ascii"),
    }  # fmt: skip


def save(engine: Engine) -> Path:
    """Writes the stored round trip of the bundled model."""
    path = FOLDER / FILE
    path.write_text(json.dumps(make(engine), separators=(",", ":")) + "\n", "utf-8")
    return path
