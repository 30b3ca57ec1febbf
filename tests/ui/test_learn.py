"""The Learn tab's chapters without a browser: what they show for the settings, what is stored, and the endpoint of the bound."""

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
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
from ddim_app.ui.compare.tab import EXAMPLES
from ddim_app.ui.learn import figures, picture, stored_chapters, world_card
from ddim_app.ui.learn import panel as panels
from ddim_app.ui.learn.bound_panels import BoundPanel, LossPanel, RatePanel
from ddim_app.ui.learn.chain_panels import DenoisePanel, ProgressPanel
from ddim_app.ui.learn.chapters import FIRST, WORLD, chapters
from ddim_app.ui.learn.family_panel import FamilyPanel
from ddim_app.ui.learn.forward_panel import ForwardPanel
from ddim_app.ui.learn.inversion_panel import InversionPanel
from ddim_app.ui.learn.panel import LessonScene, Panel, RunPanel, named_picture
from ddim_app.ui.learn.schedule_panel import SchedulePanel
from ddim_app.ui.learn.score_panel import ScorePanel
from ddim_app.ui.learn.step_panel import StepPanel
from ddim_app.ui.learn.tab import PANELS
from ddim_app.ui.learn.variance_panel import VariancePanel
from tests import toys
from tests.wire import patient_client, served

