"""What the page shows of a run: the lines that the run has logged, and nothing of what is no run or cannot be read."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from ddim_app.models.catalogue import Catalogue
from ddim_app.ui import training_fold
from tests import toys

LINES = [
    {"kind": "held_out", "step": 0, "loss": 1.0},
    {"kind": "preview", "step": 0, "file": "step-000000000.png", "words": "before anything is learned"},
    *({"kind": "train", "step": step, "loss": 1 / step} for step in range(10, 9010, 10)),
    {"kind": "held_out", "step": 9000, "loss": 0.25},
    {"kind": "preview", "step": 9000, "file": "step-000009000.png", "words": "it is learning"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """runs/cats: a run of 10,000 steps after its 9,000th."""
    made = toys.save_tiny(tmp_path / "runs" / "cats")
    (made / "run.json").write_text(json.dumps({"steps": 10_000, "finished": False}))
    (made / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"kind": "tr')
    (made / "previews").mkdir()
    Image.new("RGB", (8, 8), "red").save(made / "previews" / "step-000009000.png")
    return made


def test_a_run_shows_its_loss_its_words_and_its_last_preview(folder: Path) -> None:
    words, chart, preview, goes_on = training_fold.shown(folder)
    assert words == "Step 9000 of 10000: it is learning"
    train, held = chart["series"]
    assert len(train["points"]) == training_fold.MOST_POINTS
    assert train["points"][0] == [10, 0.1]
    assert held["points"] == [[0, 1.0], [9000, 0.25]]
    assert preview.startswith("data:image/png;base64,")
    assert goes_on


def test_the_newest_run_is_found_wherever_models_lie(folder: Path, tmp_path: Path) -> None:
    def newest() -> str | None:
        engine = SimpleNamespace(catalogue=Catalogue([tmp_path / "weights", tmp_path / "runs", tmp_path / "elsewhere"]))
        return training_fold.newest_run(engine)  # type: ignore[arg-type]

    assert newest() == "runs/cats"
    made = toys.save_tiny(tmp_path / "elsewhere" / "dogs")
    assert newest() == "runs/cats"  # dogs is no run
    (made / "metrics.jsonl").write_text("")
    os.utime(folder / "metrics.jsonl", (0, 0))
    assert newest() == "elsewhere/dogs"


def test_a_finished_run_is_not_asked_for_again(folder: Path) -> None:
    (folder / "run.json").write_text(json.dumps({"steps": 9000, "finished": True}))
    words, *_, goes_on = training_fold.shown(folder)
    assert words.startswith("Step 9000 of 9000, finished: ")
    assert not goes_on


@pytest.mark.parametrize("spoiled", ["run.json", "metrics.jsonl", "previews/step-000009000.png"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff\x00"])
def test_what_cannot_be_read_is_a_sentence(folder: Path, spoiled: str, content: bytes) -> None:
    (folder / spoiled).write_bytes(content)
    assert training_fold.shown(folder)[:3] == ("There is nothing to be shown of this run yet.", {}, "")


def test_a_preview_is_read_from_the_runs_own_folder_alone(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder.parent / "other.png")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"kind": "preview", "step": 9000, "file": "../../other.png"}))
    assert training_fold.shown(folder)[2] == ""


def test_only_models_of_runs_have_the_fold(folder: Path) -> None:
    toys.save_tiny(folder.parent / "plain")
    engine = SimpleNamespace(catalogue=Catalogue([folder.parent.parent / "weights", folder.parent], allow_hub=False, trusted=False))
    assert training_fold.run_of(engine, "runs/cats") == folder
    for model in ("runs/plain", "runs/none", str(folder), "../runs/cats", "", None, 7):
        assert training_fold.run_of(engine, model) is None
