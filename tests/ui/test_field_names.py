"""What is wrong with a value is said by the name that the reader knows: the page's on the page, the API's in the API."""

import asyncio
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.errors import FieldError, RunError
from ddim_app.ui import build_ui
from ddim_app.ui.interpolate.against import Against
from ddim_app.ui.invert.curve import Curve
from ddim_app.ui.learn import LearnTab
from ddim_app.ui.run_tab import RunTab
from tests import toys

WRONG = [-1, 1e12, 2.5, "no such thing", None, [3], "5, x", "a:b", True]
REQUEST = gr.Request(session_hash="page", headers={}, client=SimpleNamespace(host="here"))
API_NAME = re.compile(r"\b[a-z]+_[a-z_]+\b|^[a-z]+ (must|cannot|needs|names)\b")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    root = toys.save_tiny(tmp_path_factory.mktemp("models") / "tiny").parent
    toys.save_tiny(root / "tiny-small", sample_size=4)
    return build_ui(Engine([root], allow_hub=False))


def tabs(demo: gr.Blocks) -> dict[str, RunTab]:
    owners = [getattr(fn.fn, "__self__", None) for fn in demo.fns.values() if fn.validator]
    return {owner.name: owner for owner in owners if isinstance(owner, RunTab)}


def changed(tab: RunTab, name: str, value: Any) -> list[Any]:
    """The values of a tab's inputs as the page begins with them, of Learn in a chapter that runs; one of them replaced."""
    begun = {tab.open: tab.runnable[0].name, tab.image: Image.new("RGB", (8, 8))} if isinstance(tab, LearnTab) else {}
    return [value if field is tab.named_inputs[name] else begun.get(field, field.value) for field in tab.inputs]


def said_by(handler: Any, *values: Any) -> str:
    """What an event says when it is called with values that were not checked before; "" where it runs."""

    async def first() -> Any:
        async for shown in handler(REQUEST, *values):
            return shown

    try:
        shown = asyncio.run(first())
    except gr.Error as error:
        return str(error.message)
    return shown[0] if isinstance(shown, list) and isinstance(shown[0], str) else ""


def everything_said(demo: gr.Blocks, tab: RunTab, values: list[Any]) -> Iterator[str]:
    """What the page says of wrong values: under the fields, where Run is pressed, and by a run that is started all the same."""
    cost = tab.cost_line(*values)
    yield from cost["wrong"].values() if isinstance(cost, dict) else ()
    event = next(fn for fn in demo.fns.values() if fn.validator and getattr(fn.fn, "__self__", None) is tab)
    yield from (verdict["message"] for verdict in event.validator(REQUEST, *values) if not verdict["is_valid"])
    yield said_by(event.fn, *values)
    if isinstance(tab, LearnTab):
        yield from (tab.fill(gr.EventData(None, {"panel": panel.name}), *values)[0] for panel in tab.panels)
    for fn in demo.fns.values():
        owner = getattr(fn.fn, "__self__", None)
        if isinstance(owner, Against | Curve) and tab.name == {Against: "interpolate", Curve: "invert"}[type(owner)]:
            yield said_by(fn.fn, *values)


@pytest.mark.parametrize("tab", ["compare", "matrix", "interpolate", "invert", "learn"])
def test_the_page_calls_every_field_what_stands_beside_it(demo: gr.Blocks, tab: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = tabs(demo)[tab]
    monkeypatch.setattr(one.runs.engine, "run", not_run)
    monkeypatch.setattr(one.runs, "stream", lambda *_, **__: nothing())
    named = {name: field.label for name, field in one.named_inputs.items() if field.elem_id and field.label}
    sentences = {}
    for name in named:
        sentences[name] = {words for value in WRONG for words in everything_said(demo, one, changed(one, name, value)) if words}
    judged = {name for name, said in sentences.items() if any(words.startswith(named[name]) for words in said)}
    assert {"model", "steps", "seed", "noise_seed"} <= judged
    # Values that a choice could have are the recipe's, whatever stands on the button of each.
    assert not [words for said in sentences.values() for words in said if API_NAME.search(words.split(" one of ")[0])]


async def nothing() -> Any:
    return
    yield


def not_run(*_: Any) -> Any:
    raise RunError("Not run here")


def test_the_api_calls_every_field_what_its_parameter_is_called(demo: gr.Blocks) -> None:
    for fn in demo.fns.values():
        if fn.api_visibility != "public":
            continue
        parameters = [name for name in fn.fn.__signature__.parameters if name != "request"]
        begun = [block.value for block in fn.inputs]
        for i, name in enumerate(parameters):
            for value in WRONG:
                verdicts = fn.validator(REQUEST, *begun[:i], value, *begun[i + 1 :])
                for verdict, at in zip(verdicts, parameters, strict=True):
                    assert verdict["is_valid"] or verdict["message"].split()[0] in (name, at, "this"), (fn.api_name, name, value)


def test_a_wrong_second_model_is_not_said_of_the_first(demo: gr.Blocks) -> None:
    for tab, label in (("compare", "Second model"), ("invert", "Model on the way down")):
        one = tabs(demo)[tab]
        for other in ("tiny-small", "no-such"):
            values = changed(one, "second_model", other)
            assert one.cost_line(*values)["wrong"]["second_model"].startswith(f"{label} must")
            event = next(fn for fn in demo.fns.values() if fn.validator and getattr(fn.fn, "__self__", None) is one)
            assert said_by(event.fn, *values).startswith(f"{label} must")
    with pytest.raises(FieldError, match=r"^second_model must"):
        one.runs.planned(one.recipe_of(tuple(values))[0])