NAMED = {
    "model": "tiny", "steps": 10, "eta": 0.5, "seed": 7, "pictures": 1, "ddpm_steps": 0, "spacing": "trailing", "variance": "small",
    "clip": "clip", "precision": "fp32", "noise_seed": "", "branch": 0, "second_model": "",
}  # fmt: skip
VALUES: dict[type[Panel], tuple[Any, ...]] = {
    ForwardPanel: (250,), FamilyPanel: (500,), SchedulePanel: ("beta",), StepPanel: (499,), DenoisePanel: (400,),
    ProgressPanel: (), BoundPanel: ("quick",), VariancePanel: (0.3, 10), ScorePanel: (300,), InversionPanel: (4,),
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
            assert value.get("rows") or all(line["points"] for line in value["series"])


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
        assert all(value.get("rows") or all(line["points"] for line in value["series"]) for value in filled)


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


def test_a_refused_model_is_said_and_turns_off_what_needs_the_network(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    scene = at(engine, model="learned")
    assert "needs twice as many out_channels" in scene.reason
    for kind in (StepPanel, DenoisePanel, ScorePanel):
        with pytest.raises(FieldError, match=r"needs twice as many out_channels.*so it is off"):
            made[kind].show(scene, *VALUES[kind])
    with pytest.raises(FieldError, match="so it is off"):
        made[BoundPanel].recipe_of(scene, "quick")  # type: ignore[attr-defined]
    for kind in (ForwardPanel, FamilyPanel, SchedulePanel, VariancePanel):
        assert not made[kind].needs_model
        assert made[kind].show(scene, *VALUES[kind])


def test_a_models_own_variance_lies_between_the_two_once_it_is_estimated(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    scene = at(engine)
    without = made[VariancePanel].show(scene, 0.3, 10)
    assert {line["name"] for line in without[1]["series"]} == {"true", "small, β̃", "large, β"}
    assert "Analytic" not in without[0]
    assert scene.model is not None
    ab = scene.schedule.alphas_cumprod
    residuals = tuple((0.25 * (1 - ab) / (0.25 * ab + 1 - ab)).tolist())  # of normal data with a deviation of 0.5
    text, data = made[VariancePanel].show(replace(scene, model=replace(scene.model, residuals=residuals)), 0.3, 10)
    assert not re.search("<[a-z_0-9]+>", text)
    assert f"V_t={figures.number(residuals[10])}$" in text
    by_line = {line["name"]: [y for _, y in line["points"]] for line in data["series"]}
    bounds = zip(by_line["small, β̃"], by_line["analytic, this model"], by_line["large, β"], strict=True)
    assert all(small < own < large for small, own, large in bounds)


def test_every_panel_has_its_chapter_and_every_question_its_answer() -> None:
    every = chapters()
    assert {chapter.name for chapter in every} == {WORLD, *(kind.name for kind in PANELS)}
    assert len({chapter.slug for chapter in every}) == len(every)
    for chapter in every:
        assert chapter.lead
        assert chapter.link in {"", "invert", *EXAMPLES}
        if chapter.name != WORLD:  # which asks with its own numbers
            assert bool(chapter.question) == bool(chapter.options) == bool(chapter.answer) == bool(chapter.right)
            assert not chapter.right or chapter.right in chapter.options
        assert not re.search("<[a-z_0-9]+>", chapter.answer)
    assert all(chapter.options and chapter.link for chapter in every[:FIRST])
    assert "t = 258" in every[0].answer


def test_going_back_is_less_exact_with_fewer_steps(engine: Engine, made: dict[type[Panel], Panel]) -> None:
    text, table, chart = made[InversionPanel].show(at(engine), 4)
    assert "epsilon=$" not in text
    backwards, fixed = (float(line[2]) for line in table["rows"])
    assert backwards > 0
    assert fixed > 0
    for line in chart["series"]:
        distances = [distance for _, distance in line["points"]]
        assert distances == sorted(distances, reverse=True)
    with pytest.raises(FieldError, match="inversion steps must be a whole number from 1 to 100"):
        made[InversionPanel].show(at(engine), 0)


def told(**values: Any) -> dict[str, Any]:
    return world_card.of_values(world_card.BEGIN | values)


def test_the_stored_world_is_what_its_run_gives() -> None:
    kept, found = world_card.stored(), told()
    assert kept.keys() == json.loads(json.dumps(found)).keys()
    for name in ("question", "answer", "right", "numbers", "note", "away", "frames", "columns"):
        assert json.loads(json.dumps(found[name])) == kept[name]
    for name in ("paths", "swarms", "references", "data", "ends"):
        places = [np.frombuffer(base64.b64decode(value[name]), "<i2").astype(int) for value in (kept, found)]
        assert abs(places[0] - places[1]).max() <= 2


def test_what_is_said_of_a_world_follows_its_numbers() -> None:
    few, many, one = told(steps=4), told(steps=16), told(steps=1, step=1)
    assert (few["right"], told()["right"], many["right"]) == ("Neither", "DDIM", "Both")
    assert "nearly straight" in told()["answer"]
    assert few["question"].startswith("With 4 steps")
    assert "no noise goes into the last" in one["answer"]
    assert "the 250 steps that the others are measured to" in told(steps=250, step=250)["answer"]
    assert "another draw" not in told(world="own", centres=[[0.5, 0.5]])["answer"].lower()
    assert "to another moon" in told(world="moons")["answer"]
    assert told(step=8)["note"].startswith("Step 8 of 8, from t = 124 to the points themselves")


def test_the_step_that_is_written_out_is_the_paths() -> None:
    shown = told(step=6)
    numbers = [np.array(json.loads(text.replace("−", "-").replace("(", "[").replace(")", "]"))) for text in shown["numbers"][:5]]
    x_next, signal, pred_x0, noise, eps = numbers
    assert x_next == pytest.approx(signal * pred_x0 + noise * eps, abs=0.02)
    paths = np.frombuffer(base64.b64decode(shown["paths"]), "<i2").reshape(2, 9, -1, 2) / shown["scale"]
    assert paths[0, 6, shown["point"]] == pytest.approx(x_next, abs=0.006)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 251}, "steps must be a whole number from 1 to 250"),
        ({"starts": "7"}, "starts must be a whole number from 0 to 999"),
        ({"point": 12}, "point must be a whole number from 0 to 11"),
        ({"step": 0}, "step must be a whole number 1 or more"),
        ({"world": "own"}, "clouds must be 1 to 8 places"),
    ],
)
def test_what_a_world_cannot_show_is_said(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(FieldError, match=sentence):
        told(**values)


def test_the_chapters_open_on_what_the_bundled_model_gives() -> None:
    names = set(figures.stored_panels())
    assert figures.stored()["numbers"] == {name: f"{value:.3g}" for name, value in stored_chapters.known_numbers().items()}
    assert {chapter.name for chapter in chapters()[:FIRST]} <= names | {WORLD}
    engine = Engine(allow_hub=False)
    scene = panels.scene(engine, NAMED | {"model": "avatars-32", "eta": 0.0, "precision": "fast"}, picture.samples()[0])
    with gr.Blocks():
        shown = [kind() for kind in stored_chapters.KINDS if not kind.needs_model]
    for panel in shown:
        values = panel.show(scene, *(field.value for field in panel.inputs))  # type: ignore[attr-defined]
        for part, value in zip(panel.outputs, values, strict=True):
            kept = figures.begun(part.elem_id, None)
            if isinstance(part, gr.Markdown):
                assert value == kept
            elif "rows" in kept:
                assert len(value["rows"]) == len(kept["rows"])


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
        ({"model": "learned"}, "needs twice as many out_channels"),
        ({}, "picture cannot be used: it is not a picture"),
    ],
)
def test_the_endpoint_says_what_is_wrong(values: dict[str, Any], sentence: str, client: Client, tmp_path: Path) -> None:
    data = None if values else b"GIF89a no picture"
    with pytest.raises(ValidationError) as error:
        client.predict(picture=file_of(tmp_path, data), **({"model": "tiny"} | values), api_name="/likelihood")
    assert sentence in str(error.value)


def test_every_chapter_names_the_picture_that_it_talks_of(made: dict[type[Panel], Panel]) -> None:
    image = picture.samples()[1]
    words = {panel.name: named_picture(panel.talks_of, image, "faces", 42) for panel in made.values()}
    assert words["forward"] == "Picture: sample 2, the bundled model's of seed 8."
    assert words["progress"] == "Picture: what faces makes of seed 42."
    assert words["schedule"] == words["inversion"] == words["variance"] == ""
    assert named_picture("picture", Image.new("RGB", (4, 4)), "faces", 42) == "Picture: yours, cut to the model's shape."
