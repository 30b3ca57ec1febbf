"""Shares of a host's evaluations by time, on a clock of the test's own."""

import pytest

from ddim_app.engine.limits import Budget, Visitor, Visitors
from ddim_app.engine.rate_shares import RateShares
from ddim_app.errors import FieldError


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_ten_minutes_may_be_had_at_once_and_come_back_when_they_are_over(clock: Clock) -> None:
    shares = RateShares(100, clock)
    for seconds, evaluations in ((0, 600), (60, 400)):
        clock.now = seconds
        assert shares.wait("ann", evaluations) == 0
        shares.take("ann", evaluations)
    assert shares.wait("ann", 1) == 540
    assert shares.wait("ann", 600) == 540
    assert shares.wait("ann", 601) == 600
    assert shares.wait("bob", 1000) == 0
    clock.now = 599.9
    assert shares.wait("ann", 1) == pytest.approx(0.1)
    clock.now = 600
    assert shares.wait("ann", 600) == 0
    assert shares.wait("ann", 601) == 60


@pytest.mark.parametrize("evaluations", [1000, 1001, 20_000, 10**9])
def test_a_run_of_any_size_fits_into_an_unused_share(clock: Clock, evaluations: int) -> None:
    """What a run may take is for `max_evaluations` to say; afterwards even the smallest waits."""
    shares = RateShares(100, clock)
    assert shares.wait("ann", evaluations) == 0
    shares.take("ann", evaluations)
    assert shares.wait("ann", 1) == 600
    clock.now = 600
    assert shares.wait("ann", evaluations) == 0


def test_what_was_not_made_is_given_back_once(clock: Clock) -> None:
    shares = RateShares(100, clock)
    piece = shares.take("ann", 900)
    shares.take("ann", 100)
    shares.give_back(piece, 700)
    assert (shares.wait("ann", 700), shares.wait("ann", 701)) == (0, 600)
    clock.now = 700
    shares.take("ann", 1000)
    shares.give_back(piece, 200)  # it has been forgotten
    assert shares.wait("ann", 1) == 600


def test_where_there_is_no_limit_nothing_is_kept(clock: Clock) -> None:
    shares = RateShares(None, clock)
    shares.take("ann", 10**9)
    assert shares.wait("ann", 10**9) == 0
    assert not shares._pieces


def test_visitors_of_one_address_share_it_and_nobody_else_does(clock: Clock) -> None:
    visitors = Visitors(Budget(max_evaluations_per_minute=30, max_address_evaluations_per_minute=50), clock)
    ann, bob, eve, far = (Visitor(name, address) for name, address in (("ann", "a"), ("bob", "a"), ("eve", "a"), ("far", "b")))
    stay = visitors.enter(ann, 300)
    with pytest.raises(
        FieldError, match=r"this visitor has its share of 30 evaluations .* this run of 1 .*: try again in 10 minutes"
    ):
        visitors.enter(ann, 1)
    visitors.enter(bob, 200)
    clock.now = 550
    with pytest.raises(FieldError, match=r"this address has its share of 50 evaluations .* 10 minutes, .*: try again in 50 s"):
        visitors.enter(eve, 1)
    visitors.enter(far, 300)
    assert [visitors.runs(visitor) for visitor in (ann, bob, eve, far)] == [1, 1, 0, 1]
    visitors.leave(stay, 200)
    visitors.enter(eve, 100)


def test_a_refused_run_takes_nothing_of_either_share(clock: Clock) -> None:
    visitors = Visitors(Budget(max_evaluations_per_minute=30, max_address_evaluations_per_minute=20), clock)
    visitors.enter(Visitor("ann", "a"), 200)
    for _ in range(3):
        with pytest.raises(FieldError, match="this address"):
            visitors.enter(Visitor("bob", "a"), 150)
    visitors.enter(Visitor("bob", "b"), 200)
    visitors.check(Visitor("bob", "b"), 0)
