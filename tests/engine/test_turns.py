"""Whose rows a call has: the background rides in free places, waits its time, and holds nobody up. The clock is the test's own."""

import pytest

from ddim_app.engine.batch_loop import BatchLoop
from ddim_app.engine.turns import PATIENCE, SMALL, Turns
from tests.loop_tools import Network, Run, grid


class Host:
    """A loop whose calls are made one by one, each taking `seconds` of a clock that nothing else moves."""

    def __init__(self, seconds=0.0, max_rows=16):
        self.now, self.seconds = 100.0, seconds
        self.network = Network()
        self.loop = BatchLoop(max_rows, threaded=False, turns=Turns(lambda: self.now))

    def run(self, steps, pictures, **given):
        return Run(self.loop, self.network, grid(steps), pictures, **given)

    def ladder(self, steps=300, pictures=12, **given):
        """A run in the background."""
        return self.run(steps, pictures, background=True, seed=50, **given)

    def calls(self, count):
        """Rows of the next calls."""
        before = len(self.network.calls)
        for _ in range(count):
            self.loop.round()
            self.now += self.seconds
        return [len(call) for call in self.network.calls[before:]]

    def calls_until_the_end(self, *runs):
        before = self.loop.calls
        while not all(run.ended.is_set() for run in runs):
            self.calls(1)
        return self.loop.calls - before


@pytest.mark.parametrize(("pictures", "together"), [(1, 1), (2, 2), (3, 4), (5, 8), (6, 8), (9, 12), (13, 16)])
def test_the_background_rides_in_what_others_leave_free_of_their_bucket(pictures, together):
    host = Host()
    ladder, run = host.ladder(steps=40), host.run(4, pictures)
    assert host.calls(4) == [together] * 4
    run.assert_completed()
    host.calls_until_the_end(ladder)
    ladder.assert_completed()


def test_others_do_not_ride_in_what_the_background_leaves_free():
    """Two runs that are waited for share a call as ever: the second would not fit into the first's bucket."""
    host = Host()
    host.run(4, 3), host.run(4, 6, seed=9), host.ladder()
    assert host.calls(2) == [12, 12]


@pytest.mark.parametrize("seconds", [0, 0.1, 0.199])
@pytest.mark.parametrize("ladders", [1, 5])
def test_a_ladder_delays_the_first_picture_of_another_visitor_by_at_most_one_call(seconds, ladders):
    """Ten steps of two samplers; the ladders have waited for as long as they may when it comes, and somebody goes on with Live."""
    host = Host(seconds)
    for number in range(ladders):
        host.ladder(group=f"model {number}")
    dragged = host.run(400, 8, group="of another precision")
    host.calls(30)
    host.loop.leave(dragged.ticket)
    host.now += PATIENCE
    first = host.run(10, 2)
    assert host.calls_until_the_end(first) <= 10 + 1
    first.assert_completed()


def test_a_ladder_under_way_delays_the_first_picture_by_the_call_that_is_being_made():
    host = Host()
    network, loop = Network(held=True), BatchLoop(16, turns=Turns(lambda: host.now))
    ladder = Run(loop, network, grid(300), 12, background=True)
    network.wait_for_call()
    first = Run(loop, network, grid(10), 2, seed=1)
    at_end = []
    first.on_step = lambda step: at_end.append(loop.calls)
    network.release()
    first.assert_completed()
    loop.leave(ladder.ticket)
    loop.close()
    assert at_end[-1] == 10 + 1


def test_alone_it_is_small_until_nobody_has_waited_for_a_run_for_a_while():
    host = Host(seconds=0.5)
    host.ladder()
    assert host.calls(2) == [12, 12]
    host.run(1, 1)
    assert host.calls(1 + 6) == [1, SMALL, SMALL, SMALL, 12, 12, 12]


def test_having_waited_it_gets_one_call_however_many_wait():
    host = Host(seconds=0.5)
    host.run(400, 16)
    for number in range(3):
        host.ladder(group=f"model {number}")
    assert host.calls(14) == [16] * 4 + [SMALL] + [16] * 3 + [SMALL] + [16] * 3 + [SMALL] + [16]
    assert all(len(call) == SMALL or len(call) == 16 for call in host.network.calls)


def test_what_cannot_ride_is_not_forgotten_for_what_can():
    host = Host(seconds=0.5)
    host.run(400, 3), host.ladder(), host.ladder(pictures=2, group="another model")
    assert host.calls(6) == [4, 4, 4, 4, 2, 4]


def test_rows_that_stay_together_do_not_ride_in_one_place():
    """As with guidance, where a picture takes two rows; see `portion_of`."""
    host = Host()
    host.run(4, 3)
    two = host.ladder(pictures=2)
    host.calls(1)
    two.ticket.query = two.ticket.query._replace(moves=[two.ticket.query.moves[0], None])
    two.ticket.asked = 2
    assert host.calls(1) == [3]


def test_out_of_memory_holds_for_the_background_too():
    host = Host()
    host.network.fails = lambda x, t: RuntimeError("out of memory") if len(t) > 3 else None
    ladder = host.ladder(steps=2)
    host.calls_until_the_end(ladder)
    ladder.assert_completed()
    assert max(len(call) for call in host.network.calls[2:]) <= 3
