"""What "Copy as" gives is run, and its pictures are compared with the engine's."""

import contextlib
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddim_app.__main__ import main
from ddim_app.engine import Engine
from ddim_app.media.images import to_pixels
from ddim_app.models.catalogue import ROOT
from ddim_app.runs import codecs, snippets
from ddim_app.runs.sampling import Arm, Recipe
from tests.toys import SCHEDULES, save_tiny

FP32 = Recipe(arms=(Arm(steps=10),), model="tiny", seed=2**32 - 1, pictures=2, precision="fp32")


@pytest.fixture
def here(tmp_path):
    with contextlib.chdir(tmp_path):
        yield tmp_path


def expected(engine: Engine, recipe: Recipe) -> list[np.ndarray]:
    return [pixels for pictures in engine.final(recipe) for pixels in to_pixels(pictures)]


def written(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))]


@pytest.mark.parametrize(
    ("arm", "scheduler"),
    [
        (Arm(steps=10), {}),
        (Arm(steps=20, spacing="leading", clip="off"), {}),
        (Arm(steps=8, clip="dynamic"), {}),
        (Arm(steps=1, spacing="linspace"), {}),
        (Arm(steps=3, timesteps=(700, 367, 34)), {}),
        (
            Arm(steps=25, seed=3),
            {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "beta_schedule": "scaled_linear"},
        ),
        (Arm(method="2m", steps=10), {}),
        (Arm(method="2m", steps=20, spacing="log-snr", clip="off"), {"beta_schedule": "squaredcos_cap_v2"}),
        (Arm(method="2m", steps=17, spacing="quadratic", clip="dynamic", seed=3), {"prediction_type": "v_prediction"}),
        (Arm(method="2m", steps=3, timesteps=(700, 367, 34)), {"prediction_type": "sample"}),
    ],
)
@pytest.mark.parametrize("flat", [False, True])
def test_diffusers_alone_makes_the_same_pictures(arm, scheduler, flat, here):
    save_tiny(here / "models" / "tiny", scheduler=scheduler, flat=flat)
    engine = Engine([here / "models"], allow_hub=False)
    recipe = replace(FP32, arms=(arm,))
    code = snippets.diffusers(recipe, engine.model("tiny").schedule, "models/tiny", subfolder=not flat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {})
    for ours, theirs in zip(expected(engine, recipe), written(here), strict=True):
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        (Arm(method="ddpm"), "it adds noise at every step, and diffusers draws another"),
        (Arm(eta=0.5), "it adds noise at every step"),
        (Arm(steps=30), "DDIMScheduler moves by 1000 // 30 = 33 timesteps, whatever its list says"),
        (Arm(spacing="quadratic", steps=10), "DDIMScheduler moves by 1000 // 10 = 100 timesteps"),
        (Arm(model="other"), "it has another model"),
    ],
)
def test_where_diffusers_cannot_a_comment_says_why(arm, reason):
    alone = snippets.diffusers(replace(FP32, arms=(arm,)), SCHEDULES["linear"], "models/tiny")
    assert alone.startswith(f"# Left out, arm 1 ({arm.label}): {reason}")
    assert all(line.startswith("#") for line in alone.splitlines())
    beside = snippets.diffusers(replace(FP32, arms=(Arm(steps=10), arm)), SCHEDULES["linear"], "models/tiny")
    assert f"# Left out, arm 2 ({arm.label}): {reason}" in beside
    assert 'picture.save(f"arm-1-picture-{i}.png")' in beside
    assert "arm-2-" not in beside
    compile(beside, "beside", "exec")


def test_an_arm_that_begins_where_another_is_is_left_out():
    arm = Arm(method="2m", start_arm=0, start_step=2)
    beside = snippets.diffusers(replace(FP32, arms=(Arm(steps=10), arm)), SCHEDULES["linear"], "models/tiny")
    assert f"# Left out, arm 2 ({arm.label}): it begins where another arm is" in beside
    compile(beside, "beside", "exec")


def test_our_python_makes_the_same_pictures_with_the_recipe_inside(here):
    recipe = Recipe(arms=(Arm(steps=2), Arm(method="ddpm", steps=3)), seed=7, pictures=2, precision="fp32")
    code = snippets.python(recipe)
    assert code.count("\n") < 20
    exec(code, {})
    ours = expected(Engine(allow_hub=False), recipe)
    assert len(ours) == 4
    assert all((a == b).all() for a, b in zip(ours, written(here), strict=True))
    assert codecs.read_file((here / "arm-2-picture-1.png").read_bytes()).recipe == recipe


