"""Guided rows in the batch loop: the two evaluations of a row stay in one call, however little room it has."""

import pytest
import torch

from ddim_app.diffusion.sampler import Row, Step, sample
from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.tickets import Evaluator
from tests import toys
from tests.toys import LINEAR

NULL = 9


def run(max_rows, rows, fails=0):
    """(classes of each call, the last steps by row, the end's sentence) of rows in a loop with room for `max_rows`."""
    calls, emitted = [], []

    def network(x, t, y):
        calls.append(y.tolist())
        if len(y) > max_rows and fails:
            raise RuntimeError("out of memory")
        return toys.network(x, t) + 0.1 * y.to(x.dtype).view(-1, 1, 1, 1)

    loop = BatchLoop(max_rows=fails or max_rows, threaded=False)
    x = toys.pictures(len(rows)).float()
    ticket = loop.join(sample(x, rows), [Evaluator(network)], emitted.append)
    while loop.runs:
        loop.round()
    finals = {row: x for step in emitted if isinstance(step, Step) for row, x in zip(step.rows, step.x_next, strict=True)}
    return calls, finals, emitted[-1].error, ticket.evaluations


ROWS = [
    Row(LINEAR.levels(2), classes=(i, NULL) if i % 2 else (i,), guidance=1 + i, clip="clip")
    for i in range(5)
]  # fmt: skip


@pytest.mark.parametrize("room", [1, 2, 3, 4, 16])
def test_two_evaluations_of_a_row_stay_in_one_call(room):
    calls, finals, error, evaluations = run(room, ROWS)
    assert error is None
    assert evaluations == 2 * (5 + 2) == sum(map(len, calls))
    assert max(map(len, calls)) <= max(room, 2)
    for classes in calls:
        assert classes[0] != NULL
        assert all(classes[i + 1 : i + 2] == [NULL] for i, y in enumerate(classes) if y in (1, 3))
    expected = run(16, ROWS)[1]
    assert all(torch.equal(finals[i], expected[i]) for i in range(5))


def test_a_call_that_runs_out_of_memory_is_halved_down_to_the_pair():
    calls, finals, error, _ = run(2, ROWS, fails=16)
    assert error is None
    assert len(finals) == 5
    assert max(map(len, calls[3:])) <= 2


def test_a_pair_that_does_not_fit_ends_its_run():
    assert "out of memory" in run(1, ROWS, fails=16)[2]
