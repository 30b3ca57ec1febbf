"""Budgets of runs and visitors, in the engine: whoever calls it gets the same sentence."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ddim_app.engine import Engine
from ddim_app.engine.limits import Budget, Visitor, Visitors
from ddim_app.errors import FieldError
from ddim_app.models.catalogue import Catalogue
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui.hosting.visitors import VisitorNames
from tests.wire import wait_for

RECIPE = Recipe(arms=(Arm(steps=5), Arm(steps=3)), model="tiny", pictures=4)
ANN, BOB = Visitor("ann", "home"), Visitor("bob", "home")


@pytest.mark.parametrize(
    ("budget", "sentence"),
    [
        (Budget(max_evaluations=31), "cost must be at most 31 evaluations on this host, and this run needs 32: take fewer steps"),
        (Budget(max_pictures=7), "pictures must be at most 7 in a run on this host, all its samplers counted, and this run has 8"),
    ],
)
def test_a_run_over_its_budget_is_refused_before_it_starts(tiny_root: Path, budget: Budget, sentence: str) -> None:
    engine = Engine([tiny_root], allow_hub=False, budget=budget)
    with pytest.raises(FieldError, match=sentence):
        engine.final(RECIPE)
    assert engine.loop.calls == 0


def test_a_run_within_its_budget_is_made(tiny_root: Path) -> None:
    budget = Budget(max_evaluations=32, max_pictures=8, max_seconds=60, max_runs=1)
    assert len(Engine([tiny_root], allow_hub=False, budget=budget).final(RECIPE)) == 2


def test_a_visitor_keeps_to_a_share_and_gets_it_back(tiny_root: Path) -> None:
    engine, news = Engine([tiny_root], allow_hub=False, budget=Budget(max_runs=2)), list[Any]()
    long = engine.plan(RECIPE.with_arms(Arm(steps=900)))
    tickets = [engine.start(long, news.append, ANN) for _ in range(2)]
    with pytest.raises(FieldError, match="this visitor has 2 runs under way or waiting, and may have 2 on this host"):
        engine.start(long, news.append, ANN)
    tickets.append(engine.start(long, news.append, BOB))
    for ticket in tickets:
        engine.stop(ticket)
        engine.stop(ticket)
    assert len(engine.visitors) == 0
    assert engine.request_log.counters["runs_stopped"] == 3
    engine.start(engine.plan(RECIPE), news.append, ANN)
    wait_for(lambda: engine.request_log.counters["runs_done"] == 1)
    assert len(engine.visitors) == 0


def test_what_is_made_in_the_background_counts_like_anything_else(tiny_root: Path) -> None:
    budget = Budget(max_evaluations=3600, max_runs=1)
    engine, news = Engine([tiny_root], allow_hub=False, budget=budget), list[Any]()
    long = engine.plan(RECIPE.with_arms(Arm(steps=900)))
    ticket = engine.start(long, news.append, ANN, background=True)
    with pytest.raises(FieldError, match="this visitor has 1 run under way"):
        engine.start(long, news.append, ANN, background=True)
    wait_for(lambda: ticket.evaluations >= 8)
    engine.stop(ticket)
    assert engine.request_log.counters["evaluations"] == ticket.evaluations >= 8


def test_what_runs_make_counts_per_minute_live_or_in_the_background_and_a_stopped_one_gives_back(tiny_root: Path) -> None:
    """800 in ten minutes; a run of 3,600 fits into the unused share all the same."""
    engine, news = Engine([tiny_root], allow_hub=False, budget=Budget(max_evaluations_per_minute=80)), list[Any]()
    run = engine.plan(RECIPE.with_arms(Arm(steps=100)))
    for background in (False, True):
        assert engine.run(run, ANN, background=background).result
    with pytest.raises(FieldError, match=r"this visitor has its share of 80 evaluations a minute .* this run of 400 does"):
        engine.start(run, news.append, ANN)
    long = engine.start(engine.plan(RECIPE.with_arms(Arm(steps=900))), news.append, BOB)
    with pytest.raises(FieldError, match="this visitor"):
        engine.start(run, news.append, BOB)
    engine.stop(long)
    made = engine.request_log.counters["evaluations"] - 800
    engine.visitors.check(BOB, max(800 - made, 0))
    with pytest.raises(FieldError, match="this visitor"):
        engine.visitors.check(ANN, 1)
    assert len(engine.visitors) == 0


def test_what_passes_the_queue_by_counts_as_well() -> None:
    visitors = Visitors(Budget(max_runs=1))
    with visitors.counted(ANN):
        with pytest.raises(FieldError, match="this visitor has 1 run under way"):
            visitors.enter(ANN)
        visitors.enter(BOB)
    visitors.enter(ANN)
    visitors.enter(None)


def test_a_server_about_to_end_takes_no_runs_and_ends_the_others(tiny_root: Path) -> None:
    engine, news = Engine([tiny_root], allow_hub=False), list[Any]()
    engine.start(engine.plan(RECIPE.with_arms(Arm(steps=900))), news.append)
    engine.close(0.1)
    assert news[-1].error == "The server is shutting down"
    with pytest.raises(FieldError, match="this server is about to be restarted, and takes no new runs"):
        engine.start(engine.plan(RECIPE), news.append)


def request(address: str, forwarded: str = "") -> Any:
    return SimpleNamespace(headers={"x-forwarded-for": forwarded}, client=SimpleNamespace(host=address))


def test_a_visitor_is_an_open_page_else_an_address() -> None:
    callers = VisitorNames()
    callers.arrive("s1")
    assert callers.of("s1", request("1.1.1.1")) == ("page s1", "address 1.1.1.1")
    assert callers.of("s2", request("1.1.1.1", "6.6.6.6")) == ("address 1.1.1.1", "address 1.1.1.1")
    callers.leave("s1")
    assert callers.of("s1", request("1.1.1.1")).name == "address 1.1.1.1"
    assert VisitorNames(behind_proxy=True).of(None, request("127.0.0.1", "6.6.6.6, 2.2.2.2")).name == "address 2.2.2.2"
    assert VisitorNames(behind_proxy=True).of(None, request("1.1.1.1")).name == "address 1.1.1.1"


def test_the_many_addresses_of_an_ipv6_network_are_one() -> None:
    names = {VisitorNames().of(None, request(f"2001:db8:0:1::{i:x}")).address for i in (1, 0xFFFF)}
    assert names == {"address 2001:db8:0:1::/64"}
    assert VisitorNames().of(None, request("2001:db8:0:2::1")).address not in names
    assert VisitorNames().of(None, request("::ffff:1.2.3.4")).address == "address 1.2.3.4"


def test_only_listed_ids_of_the_hub_may_be_named_where_there_is_a_list(tiny_root: Path) -> None:
    catalogue = Catalogue([tiny_root], allow_hub=("google/ddpm-cifar10-32",), first="google/ddpm-cifar10-32")
    assert catalogue.names() == ["google/ddpm-cifar10-32", "tiny"]
    assert catalogue.is_on_hub("google/ddpm-cifar10-32")
    assert not catalogue.is_on_hub("someone/else")
    with pytest.raises(
        ValueError, match=r"model must be one of the models here \(google/ddpm-cifar10-32, tiny\); got 'someone/else'"
    ):
        catalogue.load("someone/else")
