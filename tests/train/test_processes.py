"""Several processes train the same model as one with the whole batch. The processes are real, joined by gloo on the CPU."""

import json
import signal
import subprocess
import sys

import pytest
import torch

from ddim_app.train import state
from tests.train_tools import ROOT, TOY, Worker, final_digest, save_drawings

OPTIONS = ["--lr", "1e-4", "--warmup", "0", "--steps", "20", "--precision", "fp32"]
PRECISE = 2e-5


@pytest.fixture(scope="module")
def worker():
    made = Worker()
    yield made
    made.close()


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
    assert state.checkpoints(output / "checkpoints")[-1].stem == "step-000000007"
    assert train("stopped", 4, processes=2)[0].codes == [0, 0]
    assert final_digest(output) == final_digest(together)


def test_processes_that_do_not_see_each_other_are_refused(train):
    ran, _ = train("lonely", 4, env={"WORLD_SIZE": "2"})
    assert ran.code == 2
    assert "WORLD_SIZE is 2 but Accelerate works with" in ran.error


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
