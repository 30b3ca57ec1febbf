"""The table of a model's quality: what the feature space sees, and the command from its pictures to its files."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ddim_app import __main__ as cli
from ddim_app.engine import Engine
from ddim_app.media.images import to_pixels
from ddim_app.models import loading
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import quality_files, quality_table
from ddim_app.studies.picture_features import DIMENSIONS, FeatureSpace, features
from ddim_app.studies.quality_table import QualityCell, QualityTable, Reference, SetFigures, parse_rows, read_pictures
from ddim_app.studies.set_distances import DistanceEstimate, Shares
from tests import toys
from tests.studies import battery
from tests.train_tools import drawings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model of 16 x 16 pixels and an array of pictures twice as large."""
    folder = tmp_path_factory.mktemp("quality")
    toys.save_tiny(folder / "tiny", sample_size=16)
    np.savez(folder / "real.npz", x=drawings(100, 32))
    return folder


@pytest.fixture
def command(monkeypatch, place, tmp_path):
    """Runs the command into tmp_path/out; returns the sentence that it ends with, if it does."""

    def run(*words):
        fixed = ["quality", str(place / "tiny"), "--reference", str(place / "real.npz"), "--steps", "2,1", "--eta", "0,sigma-hat"]
        monkeypatch.setattr(sys, "argv", ["ddim_app", *fixed, "--output", str(tmp_path / "out"), *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code

    return run


def test_corruptions_are_seen_and_in_their_order():
    kinds = battery.CHOOSING | battery.HELD_BACK
    assert battery.misordered(battery.measure(battery.faces(288), kinds), kinds) == []


def test_the_battery_refuses_a_space_that_sees_only_colours(monkeypatch):
    monkeypatch.setattr(quality_table, "features", lambda pixels: pixels.mean((1, 2)))
    wrong = battery.misordered(battery.measure(battery.faces(288), battery.CHOOSING), battery.CHOOSING)
    assert "noise" in wrong


@pytest.mark.long
def test_the_whole_battery_on_pictures_of_the_bundled_model():
    arms = tuple(Arm(steps=20, eta=1.0, seed=16 * i) for i in range(36))
    pixels = np.concatenate([to_pixels(x) for x in Engine().final(Recipe(arms=arms, pictures=16, precision="fp32"))])
    kinds = battery.CHOOSING | battery.HELD_BACK
    assert battery.misordered(battery.measure(pixels, kinds), kinds) == []


def test_features_do_not_depend_on_the_neighbours_and_a_constant_one_is_not_magnified():
    pixels = drawings(70, 16)
    assert np.allclose(features(pixels)[66:], features(pixels[66:]), atol=1e-6)
    space = FeatureSpace.of(np.c_[np.random.default_rng(0).normal(size=(40, 5)), np.full(40, 2.0)])
    assert 0 < space.standardised(np.array([[0.0] * 5 + [2.01]]))[0, 5] < 0.2
    assert np.allclose(space.components.T @ space.components, np.eye(6))


def test_the_table_has_every_cell_and_its_files_say_the_same(command, tmp_path, capsys):
    assert command("--pictures", 32, "--force", "--bucket", 16) is None
    text = capsys.readouterr().out
    assert (tmp_path / "out" / "table.txt").read_text() in text
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [(cell["row"], cell["steps"]) for cell in table["cells"]] == [("0", 1), ("sigma-hat", 1), ("0", 2), ("sigma-hat", 2)]
    assert set(table["beside"]) == {"other pictures of the reference"}
    assert table["settings"]["precision"] == "fp32"
    for cell in table["cells"]:
        assert f"{cell['kernel'][0]:.4f} ± {cell['kernel'][1]:.4f}" in text
        assert cell["kernel"][0] > table["beside"]["other pictures of the reference"]["kernel"][0]
    figure = ElementTree.parse(tmp_path / "out" / "table.svg").getroot()
    assert len([line for line in figure if line.tag.endswith("polyline")]) == 2
    assert "FID" not in text


def test_a_second_command_draws_nothing_and_one_with_more_steps_draws_what_is_missing(command, tmp_path, capsys):
    fixed = ["--pictures", 32, "--force", "--bucket", 16]
    assert "has no cell with 32 pictures yet" in command(*fixed, "--drawn")
    command(*fixed, "--steps", 1)
    shard = tmp_path / "out" / "eta-0-steps-1" / "0000000.npz"
    before = shard.stat().st_mtime_ns
    command(*fixed, "--drawn")
    assert "S = 2" not in capsys.readouterr().out
    command(*fixed)
    assert shard.stat().st_mtime_ns == before
    assert len(json.loads((tmp_path / "out" / "table.json").read_text())["cells"]) == 4


def test_a_cell_is_the_distance_of_its_own_pictures(place):
    pixels = read_pictures("reference", place / "real.npz", (3, 16, 16), 64)
    same, other = (Reference.first(pixels, 32).figures(part) for part in (pixels[:32], pixels[32:]))
    assert (same.pictures, same.shares.recall) == (32, 1)
    assert same.frechet.value == pytest.approx(0, abs=1e-4)
    assert other.kernel.value > same.kernel.value


def test_pictures_of_a_reference_are_averaged_in_blocks_and_chosen_alike(place):
    pixels = read_pictures("reference", place / "real.npz", (3, 16, 16), 10)
    whole = np.load(place / "real.npz")["x"].reshape(100, 16, 2, 16, 2, 3).mean((2, 4))
    nearest = np.abs(whole[None] - pixels[:, None]).max((2, 3, 4)).min(1)
    assert nearest.max() <= 0.75
    assert np.array_equal(pixels, read_pictures("reference", place / "real.npz", (3, 16, 16), 20)[:10])


def test_beside_the_cells_stand_held_out_pictures_with_as_many_others_where_they_are_fewer():
    reference, held_out = drawings(60, 16), drawings(20, 16, seed=1)
    first, lines = quality_table.beside(reference, 24, held_out)
    assert list(lines) == ["other pictures of the reference", "held-out pictures", "as many others of the reference"]
    assert lines == {
        "other pictures of the reference": first.figures(reference[24:48]),
        "held-out pictures": first.figures(held_out),
        "as many others of the reference": first.figures(reference[24:44]),
    }
    assert [figures.pictures for figures in lines.values()] == [24, 20, 20]
    _, as_many = quality_table.beside(reference, 20, drawings(30, 16, seed=1))
    assert {name: figures.pictures for name, figures in as_many.items()} == {
        "other pictures of the reference": 20,
        "held-out pictures": 20,
    }
    assert quality_table.beside(reference[:30], 24, None)[1] == {}


def test_pictures_are_seen_in_at_most_128_dimensions_and_fewer_where_fewer_were_asked_for():
    pixels = features(drawings(400, 16))
    assert FeatureSpace.of(pixels).projected(pixels).shape == (400, DIMENSIONS)
    assert FeatureSpace.of(pixels, 1000).projected(pixels).shape == (400, DIMENSIONS)
    assert FeatureSpace.of(pixels, 30).projected(pixels).shape == (400, 30)
    assert DIMENSIONS == 128


def test_few_pictures_are_refused_with_how_wide_the_error_would_be(command):
    said = command("--pictures", 40)
    assert "pictures must be 500 or more for a distance; got 40, with which two sets of training pictures are" in said
    assert said.count(" ± ") == 2
    assert said.endswith("add --force to have it all the same")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pictures", 101], "pictures must be at most those of the reference, 100, since sets of one size are compared"),
        (["--pictures", 20, "--force"], "pictures must be 32 or more for a distance; got 20"),
        (["--eta", "0,sigma"], "eta must be numbers from 0 to 2, or of sigma-hat"),
        (["--eta", "3"], "eta must be a number from 0 to 2"),
        (["--steps", "ten"], "steps must be whole numbers"),
        (["--steps", "2000"], "steps must be a whole number from 1 to 1000; got 2000"),
        (["--reference", "nowhere"], "reference must be a folder of pictures"),
    ],
)
def test_values_that_cannot_be_are_said(command, words, sentence, tmp_path):
    assert sentence in command(*words)
    assert not list((tmp_path / "out").glob("*/*.npz"))


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (
            np.zeros((20, 24, 24, 3), np.uint8),
            "has 24 x 24 pixels and the model makes 16 x 16: only whole multiples can be compared",
        ),
        (np.zeros((20, 32, 16, 3), np.uint8), "has 16 x 32 pixels and the model makes 16 x 16"),
        (np.zeros((20, 16, 16, 1), np.uint8), "must hold pictures in colour, as the model makes them"),
    ],
)
def test_pictures_of_another_size_or_without_colours_are_refused(command, tmp_path, pixels, sentence):
    np.savez(tmp_path / "other.npz", x=pixels)
    assert sentence in command("--reference", tmp_path / "other.npz")


