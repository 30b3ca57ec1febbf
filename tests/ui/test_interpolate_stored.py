"""The loop with which Interpolate opens: it is the bundled model's, and its numbers are its pictures'."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.diffusion.metrics import rmse
from ddim_app.engine import Engine
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs import latent_files, path_files
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.assets import FOLDER
from ddim_app.ui.interpolate.stored_path import FILE, LINE, LOOP, finished, pixels, stored_path
from ddim_app.ui.interpolate.tab import InterpolateTab


def test_the_loop_goes_through_the_pictures_of_its_seeds():
    """Within a level, since other machines round otherwise."""
    engine, stored = Engine(allow_hub=False), stored_path()
    assert stored["weights"] == engine.model(LOOP.model).sha256, "python -m ddim_app.ui.first_run makes it anew"
    frames = pixels()
    (own,) = engine.final(Recipe(model=LOOP.model, arms=(Arm(steps=20),), seed=7, pictures=1, precision="fp32"))
    assert np.abs(to_pixels(own)[0].astype(int) - frames[0]).max() <= 1
    assert [name for _, name in stored["film"]["marks"]] == ["seed 7", "seed 8", "seed 9", "seed 10"]


def test_its_bars_are_the_distances_of_its_frames_the_last_to_the_first():
    film = stored_path()["film"]
    frames = from_pixels(pixels())
    apart = rmse(frames, torch.roll(frames, -1, 0)).tolist()
    assert film["apart"][0] == pytest.approx(apart, abs=0.3)  # of pictures before they are rounded to 8 bits
    assert (film["closed"], film["playing"], len(frames)) == (True, True, LOOP.frames)


def test_the_rows_say_which_noise_jumps_and_which_stands_still():
    against = stored_path()["against"]
    assert [row["noise"] for row in against["rows"]][1:] == [
        "its noise moves along",
        "one noise for all frames",
        "fresh noise, as sampled",
    ]
    ddim, moving, one, fresh = (row["mean"] for row in against["rows"])
    assert one < 2 < ddim < moving < 30 < fresh
    assert against["count"] == LINE.frames == 11
    assert "from seed 7 to seed 8, 20 steps" in against["line"]


def test_its_files_are_those_of_a_run():
    recipe, frames = finished(Engine(allow_hub=False))
    assert recipe.weights
    with Image.open(io.BytesIO(path_files.file_of("gif", recipe, frames))) as film:
        assert film.n_frames == 32
    assert latent_files.load(path_files.file_of("latents", recipe, frames)).x.shape == (32, 3, 32, 32)


def test_what_is_stored_is_small():
    assert (FOLDER / FILE).stat().st_size < 300_000


def test_the_line_of_costs_says_what_is_stored_or_what_a_press_takes_and_what_live_adds(monkeypatch):
    tabs = []
    connect = InterpolateTab.connect
    monkeypatch.setattr(InterpolateTab, "connect", lambda self, demo: tabs.append(self) or connect(self, demo))
    build_ui(Engine(allow_hub=False))
    (tab,) = tabs
    values = [field.value for field in tab.inputs]
    first = tab.cost_line(*values).split("\n")[0]
    assert first == "Ends 7, 8, 9, 10 · stored: 640 evaluations"
    values[list(tab.settings.fields).index("precision")] = "fp64"  # of which nothing is stored
    assert tab.cost_line(*values).split("\n")[0] == "Ends 7, 8, 9, 10 · 640 evaluations (+160 for a few frames first)"
    values[list(tab.settings.fields).index("precision")] = "fast"
    values[list(tab.settings.fields).index("steps")] = 10
    first = tab.cost_line(*values).split("\n")[0]
    assert first == "Ends 7, 8, 9, 10 · 320 evaluations (+80 for a few frames first)"
    monkeypatch.setattr(tab.runs, "is_live", False)
    assert tab.cost_line(*values).split("\n")[0] == "Ends 7, 8, 9, 10 · 320 evaluations"
