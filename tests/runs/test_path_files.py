"""What a run is handed out as, and the command that does it, on a tiny random model."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ddim_app import __main__ as main
from ddim_app import engine as engine_package
from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.media.images import to_pixels
from ddim_app.runs import latent_files, path_files
from ddim_app.runs.interpolation import MovingArm, PathRecipe
from ddim_app.runs.kinds import from_json
from ddim_app.runs.mixing import MixRecipe
from ddim_app.runs.path_frames import CollectedFrames
from ddim_app.runs.sources import Source

CPU = torch.device("cpu")
ENDS = tuple(Source(seed=seed) for seed in range(4))


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False, device=CPU)


def collected(engine: Engine, recipe: PathRecipe | MixRecipe) -> CollectedFrames:
    result: CollectedFrames = engine.run(recipe).result
    return result


def path(**changes: Any) -> PathRecipe:
    arms = MovingArm(steps=2), MovingArm(steps=3, method="ddpm")
    return PathRecipe(**{"arms": arms, "ends": ENDS[:2], "model": "tiny", "frames": 3} | changes)


def test_layouts(engine: Engine) -> None:
    line = path_files.layout(engine.plan(path()))
    assert (line.rows, line.columns) == (("DDIM(η = 0)", "DDPM, noise moves along"), ("λ 0", "λ 0.5", "λ 1"))
    assert (line.height, line.film) == (1, [0, 1, 2, 1])  # there and back
    loop = path_files.layout(engine.plan(path(mode="loop")))
    assert loop.film == [0, 1, 2]  # which meets its beginning
    grid = path_files.layout(engine.plan(path(mode="grid", ends=ENDS, rows=2, columns=3)))
    assert grid.rows == ("DDIM(η = 0) · 0", "DDIM(η = 0) · 1", "DDPM, noise moves along · 0", "DDPM, noise moves along · 1")
    assert grid.order == (0, 1, 2, 5, 4, 3)  # each frame beside the one before
    mix = path_files.layout(engine.plan(MixRecipe(ends=ENDS[:2], model="tiny", levels=(500, 0), frames=3)))
    assert mix.rows == ("t = 500, 50 steps", "t = 0, mix of the pixels")
    assert mix.columns == ("λ 0, rec.", "λ 0.5", "λ 1, rec.")


def test_files_carry_the_recipe_and_what_was_drawn(engine: Engine) -> None:
    recipe = path()
    found = collected(engine, recipe)
    for kind in ("sheet", "gif", "webp"):
        assert from_json(text_inside(path_files.file_of(kind, recipe, found))) == recipe
        linked = text_inside(path_files.file_of(kind, recipe, found, "http://here/?v=1"))
        assert (json.loads(linked)["link"], from_json(linked)) == ("http://here/?v=1", recipe)
    latent = latent_files.load(path_files.file_of("latents", recipe, found))
    assert torch.equal(latent.x, found.latents)
    assert latent.recipe == recipe
    many = path(frames=70)
    ends = latent_files.load(path_files.file_of("latents", many, collected(engine, many)))
    assert len(ends.x) == 2  # the frames are more than a file holds
    mix = MixRecipe(ends=ENDS[:2], model="tiny", levels=(50, 0), frames=3)
    with pytest.raises(ValueError, match="DDPM's mixes start from noised pictures"):
        path_files.file_of("latents", mix, collected(engine, mix))


def test_a_film_is_large_has_a_caption_and_a_loop_no_seam(engine: Engine) -> None:
    """No frame stands twice where a loop begins again, and none stays longer than the others."""
    three = path(arms=(MovingArm(steps=2), *(MovingArm(method="ddpm", steps=2, noise=noise) for noise in ("slerp", "shared"))))
    for recipe, width, frames in (
        (path(arms=(MovingArm(steps=2),), mode="loop"), 512, 3),
        (path(), 2 * 256, 4),
        (three, 3 * 176, 4),
    ):
        found = collected(engine, recipe)
        with Image.open(io.BytesIO(path_files.file_of("webp", recipe, found))) as film:
            assert film.n_frames == frames
            assert width < film.width < width + 40
            shown, long = [], set()
            for i in range(frames):
                film.seek(i)
                shown.append(film.convert("RGB"))
                long.add(film.info["duration"])
        assert long == {path_files.MILLISECONDS}
        below = [picture.crop((10, picture.height - 20, 20, picture.height - 10)) for picture in shown]
        exact = to_pixels(found.pictures[0])[:, -1, 0]  # the lowest pixel at the left
        assert [picture.getpixel((0, 0)) for picture in below[:3]] == [tuple(map(int, pixel)) for pixel in exact]
        captions = [picture.crop((0, 0, picture.width, 28)).tobytes() for picture in shown]
        assert len(set(captions)) == 3


def test_the_command_writes_files_and_says_how_smooth_the_strips_are(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_package, "Engine", lambda **settings: Engine([tiny_root], allow_hub=False, device=CPU))

    def command(*arguments: str) -> str:
        common = ["interpolate", "--model", "tiny", "--steps", "2", "--frames", "3", "--output", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", ["ddim_app", *common, *arguments])
        main.main()
        return capsys.readouterr().out

    said = command("--seeds", "5,6", "--method", "both", "--files", "sheet", "latents")
    assert [line.split("  ")[0] for line in said.splitlines()[1:3]] == ["DDIM(η = 0)", "DDPM, noise moves along"]
    with Image.open(tmp_path / "line.png") as sheet:
        assert sheet.width > 3 * 64
    again = command("--end", str(tmp_path / "line.safetensors"), "--files", "gif")
    assert again.startswith("norm of x_T")
    assert (tmp_path / "line.gif").is_file()
    assert "ends back within" in command("--mode", "mix", "--level", "300", "--files", "sheet")
    for wrong, sentence in (
        (("--frames", "1"), "frames must be a whole number from 2 to 121; got 1"),
        (("--seeds", "x"), "seeds must be a whole number"),
        (("--end", str(tmp_path / "none.png")), "end cannot be read"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            command(*wrong)
