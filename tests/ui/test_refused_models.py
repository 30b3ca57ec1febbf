"""A model that cannot be used, on the page: its field is marked when a run is asked for, and the foot says why beforehand."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ddim_app.engine import Engine
from ddim_app.models import hub
from ddim_app.ui import build_ui, text
from ddim_app.ui.compare.tab import CompareTab
from ddim_app.ui.controls import validator
from ddim_app.ui.run_tab import RunTab
from tests import toys

REFUSED = {
    "odd": (
        {"sample_size": 12, "block_out_channels": (16,) * 4, "down_block_types": ("DownBlock2D",) * 4,
         "up_block_types": ("UpBlock2D",) * 4},
        {}, "its network halves the sides of its pictures 3 times, so sample_size must be a multiple of 8; got 12",
    ),
    "flow": ({}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "it is a flow-matching model"),
    "turned": ({"in_channels": 6}, {}, "it is an image-to-image model"),
}  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> gr.Blocks:
    root = tmp_path_factory.mktemp("refused")
    toys.save_tiny(root / "good")
    for name, (network, scheduler, _) in REFUSED.items():
        toys.save_tiny(root / name, scheduler=scheduler, **network)
    return build_ui(Engine([Path(root)], allow_hub=False, first_model="good"))


REQUEST = SimpleNamespace(session_hash="page", headers={}, client=SimpleNamespace(host="127.0.0.1"), username=None)


def values_of(fn: Any, **settings: Any) -> list[Any]:
    return [settings.get(component.elem_id, component.value) for component in fn.inputs]


@pytest.mark.parametrize("name", REFUSED)
def test_every_tab_marks_the_model_and_nothing_else(demo: gr.Blocks, name: str) -> None:
    tabs = {fn.fn.__self__: fn for fn in demo.fns.values() if fn.validator and isinstance(getattr(fn.fn, "__self__", None), RunTab)}
    assert len(tabs) == 5
    for tab, fn in ((tab, fn) for tab, fn in tabs.items() if tab.name != "learn"):  # where the open panel says it
        names = [*tab.settings.fields, *tab.more_fields]
        judge = validator(tab.runs, tab.name, tab.prepare, names, tab.says_itself)
        verdicts = judge(REQUEST, *values_of(fn, model=name))  # type: ignore[arg-type]
        wrong = {field: verdict["message"] for field, verdict in zip(names, verdicts, strict=True) if not verdict["is_valid"]}
        assert list(wrong) == ["model"], tab.name
        assert REFUSED[name][2] in wrong["model"]


@pytest.mark.parametrize("name", REFUSED)
def test_the_foot_says_why(demo: gr.Blocks, name: str) -> None:
    cost = next(block for block in demo.blocks.values() if getattr(block, "elem_id", None) == "cost")
    says = [fn for fn in demo.fns.values() if cost in fn.outputs and fn.inputs]
    assert says
    for fn in says:
        said = fn.fn(*values_of(fn, model=name))["wrong"]["model"]
        assert said.startswith(f"Model {name}: ")
        assert REFUSED[name][2] in said


def test_a_model_of_the_hub_is_refused_as_its_run_starts_and_marked_from_then_on(
    tmp_path: Path, tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = toys.save_tiny(tmp_path / "flow", scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler"})
    monkeypatch.setattr(hub, "download", lambda *_: folder)
    engine = Engine([tiny_root])
    page = build_ui(engine)
    fn = next(fn for fn in page.fns.values() if isinstance(getattr(fn.fn, "__self__", None), CompareTab) and fn.validator)
    told = []

    async def press() -> None:
        async for shown in fn.fn(REQUEST, *values_of(fn, model="somebody/flow")):
            told.append(shown[0])

    sentence = "Model somebody/flow: by its scheduler, FlowMatchEulerDiscreteScheduler, it is a flow-matching model"
    assert fn.fn.__self__.cost_line(*values_of(fn, model="somebody/flow")) == text.DOWNLOADED
    with pytest.raises(gr.Error, match="it is a flow-matching model"):
        asyncio.run(press())
    assert told[0]["words"] == "Starting"
    assert told[-1]["words"].startswith(sentence)
    assert told[-1]["wrong"] == {"model": told[-1]["words"]}
    # From then on the line of costs marks it too, whatever other setting changes, until it opens.
    assert fn.fn.__self__.cost_line(*values_of(fn, model="somebody/flow", steps=3)) == {"wrong": told[-1]["wrong"]}
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "DDPMScheduler"}')
    told.clear()
    asyncio.run(press())
    assert told[-1][:4] == "Done"
    assert engine.refusal("somebody/flow") is None
    assert "evaluations" in fn.fn.__self__.cost_line(*values_of(fn, model="somebody/flow"))


def test_all_wrong_fields_are_said_at_once_by_their_names_on_the_page(demo: gr.Blocks) -> None:
    owners = [getattr(fn.fn, "__self__", None) for fn in demo.fns.values()]
    tab = next(owner for owner in owners if isinstance(owner, CompareTab))
    wrong = {"steps": 3.7, "eta": 5, "seed": -1, "ddpm_steps": 2000, "noise_seed": "x", "arms": ["odd"]}
    values = [wrong.get(name, field.value) for name, field in tab.named_inputs.items()]
    said = tab.cost_line(*values)["wrong"]
    assert said.keys() == wrong.keys()
    assert said["steps"] == "Steps must be a whole number from 1 to 1000; got 3.7"
    assert said["ddpm_steps"] == "DDPM's own steps must be a whole number from 0 to 1000; got 2000"
    assert said["eta"].startswith("Stochasticity η must be a number from 0 to 2")
