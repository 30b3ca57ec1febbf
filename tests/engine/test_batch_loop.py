"""The batch loop: who shares a call with whom, and that one run's end is its own."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from ddim_app.backends import host_copy
from ddim_app.diffusion.sampler import Query, Row, Step, sample
from ddim_app.engine import tickets
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import End
from ddim_app.models.memory import is_out_of_memory
from tests import chaos_hooks, toys
from tests.loop_tools import PATIENCE, Network, Run, assert_empty, grid
from tests.toys import LINEAR


@pytest.fixture(autouse=True, params=["at once", "on their way"])
def copies(request, monkeypatch):
    """Steps are told at once, as on a CPU, or when the next call has begun, as with pictures that come from a GPU.

    Gives how many calls may follow the one that a step comes from before it is told.
    """
    if request.param == "on their way":
        monkeypatch.setattr(host_copy, "begin", lambda tensors: lambda: [tensor.clone() for tensor in tensors])
        return (0, 1)
    return (0,)


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


def test_a_failing_network_ends_its_runs_with_a_sentence_and_the_loop_lives():
    loop = BatchLoop()
    network = Network(held=True, fails=lambda x, t: RuntimeError("the device is gone\nat line 7") if 500 in t else None)
    failing = [Run(loop, network, [900, 500, 100], seed=seed) for seed in range(2)]
    network.release()
    for run in failing:
        assert run.end().error == "The network could not be evaluated: the device is gone"
    Run(loop, network, [900, 400]).assert_completed()
    assert_empty(loop)


def test_a_network_that_answers_with_the_wrong_number_of_rows_is_a_failure():
    loop = BatchLoop()
    run = Run(loop, Network(fails=lambda x, t: toys.network(x, t)[:1]), grid(3), pictures=2)
    assert run.end().error.startswith("The network could not be evaluated: ")
    Run(loop, Network(), grid(3)).assert_completed()


def test_a_failing_process_ends_alone():
    """Rows that add noise but have none: a fault of the run, not of the network."""
    loop, network = BatchLoop(), Network(held=True)
    good, bad = Run(loop, network, grid(5)), Run(loop, network, grid(5), eta=0.5)
    network.release()
    good.assert_completed()
    assert bad.end().error.startswith("The run failed: row 0 adds noise")


def test_a_reader_that_raises_ends_alone():
    """A page may be gone when its step comes, and still be gone when it is to be told of the end."""
    loop, network = BatchLoop(), Network(held=True)
    told = []

    def raising(item):
        told.append(item)
        raise RuntimeError("Event loop is closed")

    loop.join(sample(toys.pictures(1).float(), [Row(LINEAR.levels(5))]), [tickets.Evaluator(network, group="model")], raising)
    stayer = Run(loop, network, grid(5))
    network.release()
    stayer.assert_completed()
    Run(loop, network, grid(3)).assert_completed()
    assert_empty(loop)
    assert [end.error for end in told[1:]] == ["The run failed: Event loop is closed"]


FAULTS = [(float("nan"), "not a number"), (float("inf"), "infinite"), (float("-inf"), "infinite"), (1e38, "as large as 1e+38")]


@pytest.mark.parametrize(("value", "kind"), [*FAULTS, (-10_001.0, "as large as 1e+04")])
@pytest.mark.parametrize("clip", ["off", "clip", "dynamic"])
def test_an_output_that_is_no_prediction_ends_its_own_run_and_names_the_step(value, kind, clip):
    """Before it is clipped, which would make a black picture of an infinity; its neighbours keep their bits."""

    def fails(x, t):
        return torch.where((t == 333).view(-1, 1, 1, 1) & (x[:, :1, :1, :1] == x), value, toys.network(x, t))

    loop, network = BatchLoop(), Network(held=True, fails=fails)
    bad = Run(loop, network, [900, 600, 333, 100], pictures=2, clip=clip)
    good = Run(loop, network, [900, 600, 300, 100], pictures=2, seed=1, clip=clip)
    network.release()
    good.assert_completed()
    assert torch.equal(good.steps[-1].x_next, toys.final(good.x, good.rows))
    assert bad.end().error == (
        f"The model's output was {kind} at step 3, so the run was ended: its weights may be damaged, or of another network"
    )
    assert len(bad.steps) == 2
    assert_empty(loop)


def test_an_output_of_ten_thousand_goes_on():
    assert Run(BatchLoop(), Network(fails=lambda x, t: x.clamp(0, 0) + 1e4), [900, 600]).end().error is None


def test_a_run_that_is_not_finite_any_more_is_ended_too():
    run = Run(BatchLoop(), Network(), [900, 600], eta=1.0, draw=lambda cur, nxt: torch.full((1, 2, 2), float("inf")))
    assert run.end().error == "The run became non-finite at step 1, so it was ended"


def test_the_parts_of_a_step_are_all_judged_and_none_for_the_step_before():
    """Eight rows in calls of three: the last call of the second step is the bad one."""
    loop = BatchLoop(max_rows=3)
    network = Network(fails=lambda x, t: toys.network(x, t) * (float("nan") if len(t) == 2 and 400 in t else 1))
    run = Run(loop, network, [900, 400, 100], pictures=8)
    assert "not a number at step 2" in run.end().error
    assert len(run.steps) == 1


@pytest.mark.parametrize(("value", "kind"), FAULTS)
def test_a_process_that_works_on_the_output_itself_is_ended_before_it_can(value, kind):
    seen = []

    def process():
        for k in range(4):
            seen.append((yield Query(torch.ones(2, 1, 1, 1), [k, k])))
            if k % 2:
                yield Step(k // 2, (0, 1), *[seen[-1]] * 3)

    loop, items, done = BatchLoop(), [], threading.Event()
    predict = lambda x, t: torch.where((t == 2).view(-1, 1, 1, 1), value, x)  # noqa: E731
    loop.join(process(), [tickets.Evaluator(predict)], lambda item: (items.append(item), isinstance(item, End) and done.set()))
    assert done.wait(PATIENCE)
    assert f"was {kind} at step 2" in items[-1].error
    assert (len(seen), len(items)) == (2, 2)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 8 GB")])
def test_out_of_memory_halves_the_room_and_the_run_completes_with_the_same_pictures(error):
    loop = BatchLoop(max_rows=64)
    network = Network(fails=lambda x, t: error if len(t) > 3 else None)
    run = Run(loop, network, grid(4), pictures=8, eta=1.0, draw=toys.keyed_draw(2))
    run.assert_completed()
    assert [len(call) for call in network.calls][:3] == [8, 4, 2]
    assert loop.evaluations == 4 * 8
    Run(loop, network, grid(4), pictures=8).assert_completed()
    assert max(len(call) for call in network.calls[2:]) == 2
    other = Network()
    Run(loop, other, grid(4), pictures=8, group="another model").assert_completed()
    assert [len(call) for call in other.calls] == [8] * 4


def test_out_of_memory_for_a_single_row_is_a_failure():
    loop = BatchLoop()
    run = Run(loop, Network(fails=lambda x, t: torch.OutOfMemoryError("out of memory")), grid(2), pictures=3)
    assert run.end().error == "The network could not be evaluated: out of memory"


def test_other_errors_are_not_taken_for_lack_of_memory():
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))


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


# ---- errands ---------------------------------------------------------------------------------------------------------


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
