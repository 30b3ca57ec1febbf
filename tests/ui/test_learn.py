"""The Learn tab's panels without a browser: what they show for the settings, and the endpoint behind panel 7."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import ValidationError
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs.likelihood import TermCollector
from ddim_app.ui.learn import figures, picture, tour
from ddim_app.ui.learn import panel as panels
from ddim_app.ui.learn.bound_panels import BoundPanel, LossPanel, RatePanel
from ddim_app.ui.learn.chain_panels import DenoisePanel, ProgressPanel
from ddim_app.ui.learn.family_panel import FamilyPanel
from ddim_app.ui.learn.forward_panel import ForwardPanel
from ddim_app.ui.learn.panel import LessonScene, Panel, RunPanel
from ddim_app.ui.learn.schedule_panel import SchedulePanel
from ddim_app.ui.learn.score_panel import ScorePanel
from ddim_app.ui.learn.step_panel import StepPanel
from ddim_app.ui.learn.variance_panel import VariancePanel
from tests import toys
from tests.wire import patient_client, served

NAMED = {
    "model": "tiny", "steps": 10, "eta": 0.5, "seed": 7, "pictures": 1, "ddpm_steps": 0, "spacing": "trailing", "variance": "small",
    "clip": "clip", "precision": "fp32", "noise_seed": "", "branch": 0, "second_model": "",
}  # fmt: skip
VALUES: dict[type[Panel], tuple[Any, ...]] = {
    ForwardPanel: (250,), FamilyPanel: (500,), SchedulePanel: ("beta",), StepPanel: (499,), DenoisePanel: (400,),
    ProgressPanel: (), BoundPanel: ("quick",), VariancePanel: (0.3, 10), ScorePanel: (300,),
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("learn")
    toys.save_tiny(root / "tiny")
    toys.save_tiny(root / "learned", scheduler={"variance_type": "learned_range"})
    return Engine([root], allow_hub=False)


@pytest.fixture(scope="module")
def made() -> dict[type[Panel], Panel]:
    with gr.Blocks():
        found: dict[type[Panel], Panel] = {kind: kind() for kind in VALUES}
        bound = found[BoundPanel]
        assert isinstance(bound, BoundPanel)
        found |= {RatePanel: RatePanel(bound), LossPanel: LossPanel(bound)}
    return found


def at(engine: Engine, **named: Any) -> LessonScene:
    return panels.scene(engine, NAMED | named, picture.samples()[0])


@pytest.mark.parametrize("kind", [*VALUES, RatePanel, LossPanel])
def test_every_panel_fills_all_it_shows_and_every_number_of_its_formula(
    kind: type[Panel], engine: Engine, made: dict[type[Panel], Panel]
) -> None:
    panel = made[kind]
    shown = panel.show(at(engine), *VALUES.get(kind, ("quick",)))
    assert len(shown) == len(panel.outputs)
    for component, value in zip(panel.outputs, shown, strict=True):
        if isinstance(component, gr.Markdown):
            assert "$" in value
            assert not re.search("<[a-z_0-9]+>", value)
        else:
            assert len(value) if hasattr(value, "columns") else value["rows"]


@pytest.mark.parametrize("kind", [DenoisePanel, ProgressPanel, BoundPanel, ScorePanel])
def test_runs_fill_their_outputs(kind: type[Panel], engine: Engine, made: dict[type[Panel], Panel]) -> None:
    panel, scene = made[kind], at(engine)
    assert isinstance(panel, RunPanel)
    recipe = panel.recipe_of(scene, *VALUES[kind])
    board = panel.board(engine.plan(recipe), scene)
    for frame in engine.run(recipe):
        panel.update(board, [frame])
    filling = [each for each in made.values() if isinstance(each, BoundPanel | RatePanel | LossPanel)]
    for each in filling if isinstance(board, TermCollector) else [panel]:
        assert isinstance(each, RunPanel)
        filled = each.last(board, scene)
        assert len(filled) == len(each.run_outputs)
        assert all(len(value["value"]) if value.get("visible") else value["rows"] for value in filled)


def test_the_identity_that_ends_the_derivation_holds_to_rounding(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    text = made[StepPanel].show(at(engine, clip="off"), 499)[0]
    found = re.search(r"over all pixels is \$(.*?)\$.*?from both by \$(.*?)\$", text, re.S)
    assert found
    assert all(value == "0" or r"\times10^{-1" in value for value in found.groups())  # below 1e-9


def test_only_at_eta_1_the_transition_leaves_the_picture_out(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    lines = made[FamilyPanel].show(at(engine), 500)[3]["rows"]
    of_x0 = {line[0]: line[2] for line in lines}
    assert of_x0["η = 1"] == of_x0["DDPM's chain"] == "0"
    assert float(of_x0["η = 0"]) != 0
    assert lines[-1][1:] == lines[-2][1:]


def test_wrong_values_are_said(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    for value in (1000, -1, 2.5, "x", None):
        with pytest.raises(FieldError, match="t must be a whole number from 0 to 999"):
            made[ForwardPanel].show(at(engine), value)
    with pytest.raises(FieldError, match="s must be a number from 0 to 1"):
        made[VariancePanel].show(at(engine), 2, 10)
    with pytest.raises(FieldError, match="steps"):
        at(engine, steps=1001)


def test_a_learned_variance_is_said_and_turns_off_what_needs_the_network(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    scene = at(engine, model="learned")
    assert "a learned variance is not supported" in scene.reason
    for kind in (StepPanel, DenoisePanel, ScorePanel):
        with pytest.raises(FieldError, match=r"learned variance.*so it is off"):
            made[kind].show(scene, *VALUES[kind])
    with pytest.raises(FieldError, match="so it is off"):
        made[BoundPanel].recipe_of(scene, "quick")  # type: ignore[attr-defined]
    for kind in (ForwardPanel, FamilyPanel, SchedulePanel, VariancePanel):
        assert not made[kind].needs_model
        assert made[kind].show(scene, *VALUES[kind])


def test_the_tour_has_six_stops_at_panels_that_there_are(made: dict[type[Panel], Panel]) -> None:
    stops = tour.stops()
    names = {panel.name for panel in made.values()}
    assert len(stops) == 6
    assert all(stop.panel in names and stop.question.endswith("?") and stop.answer for stop in stops)
    assert not any(re.search("<[a-z_0-9]+>", stop.answer) for stop in stops)
    assert "t=258" in stops[0].answer


def test_numbers_are_written_in_latex() -> None:
    assert figures.number(0.000012345) == r"1.234\times10^{-5}"
    assert figures.filled("$<a>$, <word>", a=2.0, word="so") == "$2$, so"


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[Client]:
    with served(engine) as url:
        yield patient_client(url)


def file_of(tmp_path: Path, data: bytes | None = None) -> Any:
    path = tmp_path / "picture.png"
    if data is None:
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)).save(buffer, "PNG")
        data = buffer.getvalue()
    path.write_bytes(data)
    return handle_file(path)


def test_the_endpoint_measures_an_upload(client: Client, tmp_path: Path) -> None:
    arguments = {"model": "tiny", "evaluations": 60, "seed": 2, "api_name": "/likelihood"}
    result = client.predict(picture=file_of(tmp_path), **arguments)
    small = result["small"]
    assert small["bits_per_dim"] == pytest.approx(small["rate"] + small["distortion"])
    assert result["recipe"]["kind"] == "likelihood"
    assert result["recipe"]["precision"] == "fp32"
    assert len(small["terms"]) < result["evaluations"] <= 60
    assert json.dumps(result) == json.dumps(client.predict(picture=file_of(tmp_path), **arguments))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"mode": "slow"}, "mode must be one of quick, full; got 'slow'"),
        ({"evaluations": 5}, "evaluations must be a whole number from 60 to 1000; got 5"),
        ({"draws": 1}, "draws must be a whole number from 2 to 16; got 1"),
        ({"model": "learned"}, "a learned variance is not supported"),
        ({}, "picture cannot be used: it is not a picture"),
    ],
)
def test_the_endpoint_says_what_is_wrong(values: dict[str, Any], sentence: str, client: Client, tmp_path: Path) -> None:
    data = None if values else b"GIF89a no picture"
    with pytest.raises(ValidationError) as error:
        client.predict(picture=file_of(tmp_path, data), **({"model": "tiny"} | values), api_name="/likelihood")
    assert sentence in str(error.value)
