"""The ladder as files: what stands in them, and that they are of what the page shows."""

import base64
import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.runs import codecs
from ddim_app.runs.kinds import from_json
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui import build_ui
from ddim_app.ui.bundled import stored_set
from ddim_app.ui.compare.ladder import COLUMNS
from ddim_app.ui.compare.ladder_files import LadderFiles

SHOWN = {"seed": 7, "picture": 0, "stale": False}


def files_of(engine: Engine) -> LadderFiles:
    """The files of a page over the engine."""
    kept: list[LadderFiles] = []
    begin = LadderFiles.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LadderFiles, "__init__", lambda self, ladder: kept.append(self) or begin(self, ladder))
        build_ui(engine)
    return kept[0]


@pytest.fixture(scope="module")
def stored() -> LadderFiles:
    return files_of(Engine(allow_hub=False))


def asked(files: LadderFiles, form: str, shown: Any = SHOWN, **changed: Any) -> dict[str, Any]:
    """What the page is told that asks for a file, with these of its fields changed."""
    tab = files._ladder.tab
    names = [*tab.settings.fields, "more_arms"]
    assert changed.keys() <= set(names)
    values = [changed.get(name, field.value) for name, field in zip(names, tab.inputs, strict=True)]
    return files._file(*values, shown and {"form": form, **shown})


def data(told: dict[str, Any]) -> bytes:
    return base64.b64decode(told["data"])


def lines(told: dict[str, Any]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data(told).decode("ascii"))))


def test_the_stored_ladder_as_numbers(stored: LadderFiles) -> None:
    told = asked(stored, "csv")
    assert (told["name"], told["mime"]) == ("ddim-explorer-ladder-7.csv", "text/csv")
    head, *cells = lines(told)
    assert head == ["arm", "steps", "RMSE of 255", "worst 4 x 4 patch", "reference"]
    assert [(arm, int(steps)) for arm, steps, *_ in cells] == [(arm, n) for arm in ("DDIM(eta = 0)", "DDPM") for n in COLUMNS]
    assert {(arm, reference) for arm, *_, reference in cells} == {
        ("DDIM(eta = 0)", "DDIM(eta = 0), 1000 steps"), ("DDPM", "DDPM, 1000 steps"),
    }  # fmt: skip
    kept = stored_set()
    apart = [kept.distances()[row, kept.columns.index(steps), 0] for row in (0, 4) for steps in COLUMNS]  # eta 0 and 1
    assert [[float(value) for value in cell[2:4]] for cell in cells] == pytest.approx(np.array(apart), abs=0.001)


def test_the_stored_ladder_as_a_sheet_with_the_recipe_of_its_cells(stored: LadderFiles) -> None:
    told = asked(stored, "png", {**SHOWN, "seed": 9}, eta=0.5, steps=8, variance="large") | asked(
        stored, "png", {**SHOWN, "seed": 9}, eta=0.5, variance="large"
    )
    assert told["name"] == "ddim-explorer-ladder-9.png"
    recipe = codecs.read_file(data(told)).recipe
    assert recipe == from_json(text_inside(data(told)))
    assert recipe.arms == tuple(
        replace(arm, steps=steps) for arm in (Arm(eta=0.5), Arm(method="ddpm", variance="large")) for steps in COLUMNS
    )
    assert (recipe.seed, recipe.pictures, recipe.precision, recipe.weights) == (9, 1, "fp32", stored_set().weights)
    sheet = np.asarray(Image.open(io.BytesIO(data(told))))
    kept = stored_set()
    for row, column in ((0, 0), (5, 3)):  # eta 0.5 is the third of the set, sigma-hat the last
        arm = 2 if row == 0 else kept.pixels.shape[0] - 1
        picture = kept.pixels[arm, kept.columns.index(COLUMNS[column]), 2].repeat(3, 0).repeat(3, 1)
        corners = np.argwhere((sheet[:-95, :-95] == picture[0, 0]).all(-1))
        assert any((sheet[y : y + 96, x : x + 96] == picture).all() for y, x in corners)


def test_a_live_ladder_is_of_its_own_last_pictures_and_only_of_a_whole_one(tiny_root: Any) -> None:
    engine = Engine([tiny_root])
    files = files_of(engine)
    assert asked(files, "csv") == {"note": "The ladder is not whole: let it fill first."}
    assert engine.loop.calls == 0
    tab = files._ladder.tab
    recipe, _ = tab.recipe_of(tuple(field.value for field in tab.inputs))
    live, planned, _ = files._ladder.of(recipe, 1)
    for frame in engine.run(planned):
        live.add(frame)
    _, *cells = lines(asked(files, "csv", {**SHOWN, "seed": 8, "picture": 1}))
    assert {reference for *_, reference in cells} == {"DDIM(eta = 0), 100 steps", "DDPM, 100 steps"}
    assert [cells[at][2:4] for at in (5, 11)] == [["0.0", "0.0"]] * 2
    told = asked(files, "png", {**SHOWN, "seed": 8, "picture": 1})
    made = from_json(text_inside(data(told)))
    assert isinstance(made, Recipe)
    assert (made.seed, made.model, made.weights, len(made.arms)) == (8, "tiny", engine.model("tiny").sha256, 12)
    assert "note" in asked(files, "png")  # the first picture's has not been drawn


@pytest.mark.parametrize(
    ("shown", "changed", "note"),
    [
        ({**SHOWN, "stale": True}, {}, "The ladder is of the settings before: let it fill first."),
        ({**SHOWN, "seed": 99}, {}, "Seed must be a whole number from 7 to 10; got 99"),
        (None, {}, "form must be one of png, csv"),
        ({"form": "../x"}, {}, "form must be one of png, csv"),
        (SHOWN, {"seed": "x"}, "Seed must be a whole number from 0 to 4294967295; got 'x'"),
    ],
)
def test_what_cannot_be_said_of_it_is_a_sentence(stored: LadderFiles, shown: Any, changed: Any, note: str) -> None:
    assert note in asked(stored, "csv", shown, **changed)["note"]
