"""What a finished run says of how to see it: a link that the app reads as what was said."""

from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from ddim_app.models.catalogue import ROOT
from ddim_app.runs.codecs import compare_values, read_query
from ddim_app.train.closing import how_to_see
from ddim_app.train.config import Settings
from tests import toys

BEGIN = SimpleNamespace(init={"name": "avatars-32"})


def recipe(text):
    return read_query(urlsplit(text.split()[-1]).query).recipe


def test_the_link_lays_the_start_and_the_run_side_by_side(tmp_path):
    text = how_to_see(tmp_path / "my runs" / "cats", BEGIN, Settings(data="x", init="avatars-32", seed=7))
    assert f"--models-dir '{tmp_path}/my runs'\n" in text
    assert "side by side with avatars-32 at equal seeds" in text
    read = recipe(text)
    values = compare_values(read)  # so it opens in Compare, under the settings that its fields then show
    assert values is not None
    assert {name: values[name] for name in ("model", "second_model", "seed", "pictures")} == {
        "model": "avatars-32", "second_model": "my runs/cats", "seed": 7, "pictures": 4,
    }  # fmt: skip


@pytest.mark.parametrize(("init", "options"), [("FOLDER", {}), ("avatars-32", {"resolution": 16}), (None, {"preset": "tiny-32"})])
def test_without_a_start_that_the_app_lists_the_link_shows_the_run(tmp_path, init, options):
    start = toys.save_tiny(tmp_path / "start")
    named = str(start) if init == "FOLDER" else init
    begin = SimpleNamespace(init=named and {"name": "start"})
    text = how_to_see(tmp_path / "cats", begin, Settings(data="x", init=named, **options))
    assert recipe(text).model == f"{tmp_path.name}/cats"


def test_a_model_that_the_app_lists_needs_no_folder_of_its_own():
    text = how_to_see(ROOT / "weights" / "avatars-64", SimpleNamespace(init=None), Settings(data="x", preset="tiny-32"))
    assert text.startswith("To see it: python app.py\n")
    assert recipe(text).model == "avatars-64"
