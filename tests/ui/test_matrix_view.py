"""Distances in a matrix: each sampler to its own cell with the most steps, never to another sampler's."""

import pytest
import torch

from ddim_app.diffusion.metrics import rmse
from ddim_app.diffusion.schedule import Level
from ddim_app.engine import Engine
from ddim_app.runs.axes import cells, parse
from ddim_app.runs.sampling import Arm, Frame, Recipe
from ddim_app.ui.matrix.view import MatrixView


@pytest.fixture(scope="module")
def engine(tiny_root):
    return Engine([tiny_root], allow_hub=False, device=torch.device("cpu"))


def filled(engine, *texts):
    """(view of a whole matrix, its finished pictures by cell)."""
    rows, columns = (parse(*text.split(" ", 1), 1000) for text in texts)
    recipe = Recipe(arms=cells(Arm(steps=4), rows, columns), model="tiny", seed=7, pictures=2, precision="fp32")
    run = engine.run(recipe)
    view = MatrixView(run.plan, rows, columns)
    view.add(list(run))
    return view, run.result


def test_each_row_is_measured_to_its_own_cell_with_the_most_steps(engine):
    view, pictures = filled(engine, "eta 0, 1, sigma-hat", "steps 2, 8")
    cells = view.complete()["cells"]
    assert [cell["reference"] for cell in cells] == [False, True] * 3
    assert {cell["own"] for cell in cells} == {8}
    for row in range(3):
        assert cells[2 * row]["rmse"] == pytest.approx(float(rmse(pictures[2 * row], pictures[2 * row + 1]).mean()), abs=0.006)
    lines = view.csv().decode().splitlines()
    assert lines[0] == "eta,steps,NFE,RMSE of 255 to the row's reference"
    assert [line.split(",")[:3] for line in lines[1:3]] == [["0.0", "2", "2"], ["0.0", "8", "8"]]
    assert all((float(line.split(",")[3]) == 0) == (i % 2 == 1) for i, line in enumerate(lines[1:]))


def test_a_solver_of_ddims_flow_is_measured_to_ddim_with_the_most_steps(engine):
    """Without DDIM(0) in the matrix, whose picture it comes to, to its own."""
    view, pictures = filled(engine, "eta 0, 2m", "steps 2, 8")
    value = view.complete()
    assert "DPM-Solver++ solves DDIM(0)'s flow" in value["hint"]
    assert [cell["reference"] for cell in value["cells"]] == [False, True, False, False]
    for cell in (2, 3):
        assert value["cells"][cell]["rmse"] == pytest.approx(float(rmse(pictures[cell], pictures[1]).mean()), abs=0.006)
    alone = filled(engine, "eta 1, 2m", "steps 2, 8")[0].complete()
    assert [cell["reference"] for cell in alone["cells"]] == [False, True] * 2
    assert "DPM-Solver++ solves" not in alone["hint"]


def test_where_no_cell_has_more_steps_there_is_no_distance(engine):
    view, _ = filled(engine, "eta 0, 1", "noise_seed 0, 1, 2")
    value = view.complete()
    assert not any("rmse" in cell for cell in value["cells"])
    assert "RMSE" not in value["hint"]
    assert all(line.endswith(",") for line in view.csv().decode().splitlines()[1:])


class Pictures:
    """Frames of a view over two etas and four counts of steps whose pictures are known."""

    def __init__(self, engine, steps):
        rows, columns = parse("eta", "0, 1", 1000), parse("steps", steps, 1000)
        recipe = Recipe(arms=cells(Arm(), rows, columns), model="tiny", seed=7, pictures=1, precision="fp32")
        plan = engine.plan(recipe)
        self.view = MatrixView(plan, rows, columns)
        shape = (1, *plan.model.shape)
        for arm, row in enumerate(plan.rows):
            far = (40, 12, 4, 0) if arm < 4 else (40, 30, 20, 0)
            x = torch.full(shape, 2 * far[arm % 4] / 255 - 0.5)
            level = Level(0, 1.0)
            self.view.add([Frame(arm, row.transitions - 1, row.transitions, level, 0.0, x, x, x, 0)])


@pytest.mark.parametrize(("steps", "first"), [("2, 5, 20, 100", 2), ("2, 10, 50, 100", None), ("2, 10, 50, 1000", 2)])
def test_within_5_is_said_of_the_first_cell_that_stays_near_and_only_where_the_reference_is_to_be_trusted(engine, steps, first):
    within = [cell["within"] for cell in Pictures(engine, steps).view.complete()["cells"]]
    assert [i for i, is_within in enumerate(within) if is_within] == ([] if first is None else [first])
