"""The tables of quality that bundled models bring along."""

import pytest

from ddim_app.models.catalogue import ROOT, load_model
from ddim_app.studies import quality_files

BUNDLED = sorted(path.parent.name for path in (ROOT / "weights").glob("*/quality-*.json"))


def test_there_is_one() -> None:
    assert BUNDLED == ["avatars-32"]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_table_is_of_these_very_weights(name: str) -> None:
    """`python -m ddim_app quality` makes it anew where they change."""
    folder, model = ROOT / "weights" / name, load_model(name)
    assert len(list(folder.glob("quality-*.json"))) == 1
    table = quality_files.find(folder, model.sha256)
    assert table is not None
    assert (table.model, table.settings["weights"]) == (name, model.sha256)
    assert {steps for _, steps in table.cells} == {5, 10, 20}
    assert table.beside.keys() >= {"other pictures of the reference", "held-out pictures"}
    # Pictures that the model was not trained on are nearer to the reference than any that it draws.
    assert table.beside["held-out pictures"].kernel.value < min(cell.kernel.value for cell in table.cells.values())
