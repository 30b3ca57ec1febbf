"""Where a run lies: it goes on after a move, keeps out of its own data, and says in a sentence what a disk refuses."""

import json
import os
import re
import shutil
import signal

import pytest
from PIL import Image

from ddim_app.models import loading
from ddim_app.train import state
from tests import toys
from tests.train_tools import TOY, drawings, final_digest, save_drawings

STOP = {"signal": signal.SIGKILL, "where": "mid-step", "step": 10}
FINE = ["--batch-size", 4, "--steps", 12, "--precision", "fp32", "--checkpoint-every", 4, "--preview-every", 0]


@pytest.fixture
def place(tmp_path):
    """A folder with a toy preset, a model, and pictures."""
    folder = tmp_path / "here"
    save_drawings(folder / "pictures", 30)
    (folder / "toy.toml").write_text(TOY)
    toys.save_tiny(folder / "start")
    return folder


@pytest.fixture
def unbroken(place, worker):
    """The digest of a run that was never stopped, by what it starts with."""

    def digest(*start):
        ran = worker.run("--data", place / "pictures", "--output", place.parent / "unbroken", *start)
        assert ran.code == 0, ran.text
        return final_digest(place.parent / "unbroken")

    return digest


def test_a_fine_tuned_run_goes_on_where_neither_its_place_nor_its_start_is_left(place, worker, unbroken):
    wanted = unbroken("--init", place / "start", *FINE)
    command = ["--data", place / "pictures", "--output", place / "run", *FINE]
    assert worker.run(*command, "--init", place / "start", event=STOP).code == -signal.SIGKILL
    stored = json.loads((place / "run" / "run.json").read_text())
    base = loading.load(place / "start")
    assert stored["init"] == {"name": "start", "sha256": base.sha256, "file_sha256": base.file_sha256}
    assert stored["settings"]["init"] == "start"
    there = place.parent / "there"
    shutil.move(place, there)
    shutil.rmtree(there / "start")
    (there / "pictures" / ".DS_Store").write_bytes(b"Bud1")  # a look with Finder
    shutil.rmtree(there / ".cache")
    command = ["--data", there / "pictures", "--output", there / "run", *FINE]
    lost = worker.run(*command, "--init", there / "start").error
    assert lost.startswith("--init: model ")
    assert lost.endswith("this run goes on without it: leave --init or --preset out")
    ran = worker.run(*command)
    assert ran.code == 0, ran.text
    # That of step 8 is written in the background, and was perhaps not whole when the run was killed in step 10.
    assert re.search("Going on after step [48] of 12", ran.text)
    assert final_digest(there / "run") == wanted


def test_a_run_from_scratch_goes_on_by_a_preset_that_lies_elsewhere(place, worker, unbroken):
    wanted = unbroken("--preset", place / "toy.toml")
    command = ["--data", place / "pictures", "--output", place / "run"]
    assert worker.run(*command, "--preset", place / "toy.toml", event=STOP).code == -signal.SIGKILL
    (place / "other.toml").write_text(TOY.replace("[8]", "[16]"))
    assert (
        "--preset is a network of another architecture or schedule" in worker.run(*command, "--preset", place / "other.toml").error
    )
    (place / "other.toml").write_text(TOY.replace("num_train_timesteps = 100", "num_train_timesteps = 200"))
    assert (
        "--preset is a network of another architecture or schedule" in worker.run(*command, "--preset", place / "other.toml").error
    )
    (place / "toy.toml").rename(place / "moved.toml")
    assert worker.run(*command, "--preset", place / "moved.toml").code == 0
    assert final_digest(place / "run") == wanted


def test_a_start_that_is_gone_is_asked_for_when_no_checkpoint_is_whole(place, worker):
    command = ["--data", place / "pictures", "--output", place / "run", *FINE]
    assert worker.run(*command, "--init", place / "start", event=STOP).code == -signal.SIGKILL
    for path in state.checkpoints(place / "run" / "checkpoints"):
        path.write_bytes(b"damaged")
    assert "name what the run was begun with by --init or --preset" in worker.run(*command).error
    assert worker.run(*command, "--init", place / "start").code == 0


