"""The text of an axis: what it may say, and where it is wrong."""

import pytest

from ddim_app.errors import FieldError
from ddim_app.runs.axes import AXES, MAX_VALUES, Axis, cells, parse
from ddim_app.runs.sampling import Arm


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("steps", "5", (5,)),
        ("steps", "5,10,..,50", (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)),
        ("steps", " 50 , 40, ... ,10", (50, 40, 30, 20, 10)),
        ("steps", "1, 2, .., 4, 100", (1, 2, 3, 4, 100)),
        ("steps", "10:30:10, 999", (10, 20, 30, 999)),
        ("eta", "0:1:0.1", tuple(k / 10 for k in range(11))),
        ("eta", "1:0:-0.25", (1.0, 0.75, 0.5, 0.25, 0.0)),
        ("eta", "0, sigma-hat, σ̂x", None),
        ("eta", "2, Sigma-Hat", (2.0, "sigma-hat")),
        ("spacing", "leading, quadratic-paper", ("leading", "quadratic-paper")),
        ("clip", "off,clip", ("off", "clip")),
    ],
)
def test_axes_are_read(name: str, text: str, values: tuple[object, ...] | None) -> None:
    if values is None:
        with pytest.raises(FieldError, match="character 15"):
            parse(name, text, 1000)
    else:
        assert parse(name, text, 1000).values == values


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("steps", "", "rows must list its values, such as 5, 10, .., 50 or 0:1:0.25; got ''"),
        ("steps", None, "rows must list its values, such as 5, 10, .., 50 or 0:1:0.25; got nothing"),
        ("steps", "5,,10", "rows cannot be read at character 3: must be a whole number from 1 to 1000; got ''"),
        ("steps", "5, 1001", "rows cannot be read at character 4: must be a whole number from 1 to 1000; got 1001"),
        ("steps", "5, 2.5", "rows cannot be read at character 4: must be a whole number from 1 to 1000; got 2.5"),
        ("steps", "10, 20, 10", "rows names 10 twice, the second time at character 9"),
        ("steps", "5, .., 50", "rows needs two numbers before and one after the dots at character 4, as in 5, 10, .., 50"),
        ("steps", "5, 10, ..", "rows needs two numbers before and one after the dots at character 8, as in 5, 10, .., 50"),
        ("steps", "10, 5, .., 50", "rows never reaches its end at character 8"),
        ("steps", "1:1000:1", f"rows may have at most {MAX_VALUES} values; the range at character 1 has 1000"),
        ("eta", "0:1", "rows needs from:to:by at character 1, as in 0:1:0.25; got '0:1'"),
        ("eta", "0:1:0", "rows never reaches its end at character 1"),
        ("eta", "nan", "rows cannot be read at character 1: must be a number from 0 to 2; got 'nan'"),
        ("clip", "clip, hard", "rows cannot be read at character 7: must be one of clip, off, dynamic; got 'hard'"),
        (
            "colour",
            "red",
            f"rows must be one of {', '.join(AXES)}; got 'colour'",
        ),
        (
            ["steps"],
            "5",
            f"rows must be one of {', '.join(AXES)}; got ['steps']",
        ),
        ("steps", "5," * 300, "rows must list its values"),
    ],
)
def test_a_wrong_axis_is_pointed_at(name: object, text: object, sentence: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse(name, text, 1000, "rows")
    assert str(caught.value).startswith(sentence)
    assert caught.value.field == "rows"


def test_cells_are_the_arms_row_by_row() -> None:
    rows, columns = parse("steps", "5, 10", 1000), parse("eta", "0, sigma-hat", 1000)
    assert cells(Arm(spacing="leading"), rows, columns) == tuple(
        arm
        for steps in (5, 10)
        for arm in (
            Arm(steps=steps, spacing="leading"),
            Arm(method="ddpm", variance="large", eta=1.0, steps=steps, spacing="leading"),
        )
    )
    assert [columns.header(value) for value in columns.values] == ["η 0", "DDPM, σ̂"]
    assert [rows.header(value) for value in rows.values] == ["5 steps", "10 steps"]
    assert Axis("eta", (1.0,)).header(1.0) == "η 1 = DDPM"


def test_another_sampler_is_a_value_of_the_eta_axis() -> None:
    columns = parse("eta", "0, 2M", 1000)
    assert [columns.header(value) for value in columns.values] == ["η 0", "DPM-Solver++ (2M)"]
    assert columns.apply(Arm(eta=0.5, steps=7), columns.values[1]) == Arm(method="2m", steps=7)


def test_a_matrix_has_two_axes_and_an_end() -> None:
    steps = parse("steps", "1:20:1", 1000)
    with pytest.raises(FieldError, match="must be another setting than that of the rows"):
        cells(Arm(), steps, steps)
    with pytest.raises(FieldError, match="must make at most 64 cells with those of the columns; these make 80"):
        cells(Arm(), steps, parse("eta", "0,0.5,1,2", 1000))
