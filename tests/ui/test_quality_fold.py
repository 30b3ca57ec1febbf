"""The fold "How good?": a stored table in words, cells and lines, and the command where there is none."""

import pytest
import torch

from ddim_app.engine import Engine
from ddim_app.studies import quality_files
from ddim_app.ui.matrix import quality_fold
from tests import toys
from tests.ui.quality_tables import table


def test_a_stored_table_is_in_the_papers_layout_with_its_errors():
    said, cells, _, why, command = quality_fold.shown("tiny", table())
    assert cells["head"] == ["", "S = 5", "S = 10"]
    assert cells["rows"][0] == ["η 0", "0.7000 ± 0.0100", "0.4000 ± 0.0100"]
    assert cells["rows"][-1] == ["σ̂", "0.9500 ± 0.0100", ""]
    assert "512 pictures a cell" in said
    assert "0.0007 ± 0.0100 from other training pictures" in said
    assert f"{512 * (5 * 5 + 10):,} evaluations" in why
    assert command == "python -m ddim_app quality tiny --reference TRAINING_PICTURES"
    assert "FID" not in said + why


def test_lines_have_the_samplers_colours_and_no_two_look_alike():
    _, _, chart, _, _ = quality_fold.shown("tiny", table())
    looks = {line["name"]: (line["colour"], line["dashed"]) for line in chart["series"]}
    assert looks == {"η 0": (0, False), "η 0.2": (2, False), "η 0.5": (2, True), "η 1": (1, False), "σ̂": (1, True)}
    assert chart["series"][0]["points"] == [[5, 0.7], [10, 0.4]]
    assert (chart["ticks"], chart["log"]) == ([5, 10], True)


def test_a_model_without_a_table_shows_the_command_that_makes_one():
    said, cells, chart, why, command = quality_fold.shown("my model", None)
    assert said == "There is no table of my model on this machine."
    assert (cells, chart) == ({}, {})
    assert "500 pictures or more" in why
    assert command == "python -m ddim_app quality 'my model' --reference TRAINING_PICTURES"


@pytest.mark.parametrize("model", ["../tiny", "someone/a-model", "", None, 3, ["tiny"]])
def test_what_is_no_model_here_has_no_table_and_is_not_fetched(tiny_root, model):
    engine = Engine([tiny_root], device=torch.device("cpu"))
    assert quality_fold.table_of(engine, model) is None


def test_a_table_is_that_of_the_weights_that_lie_there(tmp_path):
    engine = Engine([tmp_path], allow_hub=False, device=torch.device("cpu"))
    toys.save_tiny(tmp_path / "mine")
    kept = table(engine.model("mine").sha256)
    quality_files.keep(tmp_path / "mine", kept)
    assert quality_fold.table_of(engine, "mine") == kept
    toys.save_tiny(tmp_path / "mine", seed=1)  # trained on
    assert quality_fold.table_of(engine, "mine") is None
