"""The thread of the batch loop: errands on it, and that it outlives being ended."""

import threading
import time

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


def test_a_thread_that_is_ended_while_it_waits_goes_on():
    loop, network = BatchLoop(), Network()
    Run(loop, network, [900, 300]).assert_completed()
    assert_empty(loop)
    while not loop._wake._waiters:
        time.sleep(0.001)
    with loop._wake:  # which the thread needs to wake: it ends there, with the run in its hands
        chaos_hooks.end(loop._thread)
        run = Run(loop, network, [900, 300])
    assert run.end().error == "The run failed: SystemExit"
    Run(loop, network, [900, 300]).assert_completed()
    assert_empty(loop)