def test_colours_are_refused_for_a_grey_model(tmp_path):
    Image.fromarray(drawings(1, 16)[0]).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png has colours and the model makes grey pictures"):
        read_pictures("reference", tmp_path, (1, 16, 16), 5)


def test_rows_are_numbers_and_names():
    assert parse_rows("0, 0.50 1,sigma-hat 2m 0") == ["0", "0.5", "1", "sigma-hat", "2m"]
    made = [QualityCell(row, 7) for row in ("0.5", "sigma-hat", "2m")]
    assert [cell.name for cell in made] == ["eta-0.5-steps-7", "sigma-hat-steps-7", "2m-steps-7"]
    arms = [cell.arm(Arm(spacing="linspace")) for cell in made]
    assert [(arm.method, arm.eta, arm.variance) for arm in arms] == [
        ("ddim", 0.5, "small"),
        ("ddpm", 0, "large"),
        ("2m", 0, "small"),
    ]
    assert {(arm.steps, arm.spacing) for arm in arms} == {(7, "linspace")}


def test_the_command_keeps_its_table_beside_the_model_under_its_hash(command, place, tmp_path, capsys):
    engine = Engine([place], allow_hub=False)
    before = engine.catalogue.version("tiny"), engine.model("tiny").sha256
    assert command("--pictures", 33, "--force", "--bucket", 16) is None
    (path,) = (place / "tiny").glob("quality-*.json")
    assert f"kept for the page as {path}" in capsys.readouterr().out
    assert (engine.catalogue.version("tiny"), loading.load(place / "tiny").sha256) == before  # no other model for it
    table = quality_files.find(place / "tiny", before[1])
    assert table.as_json() == json.loads((tmp_path / "out" / "table.json").read_text())
    assert table.rows == ["0", "sigma-hat"]
    assert quality_files.find(place / "tiny", before[1][:-1] + "x") is None
    assert quality_files.keep(place / "tiny", replace(table, pictures=32)) is None  # it says less
    assert quality_files.keep(place / "tiny", replace(table, cells=dict(list(table.cells.items())[:2]))) is None
    more = replace(table, pictures=34)
    assert quality_files.keep(place / "tiny", more) == path
    assert quality_files.find(place / "tiny", before[1]) == more


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2}, {"cells": []}, {"cells": [{"row": "0", "steps": 5}]}, {"beside": []}, {"settings": {}},
        {"pictures": "many"},
    ],
    ids=str,
)  # fmt: skip
def test_a_kept_table_that_is_damaged_or_of_another_kind_is_none(tmp_path, damage):
    figures = SetFigures(500, DistanceEstimate(0.5, 0.1), DistanceEstimate(9.0, 1.0), Shares(1.0, 1.0, 1.0, 1.0))
    table = QualityTable("tiny", {"weights": "a" * 64}, "real", 500, {("0", 5): figures}, {})
    path = quality_files.keep(tmp_path, table)
    assert quality_files.find(tmp_path, "a" * 64) == table
    path.write_text(json.dumps(table.as_json() | damage))
    assert quality_files.find(tmp_path, "a" * 64) is None
    path.write_text("{")
    assert quality_files.find(tmp_path, "a" * 64) is None
