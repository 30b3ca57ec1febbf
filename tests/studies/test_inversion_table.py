"""The table of error against steps: scores, lines, files, and the command."""

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from PIL import Image

from ddim_app import __main__, engine
from ddim_app.errors import FieldError
from ddim_app.runs.inversion import METHODS, InversionArm, InvertRecipe
from ddim_app.studies import inversion_table
from tests import toys
from tests.inversions import PICTURE

X = toys.pictures(2, (3, 8, 8)).clamp(-1, 1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    toys.save_tiny(root / "avatars-32")
    return engine.Engine([root], allow_hub=False, device=torch.device("cpu"))


def test_scores_are_those_of_the_scale_from_0_to_1():
    score = inversion_table.scores(X, X + 0.02)[0]
    assert score.mse == pytest.approx(1e-4)
    assert score.psnr == pytest.approx(40)
    assert score.largest == pytest.approx(0.01)
    assert inversion_table.scores(X, X)[0] == (0, None, pytest.approx(1), 0)


def test_rounding_and_clamping_hide_small_errors_and_show_what_is_seen():
    far = X + 1e-4
    assert inversion_table.scores_as_shown(X, X)[0].mse == 0
    assert inversion_table.scores_as_shown(far.clamp(min=1), far.clamp(min=1) + 9)[0].mse == 0
    assert inversion_table.scores_as_shown(X, X + 0.5)[0].mse > 0.01


def test_the_curve_has_a_line_for_each_method_and_step_count(small):
    recipe = InvertRecipe(sources=(PICTURE,), arms=(InversionArm(),))
    lines = [inversion_table.line(arm, result) for arm, result in inversion_table.curve(small, recipe, [1, 4])]
    assert [(line.method, line.steps) for line in lines] == [
        *((method, 1) for method in METHODS if not method.startswith("o-belm")), *((method, 4) for method in METHODS),
    ]  # fmt: skip
    by = {(line.method, line.steps): line for line in lines}
    assert by["o-belm", 4].mse < 1e-9 < by["stochastic", 4].mse_without_residual
    assert (by["fixed-point", 4].nfe_up, by["o-belm", 4].nfe_down) == (16, 3)


def test_what_methods_have_in_common_goes_to_those_that_take_it():
    ways = inversion_table.arms(
        InversionArm(steps=9, evaluations=99, decode_steps=7, eta=0.5), ["fixed-point", "o-belm", "stochastic"], 20
    )
    assert [(way.evaluations, way.decode_steps, way.eta) for way in ways] == [(99, 7, 0.5), (None, None, 0), (None, None, 0.5)]
    with pytest.raises(FieldError, match="must be 2 or more for o-belm"):
        inversion_table.arms(InversionArm(), ["o-belm"], 1)


def test_step_counts_and_methods_are_read():
    assert inversion_table.parse_steps("10, 20,50") == [10, 20, 50]
    assert inversion_table.parse_methods("o-belm, fixed-point o-belm") == ["o-belm", "fixed-point"]
    assert inversion_table.parse_methods(" ") == list(METHODS)
    for text in ("", "x", "0", "1.5", "-3"):
        with pytest.raises(FieldError, match="steps must be whole numbers"):
            inversion_table.parse_steps(text)
    with pytest.raises(FieldError, match="methods must be of"):
        inversion_table.parse_methods("magic")


def run(monkeypatch, small, *words):
    monkeypatch.setattr(engine, "Engine", lambda **settings: small)
    monkeypatch.setattr(sys, "argv", ["ddim_app", "invert", *map(str, words)])
    __main__.main()


def test_the_command_prints_and_saves_table_curve_and_latents(monkeypatch, small, tmp_path, capsys):
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (80 * i, 20, 200)).save(folder / f"{i}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    run(monkeypatch, small, "--images", folder, "--steps", "2,4", "--count", 2, "--latents", "--output", output)
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].startswith("2 pictures")
    result = json.loads((output / "inversion.json").read_text())
    assert [line["steps"] for line in result["lines"]] == [2] * 8 + [4] * 8
    assert (output / "fixed-point-4.safetensors").stat().st_size > 1000
    drawn = ElementTree.fromstring((output / "inversion.svg").read_text())
    words = {node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Fixed point", "DDIM paper, Table 2", "2", "4"} <= words


def test_own_samples_and_single_pictures(monkeypatch, small, tmp_path, capsys):
    run(monkeypatch, small, "--seeds", "1,2", "--steps", "4", "--methods", "fixed-point", "--clamped", "--output", tmp_path)
    assert "cosine to the true x_T" in capsys.readouterr().out
    Image.new("L", (5, 9)).save(tmp_path / "one.png")
    run(monkeypatch, small, "--images", tmp_path / "one.png", "--steps", "4", "--methods", "sdedit", "--output", tmp_path)
    assert capsys.readouterr().out.startswith("1 pictures")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "images must be given, or else seeds"),
        (["--images", "none"], "there is no none"),
        (["--seeds", "x"], "seeds must be whole numbers"),
        (["--seeds", "1", "--steps", "0"], "steps must be whole numbers"),
        (["--seeds", "1", "--methods", "magic"], "methods must be of"),
        (["--seeds", "1", "--strength", "0"], "strength must be above 0"),
        (["--seeds", "1", "--count", "0"], "count must be from 1 to 64"),
        (["--seeds", "1", "--methods", "o-belm", "--steps", "1"], "must be 2 or more for o-belm"),
    ],
)
def test_wrong_options_get_a_sentence(monkeypatch, small, tmp_path, words, sentence):
    with pytest.raises(SystemExit, match=sentence):
        run(monkeypatch, small, *words, "--output", tmp_path)


def test_a_line_is_one_row():
    line = inversion_table.TableLine("o-belm", 50, 50, 49, 1e-12, 2e-12, 0.0, None, 1.0, 0.01, None, 0.9)
    assert "\n" not in inversion_table.row(line)
    assert "cosine to the true x_T 0.9000" in inversion_table.row(line)
