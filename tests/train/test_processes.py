"""Several processes train the same model as one with the whole batch. The processes are real, joined by gloo on the CPU."""

import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.train import begin, data, state
from ddim_app.train.config import Settings
from ddim_app.train.picture_cache import PictureForm
from ddim_app.train.run_folder import RunFolder
from tests.train_tools import ROOT, TOY, final_digest, save_drawings

OPTIONS = ["--lr", "1e-4", "--warmup", "0", "--steps", "20", "--precision", "fp32"]
PRECISE = 2e-5


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    (folder / "toy.toml").write_text(TOY)
    save_drawings(folder / "pictures", 30)
    return folder


@pytest.fixture(scope="module")
def train(place, worker):
    def run(name, batch, *more, **job):
        output = place / "runs" / name
        ran = worker.run(
            "--data", place / "pictures", "--preset", place / "toy.toml", "--output", output, "--batch-size", batch, *OPTIONS,
            *more, **job,
        )  # fmt: skip
        return ran, output

    return run


def weights(run):
    tensors, _ = state.read(state.checkpoints(run / "checkpoints")[-1])
    return {name: tensor for name, tensor in tensors.items() if name.startswith(("weights.", "ema."))}


def difference(one, other):
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def alone(train):
    ran, output = train("alone", 8)
    assert ran.code == 0, ran.text
    return output


@pytest.fixture(scope="module")
def together(train):
    ran, output = train("together", 4, processes=2)
    assert ran.codes == [0, 0], ran.output
    return output


def test_two_processes_train_the_model_of_one_with_both_batches(alone, together, train):
    facts = json.loads((together / "run.json").read_text())
    assert (facts["processes"], facts["global_batch"]) == (2, 8)
    one, two = weights(alone), weights(together)
    begun = train("begun", 8, event={"signal": signal.SIGTERM, "where": "step end", "step": 0})[1]
    assert difference(one, weights(begun)) > 1e-3
    assert difference(one, two) <= PRECISE


def test_two_processes_see_what_one_does(alone, together):
    """Each evaluates half of the rows of a look."""
    one, two = ([json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (alone, together))
    assert [(line["kind"], line["step"]) for line in one] == [(line["kind"], line["step"]) for line in two]
    for a, b in zip(one, two, strict=True):
        if a["kind"] in ("held_out", "average"):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
            assert b["groups"] == pytest.approx(a["groups"], rel=1e-4)
        if a["kind"] == "preview":
            left, right = (np.array(Image.open(run / "previews" / a["file"])).astype(int) for run in (alone, together))
            assert abs(left - right).max() <= 2


def test_only_the_first_of_several_processes_reads_the_pictures(place, monkeypatch):
    form, cache = PictureForm(8, 3), place / "cache of one"
    first = data.prepare(str(place / "pictures"), None, form, cache)
    monkeypatch.setattr(begin, "broadcast_object_list", lambda told: told.__setitem__(slice(None), [first.key, first.content]))
    monkeypatch.setattr(data, "prepare", None)
    settings = Settings(data=str(place / "pictures"), cache=str(cache))
    shape = SimpleNamespace(shape=(3, 8, 8))
    second = begin._data(settings, RunFolder(place / "runs" / "x"), shape, None, SimpleNamespace(is_main_process=False))
    assert (second.key, second.content) == (first.key, first.content)
    assert np.array_equal(second.pixels, first.pixels)


def test_the_comparison_notices_other_noise(alone, train):
    ran, output = train("other", 4, processes=2, shift_noise=True)
    assert ran.codes == [0, 0], ran.output
    assert difference(weights(alone), weights(output)) > PRECISE


def test_accumulated_gradients_are_those_of_the_whole_batch(alone, train):
    ran, output = train("accumulated", 4, "--accumulate", "2")
    assert ran.code == 0, ran.text
    assert difference(weights(alone), weights(output)) <= PRECISE


def test_all_processes_stop_together_and_go_on(together, train):
    ran, output = train("stopped", 4, processes=2, event={"signal": signal.SIGTERM, "where": "backward", "step": 6, "rank": 1})
    assert ran.codes == [143, 143], ran.output
    assert state.checkpoints(output / "checkpoints")[-1].stem == "step-000000010"
    assert train("stopped", 4, processes=2)[0].codes == [0, 0]
    assert final_digest(output) == final_digest(together)


def test_processes_that_do_not_see_each_other_are_refused(train):
    ran, _ = train("lonely", 4, env={"WORLD_SIZE": "2"})
    assert ran.code == 2
    assert "2 processes or more were asked for but Accelerate works with" in ran.error


@pytest.mark.parametrize(
    ("env", "count"),
    [
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"}, 4),
        ({"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}, 2),
    ],
)
def test_a_launcher_that_starts_processes_which_do_not_meet_is_refused_with_the_right_command(train, env, count):
    """Slurm's srun without torchrun, and what `accelerate launch --cpu --num_processes 2` tells its one process."""
    ran, output = train("launched", 4, env=env)
    assert ran.code == 2
    assert f"start the run by torchrun --nproc_per_node {count} -m ddim_app.train" in ran.error
    assert not output.exists()


def test_only_the_first_of_the_processes_speaks(train):
    ran, _ = train("launched", 4, env={"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"})
    assert (ran.code, ran.text) == (2, "")


@pytest.mark.parametrize("env", [{"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, {"MASTER_ADDR": "127.0.0.1"}])
def test_one_process_may_be_started_in_an_allocation_for_several(train, env):
    ran, _ = train(f"one-{len(env)}", 4, "--dry-run", env=env)
    assert ran.code == 0, ran.text


@pytest.mark.long
def test_accelerate_launch_on_cpus_is_refused(place):
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "ddim_app.train", "--data",
        place / "pictures", "--preset", place / "toy.toml", "--output", place / "runs" / "launch",
    ]  # fmt: skip
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert "start the run by torchrun --nproc_per_node 2 -m ddim_app.train" in ran.stderr


@pytest.mark.long
def test_torchrun(place, alone):
    output = place / "runs" / "torchrun"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ddim_app.train", "--data",
        place / "pictures", "--preset", place / "toy.toml", "--output", output, "--batch-size", "4", *OPTIONS,
    ]  # fmt: skip
    environment = {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PATH": ""}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert difference(weights(alone), weights(output)) <= PRECISE


def test_weights_are_compared_by_value():
    assert difference({"a": torch.zeros(2)}, {"a": torch.tensor([0.0, -0.5])}) == 0.5
