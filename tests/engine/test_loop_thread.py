"""The thread of the batch loop: errands on it, whose cores it takes, and that it outlives being ended."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ddim_app.engine.batch_loop import BatchLoop
from tests import chaos_hooks
from tests.loop_tools import PATIENCE, Network, Run, assert_empty

pytestmark = pytest.mark.usefixtures("copies")


def test_an_errand_is_run_on_the_thread_that_calls_the_network():
    prepared: list[str] = []
    loop, network = BatchLoop(prepare=lambda: prepared.append(threading.current_thread().name)), Network()
    here = loop.call(threading.current_thread)
    assert here is loop._thread
    assert loop.call(loop.call, max, 3, 5) == 5  # from there it is just called
    Run(loop, network, [900, 400]).assert_completed()
    assert prepared == [here.name]
    assert loop.calls == 2
    loop.close()


def test_an_errand_waits_for_the_call_under_way_and_runs_go_on():
    loop, network = BatchLoop(), Network(held=True)
    run = Run(loop, network, [900, 600, 300])
    network.wait_for_call()
    done: list[int] = []
    errand = threading.Thread(target=lambda: done.append(loop.call(lambda: loop.calls)))
    errand.start()
    errand.join(0.05)
    assert done == []
    network.release()
    errand.join(PATIENCE)
    assert done == [1]
    run.assert_completed()


def test_an_errand_that_fails_fails_for_its_caller_alone():
    loop, network = BatchLoop(), Network()
    with pytest.raises(ZeroDivisionError):
        loop.call(lambda: 1 / 0)
    Run(loop, network, [900]).assert_completed()


def test_without_a_thread_an_errand_is_run_by_the_caller():
    assert BatchLoop(threaded=False).call(threading.current_thread) is threading.current_thread()


def test_a_closed_loop_takes_no_errand():
    loop = BatchLoop()
    loop.call(int)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call(int)


ONE_TEAM = """
import os, torch
from concurrent.futures import ThreadPoolExecutor
from ddim_app import backends
from ddim_app.engine.batch_loop import BatchLoop

wanted = backends.threads()
backends.spare_cores()
loop = BatchLoop(prepare=backends.use_cores)
def work():
    (torch.ones(2000, 2000) * 2).sum()
    return torch.get_num_threads()
assert loop.call(work) == wanted, "the network's calls have all cores"
before = len(os.listdir("/proc/self/task"))
assert (work(), len(os.listdir("/proc/self/task"))) == (1, before), "and nobody else has a team of threads"
with ThreadPoolExecutor(1) as later:
    assert later.submit(work).result() == 1, "nor has a thread that begins later"
assert loop.call(work) == wanted
"""


FROM_PYTHON = """
import os, torch
from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.runs.sampling import Arm, Recipe

for _ in Engine(allow_hub=False).run(Recipe(arms=(Arm(steps=1),), precision="fp32", backend="torch")):
    pass
before = len(os.listdir("/proc/self/task"))
(torch.ones(2000, 2000) * 2).sum()
assert torch.get_num_threads() == backends.threads(), "the caller's own arithmetic is as it was"
assert len(os.listdir("/proc/self/task")) == before + backends.threads() - 1, "and had no team of threads until then"
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux tells them")
def test_a_run_leaves_the_thread_that_asks_for_it_without_a_team():
    subprocess.run([sys.executable, "-c", FROM_PYTHON], check=True, timeout=120)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux tells them")
def test_only_the_loop_computes_with_a_team_of_threads():
    subprocess.run([sys.executable, "-c", ONE_TEAM], check=True, timeout=120)


def test_a_thread_that_is_ended_while_it_waits_goes_on():
    loop, network = BatchLoop(), Network()
    Run(loop, network, [900, 300]).assert_completed()
    chaos_hooks.end(loop._thread)
    assert Run(loop, network, [900, 300]).end().error in (None, "The run failed: SystemExit")  # at which the thread wakes
    Run(loop, network, [900, 300]).assert_completed()
    assert_empty(loop)


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
