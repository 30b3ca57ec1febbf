"""Arms of Compare beside DDIM and DDPM: what they are, how many there may be, and that a recipe brings them back."""

from pathlib import Path

import pytest

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.compare.tab import CompareTab, with_more
from ddim_app.ui.controls import MORE_ARMS

TWO = Recipe(arms=(Arm(steps=7, eta=0.5), Arm(method="ddpm", steps=7)), model="tiny", seed=3, pictures=2)


def test_each_has_the_steps_of_the_first_and_what_its_name_says() -> None:
    assert with_more(TWO, ["ddim-1", "ddim-0"]).arms[2:] == (Arm(steps=7), Arm(steps=7, eta=1.0))
    assert with_more(TWO, ["ddpm-large"]).arms[2:] == (Arm(method="ddpm", steps=7, variance="large"),)
    assert with_more(TWO, ["2m"]).arms[2:] == (Arm(method="2m", steps=7),)
    assert with_more(TWO, []) == TWO


@pytest.mark.parametrize(("names", "words"), [(list(MORE_ARMS), "at most 4 in all; got 7"), (["x"], "must be among"), (7, "got 7")])
def test_too_many_or_unknown_ones_get_a_sentence(names: object, words: str) -> None:
    with pytest.raises(FieldError, match=words):
        with_more(TWO, names)


def test_a_recipe_with_more_arms_goes_back_into_the_fields(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tabs: list[CompareTab] = []
    begin = CompareTab.__init__
    monkeypatch.setattr(CompareTab, "__init__", lambda self, *given: tabs.append(self) or begin(self, *given))
    build_ui(Engine([tiny_root]))
    recipe = with_more(TWO, ["ddpm-large", "2m"])
    values = tabs[0].values_of(recipe)
    assert values is not None
    assert len(values) == len(tabs[0].inputs)
    assert values[-1] == ["ddpm-large", "2m"]
    assert tabs[0].recipe_of(tuple(values))[0].arms == recipe.arms
    assert tabs[0].values_of(recipe.with_arms(*reversed(recipe.arms))) is None
