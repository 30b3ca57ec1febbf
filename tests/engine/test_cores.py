"""Who computes with a team of threads, and that a process may end while it does: asked of processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loop_tools import PATIENCE

ONE_TEAM = """
import json, os, torch
from concurrent.futures import ThreadPoolExecutor
from ddim_app import backends
from ddim_app.engine.batch_loop import BatchLoop

wanted = backends.threads()
backends.spare_cores()
loop = BatchLoop(prepare=backends.use_cores)
def work():
    (torch.ones(2000, 2000) * 2).sum()
    return torch.get_num_threads()
first = loop.call(work)
before = len(os.listdir("/proc/self/task"))
asking, begun = work(), len(os.listdir("/proc/self/task")) - before
with ThreadPoolExecutor(1) as executor:
    later = executor.submit(work).result()
print(json.dumps({"wanted": wanted, "loop": [first, loop.call(work)], "asking": asking, "begun": begun, "later": later}))
"""
FROM_PYTHON = """
import json, os, torch
from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe

for _ in Engine(allow_hub=False).run(Recipe(arms=(Arm(steps=1),), precision="fp32", backend="torch")):
    pass
before = len(os.listdir("/proc/self/task"))
(torch.ones(2000, 2000) * 2).sum()
begun = len(os.listdir("/proc/self/task")) - before
print(json.dumps({"wanted": backends.threads(), "asking": torch.get_num_threads(), "begun": begun}))
"""
counts_threads = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux tells them")


def told_by(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def on_a_server():
    """The threads of a process that spares its cores for the loop's thread, as a server does."""
    return told_by(ONE_TEAM)


@pytest.fixture(scope="module")
def from_python():
    """The threads of a process whose main thread has asked for a run and read it to its end."""
    return told_by(FROM_PYTHON)


@counts_threads
def test_the_networks_calls_have_all_cores(on_a_server):
    assert on_a_server["loop"] == [on_a_server["wanted"]] * 2


@counts_threads
def test_nobody_else_has_a_team_of_threads(on_a_server):
    assert (on_a_server["asking"], on_a_server["begun"]) == (1, 0)


@counts_threads
def test_nor_has_a_thread_that_begins_later(on_a_server):
    assert on_a_server["later"] == 1


@counts_threads
def test_the_arithmetic_of_who_asks_for_a_run_is_as_it_was(from_python):
    assert from_python["asking"] == from_python["wanted"]


@counts_threads
def test_a_run_leaves_the_thread_that_asks_for_it_without_a_team(from_python):
    """Its own team begins with its own arithmetic."""
    assert from_python["begun"] == from_python["wanted"] - 1


def test_a_process_may_end_in_the_middle_of_a_run():
    program = (
        "from tests.toys import LINEAR, network; from ddim_app.engine.batch_loop import BatchLoop\n"
        "from ddim_app.engine.tickets import Evaluator\n"
        "from ddim_app.diffusion.sampler import Row, sample\n"
        "import queue, torch; news = queue.SimpleQueue(); x = torch.zeros(1, 1, 64, 64)\n"
        "BatchLoop().join(sample(x, [Row(LINEAR.levels(1000))]), [Evaluator(network)], news.put); news.get()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