def test_hostile_names_stay_text():
    for name in (
        '"; import os; os._exit(3) #',
        "'; rm -rf / #",
        "$(touch pwned)`touch pwned`",
        "{{constructor}}${document.title++}",
    ):
        recipe = replace(FP32, model=name)
        names: dict[str, object] = {}
        exec(snippets.python(recipe).split("\nfor ")[0], names)
        assert names["recipe"] == recipe
        compile(snippets.diffusers(recipe, SCHEDULES["linear"], name), "code", "exec")
        ran = subprocess.run(
            ["sh", "-c", snippets.command(recipe).replace("python -m ddim_app", "printf '%s\\n'")], capture_output=True, text=True
        )
        assert name in ran.stdout.splitlines()


# The command.


def command(*words: str, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }  # as in conftest, for the same bits
    return subprocess.run([sys.executable, "-m", "ddim_app", *words], capture_output=True, text=True, env=environment, **options)


def test_the_command_line_makes_the_same_pictures(here, monkeypatch):
    recipe = Recipe(arms=(Arm(steps=2), Arm(method="ddpm", steps=3)), seed=7, precision="fp32")
    text = snippets.command(recipe)
    assert text == "python -m ddim_app generate --precision fp32 --seed 7 --steps 2 --arm method:ddpm,steps:3"
    ran = command(*text.split()[3:])
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == ["pictures/01-ddim-2-steps-seed-7.png", "pictures/02-ddpm-3-steps-seed-7.png"]
    ours = expected(Engine(allow_hub=False), recipe)
    assert all((a == b).all() for a, b in zip(ours, written(here / "pictures"), strict=True))
    made = codecs.read_file((here / ran.stdout.split()[1]).read_bytes()).recipe
    assert replace(made, bucket=None, backend=None, weights=None) == recipe
    run_here(monkeypatch, "--recipe", ran.stdout.split()[1], "--output", "again")
    assert all((a == b).all() for a, b in zip(ours, written(here / "again"), strict=True))


def run_here(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ddim_app", "generate", *words])
    main()


def test_settings_take_the_place_of_the_recipes(here, monkeypatch, capsys):
    (here / "recipe.json").write_text(json.dumps({"arms": [{"steps": 4}, {"method": "ddpm", "steps": 4}], "seed": 5, "extra": 1}))
    run_here(monkeypatch, "--recipe", "recipe.json", "--steps", "1", "--seed", "6", "--output", "out")
    out, err = capsys.readouterr()
    assert out.split() == ["out/01-ddim-1-steps-seed-6.png", "out/02-ddpm-1-steps-seed-6.png"]
    assert "'extra' means nothing to this version" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--steps", "0"], "steps must be a whole number 1 or more; got 0"),
        (["--steps", "1001"], "steps must be a whole number from 1 to 1000; got 1001"),
        (["--eta", "x"], "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got 'x'"),
        (["--model", "no-such"], "model must be one of the models here (avatars-32, avatars-64, digits-32)"),
        (["--recipe", "no-such.png"], "recipe file no-such.png cannot be read: No such file or directory"),
        (["--recipe", "plain.png"], "file carries no recipe"),
        (["--recipe", "large.png"], "file must have at most 10 MB; large.png has more"),
        (["--recipe", "."], "recipe file . cannot be read: Is a directory"),
    ],
)
def test_what_the_command_cannot_do_is_a_sentence(here, monkeypatch, words, sentence):
    Image.new("RGB", (8, 8)).save("plain.png")
    Path("large.png").write_bytes(bytes(11_000_000))
    with pytest.raises(SystemExit) as caught:
        run_here(monkeypatch, *words)
    assert str(caught.value).startswith(f"python -m ddim_app generate: {sentence}")
    assert not Path("pictures").exists()


def test_help_names_every_setting(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run_here(monkeypatch, "--help")
    out = capsys.readouterr().out
    for name in ("--recipe FILE", "--output DIR", "--steps X", "--noise-seed X", "--arm NAME:X,..", "(default: trailing)"):
        assert name in out
