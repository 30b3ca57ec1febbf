"""Stored sets on disk: under the hash of their weights, whole or not there, and never more than the folder may have."""

import os
from pathlib import Path

import numpy as np
import pytest
from filelock import Timeout

from ddim_app.engine import Engine
from ddim_app.studies import stored_sets
from ddim_app.studies.set_cache import SHEET, SetCache
from ddim_app.studies.stored_sets import Extent, StoredSet
from tests import toys

SCHEDULER = {"num_train_timesteps": 10}


def engine_of(root: Path, **changes: object) -> Engine:
    toys.save_tiny(root / "tiny", scheduler=SCHEDULER | changes.pop("scheduler", {}), **changes)
    return Engine([root], allow_hub=False)


def grey(level: int, model: str = "tiny", weights: str = "00") -> StoredSet:
    """A set of one grey, of 4 x 4 pixels."""
    return StoredSet(np.full((6, 2, 4, 4, 4, 3), level, np.uint8), (1, 2), model, weights)


@pytest.mark.parametrize("changes", [{"seed": 1}, {"scheduler": {"beta_end": 0.3}}, {"scheduler": {"clip_sample": False}}])
def test_a_set_is_found_by_its_weights_and_how_they_are_used_whatever_its_name(tmp_path: Path, changes: dict) -> None:
    model = engine_of(tmp_path / "a").model("tiny")
    cache = SetCache(10**6, tmp_path / "cache")
    cache.keep(cache.key(model), grey(7))
    again = SetCache(10**6, tmp_path / "cache")
    told = again.find(again.key(engine_of(tmp_path / "b").model("tiny")))
    assert told is not None
    assert SHEET.fullmatch(told["sheet"])
    assert again.sheet(told["sheet"]).is_file()
    assert again.find(again.key(engine_of(tmp_path / "c", **changes).model("tiny"))) is None


def test_no_other_file_is_a_sheet(tmp_path: Path) -> None:
    cache = SetCache(10**6, tmp_path / "cache")
    cache.keep("0" * 16 + "-" + "1" * 8, grey(7))
    (index,) = cache.folder.glob("*.json")
    for name in (index.name, f"../{tmp_path.name}", "none.png", "0" * 16 + "-" + "1" * 8 + "-" + "2" * 12 + ".png"):
        assert cache.sheet(name) is None


@pytest.mark.parametrize("harm", ["cut off", "another byte", "no sheet", "no index", "a list"])
def test_a_damaged_set_is_none(tmp_path: Path, harm: str) -> None:
    cache = SetCache(10**6, tmp_path)
    cache.keep("key", grey(7))
    index = tmp_path / "key.json"
    (sheet,) = tmp_path.glob("*.png")
    data = sheet.read_bytes()
    if harm == "cut off":
        sheet.write_bytes(data[:-20])
    elif harm == "another byte":
        sheet.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
    elif harm == "no sheet":
        sheet.unlink()
    else:
        index.write_text("{" if harm == "no index" else "[]")
    assert cache.find("key") is None
    cache.keep("key", grey(7))
    assert cache.find("key") is not None


def test_a_damaged_piece_is_none_and_all_go_with_the_whole_set(tmp_path: Path) -> None:
    cache, recipes = SetCache(10**6, tmp_path), Extent((1, 2)).recipes("tiny")
    pixels = np.arange(6 * 4 * 16 * 3, dtype=np.uint8).reshape(6, 4, 4, 4, 3)
    for recipe in recipes:
        cache.keep_piece("key", recipe, pixels)
    assert np.array_equal(cache.piece("key", recipes[0]), pixels)
    assert cache.piece("other", recipes[0]) is None
    for piece in tmp_path.glob("*.npz"):
        data = piece.read_bytes()
        middle = len(data) // 2
        piece.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    assert all(cache.piece("key", recipe) is None for recipe in recipes)
    cache.keep("key", grey(7))
    assert list(tmp_path.glob("*.npz")) == []


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path) -> None:
    cache = SetCache(10**6, tmp_path)
    for i, key in enumerate("abc"):
        cache.keep(key, grey(i))
    one = sum(file.stat().st_size for file in tmp_path.glob("a*"))
    for i, key in enumerate("abc"):
        for file in tmp_path.glob(f"{key}*"):
            os.utime(file, (1000 + i, 1000 + i))
    assert cache.find("a") is not None  # the newest now
    cache.max_bytes = 3 * one + one // 4
    cache.keep("d", grey(3))
    assert [key for key in "abcd" if cache.find(key)] == ["a", "c", "d"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= cache.max_bytes


def test_one_process_makes_a_set(tmp_path: Path) -> None:
    with SetCache(10**6, tmp_path).lock("key"):
        with pytest.raises(Timeout):
            SetCache(10**6, tmp_path).lock("key").acquire()
        SetCache(10**6, tmp_path).lock("other").acquire()
    SetCache(10**6, tmp_path).lock("key").acquire()


def test_a_set_in_pieces_is_the_set(tmp_path: Path) -> None:
    engine = engine_of(tmp_path)
    model, whole = engine.model("tiny"), stored_sets.make(engine, "tiny", (1, 3))
    extent = Extent.of(model, (1, 3))
    recipes = extent.recipes("tiny", 50)
    assert [(recipe.arms[0].steps, len(recipe.arms)) for recipe in recipes] == [(1, 6), (3, 4), (3, 2), *[(10, 1)] * 6]
    pieces = extent.joined([stored_sets.drawn(engine.final(recipe)) for recipe in recipes], model)
    assert np.abs(pieces.pixels.astype(int) - whole.pixels).max() <= 1  # calls of other sizes may round otherwise


def test_a_smaller_set_has_fewer_rows_and_pictures(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, scheduler={"clip_sample": False})
    model, whole = engine.model("tiny"), stored_sets.make(engine, "tiny", (3,))
    small = Extent.of(model, (3,), keys=("0", "sigma-hat"), pictures=1)
    assert (small.clip, small.size(model.shape), Extent.of(model, (3,)).size(model.shape)) == ("off", 4 * 192, 48 * 192)
    drawn = small.joined([stored_sets.drawn(engine.final(recipe)) for recipe in small.recipes("tiny")], model)
    assert np.abs(drawn.pixels.astype(int) - whole.pixels[[0, 5], :, :1]).max() <= 1
    assert drawn.about()["arms"] == ["0", "sigma-hat"]
    drawn.save(tmp_path / "sets", "small")
    again = StoredSet.load(tmp_path / "sets", "small")
    assert (again.keys, again.clip, again.pixels.shape) == (drawn.keys, "off", (2, 2, 1, 8, 8, 3))