def test_everybody_whom_the_umask_lets_may_load_the_model(place, worker):
    command = ["--data", place / "pictures", "--output", place / "run", "--preset", place / "toy.toml", "--steps", 1]
    assert worker.run(*command, umask=0o022).code == 0
    modes = {path.stat().st_mode & 0o777 for path in (place / "run").rglob("*") if path.is_file() and path.name != ".lock"}
    assert modes == {0o644}


def test_a_run_inside_its_data_does_not_train_on_its_own_previews(place, worker, unbroken):
    wanted = unbroken("--preset", place / "toy.toml")
    pictures = place / "pictures"
    command = ["--data", pictures, "--preset", place / "toy.toml", "--output", pictures / "run"]
    assert worker.run(*command, event=STOP).code == -signal.SIGKILL
    assert (pictures / "run" / "previews" / "step-000000000.png").is_file()
    ran = worker.run(*command)
    assert ran.code == 0, ran.text
    assert "not searched, since they are a run's or its cache: .cache/, run/" in ran.text
    assert final_digest(pictures / "run") == wanted
    another = worker.run(*command[:-1], place / "another", "--cache", pictures / "cache", "--dry-run")
    assert "25 pictures to train on, 5 held out" in another.text
    assert "not searched, since they are a run's or its cache: .cache/" in another.text


def test_the_data_folder_itself_is_no_output(place, worker):
    ran = worker.run("--data", place / "pictures", "--preset", place / "toy.toml", "--output", f"{place / 'pictures'}/")
    assert ran.error.startswith("--output must be another folder than --data")
    assert len(os.listdir(place / "pictures")) == 30


def test_a_run_goes_on_with_the_pictures_that_it_had(place, worker, unbroken):
    wanted = unbroken("--preset", place / "toy.toml")
    command = ["--data", place / "pictures", "--preset", place / "toy.toml", "--output", place / "run"]
    assert worker.run(*command, event=STOP).code == -signal.SIGKILL
    Image.fromarray(drawings(1, seed=9)[0]).save(place / "pictures" / "new.png")
    refused = worker.run(*command)
    assert "--data has changed since this run was begun" in refused.error
    assert "go on with those that it had by --keep-data" in refused.error
    (place / ".cache").rename(place / "away")
    assert "the decoded pictures of this run are no longer in" in worker.run(*command, "--keep-data").error
    (place / "away").rename(place / ".cache")
    ran = worker.run(*command, "--keep-data")
    assert ran.code == 0, ran.text
    assert "25 pictures to train on, 5 held out" in ran.text
    assert final_digest(place / "run") == wanted


def test_a_run_with_held_out_pictures_elsewhere_keeps_both(place, worker):
    save_drawings(place / "held", 3, seed=5)
    command = ["--data", place / "pictures", "--holdout", place / "held", "--preset", place / "toy.toml", "--output", place / "run"]
    assert worker.run(*command, event=STOP).code == -signal.SIGKILL
    shutil.rmtree(place / "held")
    ran = worker.run(*command, "--keep-data")
    assert ran.code == 0, ran.text
    assert "30 pictures to train on, 3 held out" in ran.text


@pytest.mark.parametrize("largest", [1_000, 6_000, 12_000, 100_000])
def test_a_full_disk_at_any_file_is_one_sentence(place, worker, largest):
    """The large files of a toy: 2 kB and 9 kB of the cache, weights of 51 kB, and a checkpoint of 308 kB."""
    command = ["--data", place / "pictures", "--preset", place / "toy.toml", "--output", place / "run", "--steps", 2]
    ran = worker.run(*command, largest_file=largest)
    assert ran.code == 2
    assert "(File too large): " in ran.error
    assert "checkpoints are whole" not in ran.error
    if largest > 10_000:  # the pictures are in the cache
        assert "there is no checkpoint yet; make room or allow it, and start the same command again" in ran.error
    else:
        assert "name another --cache" in ran.error
    assert worker.run(*command).code == 0


def test_an_output_that_cannot_be_written_is_one_sentence(place, worker):
    command = ["--data", place / "pictures", "--preset", place / "toy.toml", "--output"]
    for output in (place / "toy.toml" / "run", "/proc/run"):
        ran = worker.run(*command, output)
        assert ran.code == 2
        assert ran.error.startswith(f"--output {output}")
