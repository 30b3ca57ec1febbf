"""What a run promises to ask of its networks, and what its process asks: the two are written apart and must not drift apart."""

from collections import Counter

import pytest
import torch

from ddim_app.runs.kinds import KINDS
from tests.golden import measure
from tests.golden.recipes import RECIPES
from tests.runs.queries import asked

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return measure.engine(tmp_path_factory.mktemp("models"))


def adapts(recipe):
    """Whether the run may ask for less than it promises: a fixed point ends where it has converged."""
    methods = [arm.method for arm in getattr(recipe, "arms", ())]
    return "fixed-point" in methods or (recipe.kind == "path" and bool(recipe.pictures))


def test_every_kind_is_tried():
    missing = set(KINDS) - {recipe.kind for recipe in RECIPES.values()}
    assert not missing, "a new kind needs a recipe in tests/golden/recipes.json, then `python -m tests.golden.make ITS_NAME`"


@pytest.mark.parametrize("name", RECIPES)
def test_a_process_asks_for_what_its_plan_promises(name, engine):
    """Round by round and network by network, where nothing adapts; else no network is asked for more rows than promised."""
    recipe = RECIPES[name]
    planned = engine.plan(recipe)
    promised = [pair for step in planned.steps() for rows in step for pair in sorted(rows.items()) if pair[1]]
    queries, steps = asked(planned.process(CPU))
    if adapts(recipe):
        for network, rows in total(queries).items():
            assert rows <= total(promised)[network]
        assert len(queries) <= len(promised)
    else:
        assert queries == promised
    assert max(steps) <= planned.transitions - 1
    assert planned.evaluations == sum(rows for _, rows in promised) == planned.evaluated(planned.transitions)
    assert planned.calls(3) == sum(-(-rows // 3) for _, rows in promised)


def total(pairs):
    rows = Counter()
    for network, count in pairs:
        rows[network] += count
    return rows
