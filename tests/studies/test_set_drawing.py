"""Sets drawn by one process, by two and after a stop are the same to the last bit. The processes are real."""

import signal
from pathlib import Path

import pytest

from tests.train_tools import Worker

COUNT = 22
SHARDS = 6  # of four pictures, in the worker


@pytest.fixture(scope="module")
def sample(tiny_root):
    worker = Worker("tests.rank_worker")

    def run(output, *words, **job):
        settings = ["--steps", "3", "--eta", "1", "--bucket", "4", "--seed", "9", "--output", output]
        return worker.run(tiny_root / "tiny", "--count", COUNT, *settings, *words, **job)

    yield run
    worker.close()


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def alone(sample, tmp_path_factory):
    """The files of the set drawn by one process."""
    folder = tmp_path_factory.mktemp("alone") / "set"
    ran = sample(folder)
    assert ran.code == 0, ran.text
    assert f"{COUNT} pictures in {folder}, {COUNT} of them drawn now" in ran.text
    assert len(files(folder)) == COUNT + SHARDS + 1
    return files(folder)


def test_two_processes_draw_the_set_of_one_and_show_one_bar(sample, alone, tmp_path):
    ran = sample(tmp_path / "set", processes=2)
    assert ran.codes == [0, 0], ran.output
    assert files(tmp_path / "set") == alone
    assert f"{3 * COUNT}/{3 * COUNT}" in ran.text
    assert ran.output[1] == ""


@pytest.mark.parametrize(
    ("function", "times", "left"),
    [("drawing", 8, 2), ("save", 3, 2), ("half a shard", 3, 1), ("renamed", 2, 2)],
)
def test_what_is_killed_anywhere_goes_on_and_ends_the_same(sample, alone, tmp_path, function, times, left):
    ran = sample(tmp_path / "set", die={"function": function, "times": times})
    assert ran.codes == [-signal.SIGKILL]
    whole = [path for path in (tmp_path / "set").iterdir() if path.is_dir() and path.suffix != ".partial"]
    assert len(whole) == left
    ran = sample(tmp_path / "set", processes=2)
    assert ran.codes == [0, 0], ran.output
    assert files(tmp_path / "set") == alone
    assert f"{COUNT - 4 * left} of them drawn now" in ran.text


def test_an_array_that_was_not_joined_is_joined_by_the_same_command(sample, tmp_path):
    assert sample(tmp_path, "--format", "npz", die={"function": "joining", "times": SHARDS + 1}).codes == [-signal.SIGKILL]
    assert not (tmp_path / "pictures.npz").exists()
    ran = sample(tmp_path, "--format", "npz")
    assert f"{COUNT} pictures in {tmp_path}/pictures.npz, 0 of them drawn now" in ran.text
    shards = [f"{i:07}.npz" for i in range(0, 24, 4)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*shards, "pictures.npz", "set.json"]


def test_a_dead_rank_ends_the_others_with_a_sentence_and_one_process_can_go_on(sample, alone, tmp_path):
    ran = sample(tmp_path / "set", processes=2, die={"rank": 1, "function": "drawing"})
    assert ran.codes == [1, -signal.SIGKILL]
    assert "process 1 has given no sign of life for 3 s; what was drawn stays in" in ran.text
    assert ran.text.rstrip().endswith("and the same command goes on")
    assert sample(tmp_path / "set").code == 0
    assert files(tmp_path / "set") == alone


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_asked_to_end_says_so_and_ends_the_others(sample, tmp_path, number):
    ran = sample(tmp_path / "set", processes=2, die={"rank": 1, "function": "save", "number": number})
    assert ran.codes == [1, 1]
    assert f"ended by {number.name}; what was drawn stays in" in ran.output[1]
    assert f"process 1 has ended: ended by {number.name}; what was drawn" in ran.output[0]


@pytest.mark.parametrize("name", ["steps", "count", "output"])
def test_ranks_with_other_arguments_are_refused(sample, tmp_path, name):
    values = {"steps": "4", "count": "5", "output": str(tmp_path / "other")}
    ran = sample(tmp_path / "set", processes=2, more={"1": [f"--{name}", values[name]]})
    assert ran.codes == [1, 1]
    sentence = f"{name} must be the same for all processes; process 0 has "
    assert f"ddim_app sample: {sentence}" in ran.output[1]
    assert f"process 1 has ended: {sentence}" in ran.output[0]
    assert not list(tmp_path.glob("*/*.png"))


def test_processes_that_cannot_meet_are_refused_with_the_right_command(sample, tmp_path):
    ran = sample(tmp_path / "set", env={"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"})
    assert ran.code == 1
    assert "start the command by torchrun --nproc_per_node 4 -m ddim_app" in ran.text
    assert not (tmp_path / "set").exists()
