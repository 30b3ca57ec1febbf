"""`python -m ddim_app likelihood`: the table of two folders, printed and saved."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from ddim_app import __main__ as cli
from ddim_app.engine import Engine, engine
from ddim_app.runs.likelihood import LikelihoodRecipe
from ddim_app.studies import bound_table


@pytest.fixture
def folders(tmp_path):
    generator = np.random.default_rng(0)
    for name, count in (("mine", 2), ("held", 1)):
        (tmp_path / name / "deep").mkdir(parents=True)
        for i in range(count):
            Image.fromarray(generator.integers(0, 256, (16, 12, 3), np.uint8)).save(tmp_path / name / "deep" / f"{i}.png")
    (tmp_path / "held" / "note.txt").write_text("no picture")
    return tmp_path


@pytest.fixture
def command(monkeypatch, tiny_root):
    """Runs the command line on the tiny model."""
    monkeypatch.setattr(engine, "Engine", lambda **settings: Engine([tiny_root]))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ddim_app", "likelihood", "--model", "tiny", *map(str, words)])
        cli.main()

    return run


def test_the_table_of_two_folders_is_printed_and_saved(folders, command, capsys):
    saved = folders / "table.json"
    command("--images", folders / "mine", "--against", folders / "held", "--output", saved, "--evaluations", 60)
    text = capsys.readouterr().out
    for words in ("mine (2)", "held (1)", "gap", "variance small", "variance large", "L_T", "rate", "distortion, L_0", "bits/dim"):
        assert words in text
    assert "left out held/note.txt: it is not a picture" in text
    mine, held = json.loads(saved.read_text())["folders"]
    parts = mine["variances"]["small"]["parts"]
    assert parts["bits/dim"]["mean"] == pytest.approx(parts["rate"]["mean"] + parts["distortion, L_0"]["mean"])
    bands = sum(parts[name]["mean"] for name in parts if name.startswith("L_t"))
    assert parts["rate"]["mean"] == pytest.approx(parts["L_T"]["mean"] + bands)
    assert list(mine["variances"]["small"]["pictures"]) == ["deep/0.png", "deep/1.png"]
    gap = held["variances"]["small"]["parts"]["bits/dim"]["mean"] - parts["bits/dim"]["mean"]
    assert f"{gap:.3f} ±" in text


def test_the_full_bound_of_one_picture_agrees_with_the_quick_one(folders, tiny_root):
    told = []
    runs = [LikelihoodRecipe(model="tiny", **mode) for mode in ({}, {"mode": "full", "draws": 2})]
    measured = [bound_table.measure(Engine([tiny_root]), folders / "mine", run, 1, told.append) for run in runs]
    quick, full = (folder.pictures["deep/0.png"] for folder in measured)
    assert abs(quick.total()[0] - full.total()[0]) < 4 * (quick.total()[1] + full.total()[1])
    assert len(told) == 2
    assert told[0].startswith("mine/deep/0.png: ")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--images", "nowhere"], "images must be a folder; there is none called nowhere"),
        (["--images", "."], "images must hold pictures"),
        (["--images", ".", "--evaluations", 5], "evaluations must be a whole number from 60 to 1000; got 5"),
        (["--images", ".", "--limit", 0], "limit must be a whole number 1 or more; got 0"),
        (["--images", ".", "--output", "no/table.json"], "output must be a file in a folder that exists"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_sentence(words, sentence, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        command(*words)
    assert sentence in str(end.value)
