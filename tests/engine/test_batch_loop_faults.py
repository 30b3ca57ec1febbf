"""What goes wrong in the batch loop ends its own run with a sentence: networks, readers, outputs that are none, and memory."""

import threading

import pytest
import torch

from ddim_app.diffusion.sampler import Query, Row, Step, sample
from ddim_app.engine import tickets
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import End
from ddim_app.models.memory import is_out_of_memory
from tests import toys
from tests.loop_tools import PATIENCE, Network, Run, assert_empty, grid
from tests.toys import LINEAR

pytestmark = pytest.mark.usefixtures("copies")


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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("can't allocate memory: 8 GB"),
        RuntimeError("could not create a primitive"),
        MemoryError(),
    ],
)
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
    assert (
        run.end().error
        == "The network could not be evaluated: out of memory: take fewer pictures or a smaller batch, or try again later"
    )


def test_other_errors_are_not_taken_for_lack_of_memory():
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
