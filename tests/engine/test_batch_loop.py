"""The batch loop: who shares a call with whom, who waits for whom, and that leaving disturbs nobody."""

import threading

import pytest
import torch

from ddim_app.diffusion.sampler import Query, Step
from ddim_app.engine import tickets
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import End
from tests import toys
from tests.loop_tools import PATIENCE, Network, Run, assert_empty, grid

pytestmark = pytest.mark.usefixtures("copies")


def test_one_call_serves_runs_at_different_timesteps():
    loop, network = BatchLoop(), Network(held=True)
    first = Run(loop, network, [900, 600, 300], pictures=2)
    network.wait_for_call()
    second = Run(loop, network, [999, 500], seed=1)
    network.release()
    first.assert_completed()
    second.assert_completed()
    assert [sorted(call) for call in network.calls] == [[900, 900], [600, 600, 999], [300, 300, 500]]
    assert (loop.calls, loop.evaluations) == (3, 8)
    assert_empty(loop)


def test_rows_are_split_over_calls_when_there_is_no_room():
    loop, network = BatchLoop(max_rows=3), Network()
    run = Run(loop, network, [900, 400], pictures=8, eta=1.0, draw=toys.keyed_draw(1))
    run.assert_completed()
    assert [len(call) for call in network.calls] == [3, 3, 2, 3, 3, 2]


def test_rows_of_several_runs_never_exceed_the_room():
    loop, network = BatchLoop(max_rows=5), Network(held=True)
    runs = [Run(loop, network, grid(6), pictures=n, seed=n) for n in (4, 7, 1, 3)]
    network.release()
    for run in runs:
        run.assert_completed()
    assert max(len(call) for call in network.calls) == 5
    assert sum(len(call) for call in network.calls) == 6 * 15 == loop.evaluations


def test_a_run_that_leaves_costs_no_further_call():
    """It leaves while a call is under way: that one is finished, and it hears nothing of it."""
    loop, network = BatchLoop(), Network(held=True)
    leaver = Run(loop, network, grid(1000))
    for _ in range(3):
        network.wait_for_call()
        network.gate.release()
    network.wait_for_call()
    loop.leave(leaver.ticket)
    heard = len(leaver.items)
    network.release()
    other = Run(loop, Network(), grid(20), group="other")
    other.assert_completed()
    assert len(network.calls) == 4
    assert (len(leaver.items), leaver.ended.is_set()) == (heard, False)


def test_a_run_that_leaves_from_its_own_step_makes_no_call_at_all(copies):
    loop, network = BatchLoop(), Network(held=True)
    leaver = Run(loop, network, grid(1000))
    leaver.on_step = lambda step: step.k == 1 and loop.leave(leaver.ticket)
    network.release()
    Run(loop, Network(), grid(20), group="other").assert_completed()
    assert len(leaver.steps) == 2
    assert len(network.calls) - len(leaver.steps) in copies


def test_those_who_stay_are_not_disturbed_by_one_who_leaves():
    loop, network = BatchLoop(), Network(held=True)
    stayer = Run(loop, network, grid(10), pictures=2)
    leaver = Run(loop, network, grid(10), pictures=3, seed=1)
    leaver.on_step = lambda step: step.k == 4 and loop.leave(leaver.ticket)
    network.release()
    stayer.assert_completed()
    assert len(leaver.steps) == 5
    assert_empty(loop)


def test_leaving_twice_or_after_the_end_is_nothing():
    loop, network = BatchLoop(), Network()
    run = Run(loop, network, grid(2))
    run.assert_completed()
    loop.leave(run.ticket)
    loop.leave(run.ticket)
    Run(loop, network, grid(2)).assert_completed()


def test_groups_never_share_a_call():
    loop = BatchLoop()
    even, odd = Network(held=True), Network(held=True)
    runs = [Run(loop, even, range(0, 1000, 100), group="even", seed=1), Run(loop, odd, range(1, 1000, 100), group="odd", seed=2)]
    runs += [Run(loop, even, range(0, 1000, 200), group="even", seed=3), Run(loop, odd, range(1, 1000, 200), group="odd", seed=4)]
    even.release()
    odd.release()
    for run in runs:
        run.assert_completed()
    assert {t % 2 for call in even.calls for t in call} == {0}
    assert {t % 2 for call in odd.calls for t in call} == {1}


@pytest.mark.parametrize("groups", [("a", "a"), ("a", "b")])
def test_a_short_run_is_not_held_up_by_a_long_one(groups):
    """There is room for one of the two at a time, so they take turns; the short one needs ten of them."""
    loop = BatchLoop(max_rows=4)
    networks = {group: Network(held=True) for group in groups}
    long = Run(loop, networks[groups[0]], grid(1000), pictures=4, group=groups[0])
    networks[groups[0]].wait_for_call()
    short = Run(loop, networks[groups[1]], grid(10), pictures=4, group=groups[1], seed=1)
    at_end = []
    short.on_step = lambda step: at_end.append(loop.calls)
    for network in networks.values():
        network.release()
    short.assert_completed()
    loop.leave(long.ticket)
    assert at_end[-1] <= 1 + 2 * 10
    assert len(long.steps) >= 9  # nor does the short one push the long one aside


def test_a_run_with_many_rows_does_not_starve_one_with_few():
    loop, network = BatchLoop(max_rows=4), Network(held=True)
    wide = Run(loop, network, grid(50), pictures=16)
    network.wait_for_call()
    narrow = Run(loop, network, grid(5), seed=1)
    at_end = []
    narrow.on_step = lambda step: at_end.append(loop.calls)
    network.release()
    narrow.assert_completed()
    assert at_end[-1] <= 1 + 2 * 5
    wide.assert_completed()


def test_any_process_can_be_run():
    """The loop knows queries and steps, not what they are for."""

    def process():
        output = yield Query(torch.ones(2, 1, 1, 1), torch.tensor([3, 4]))
        yield Step(0, (0, 1), output, output, output)

    loop, items, done = BatchLoop(), [], threading.Event()

    def emit(item):
        items.append(item)
        if isinstance(item, End):
            done.set()

    loop.join(process(), [tickets.Evaluator(lambda x, t: x * t.view(-1, 1, 1, 1))], emit)
    assert done.wait(PATIENCE)
    assert items[0].x_next.flatten().tolist() == [3, 4]
    assert items[1].error is None
