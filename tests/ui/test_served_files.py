"""Files that answers name: whole from the first moment, whoever asks for the same ones at the same time."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddim_app.ui.served_files import keep, keep_picture, trim


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


def test_equal_files_are_one_and_others_are_not(cache: Path) -> None:
    assert keep(b"one", "a.bin") == keep(b"one", "a.bin")
    assert len({keep(b"one", "a.bin"), keep(b"one", "b.bin"), keep(b"two", "a.bin")}) == 3
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 3  # and nothing unfinished


def test_a_file_that_was_cleared_away_is_written_again(cache: Path) -> None:
    path = Path(keep(b"one", "a.bin"))
    path.unlink()
    assert Path(keep(b"one", "a.bin")).read_bytes() == b"one"


def test_a_reader_never_sees_a_part(cache: Path) -> None:
    data, over, seen = bytes(3_000_000), threading.Event(), set()
    path = Path(keep(data, "a.bin"))

    def read() -> None:
        while not over.is_set():
            seen.add(len(path.read_bytes()))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(100):
        keep(data, "a.bin")
    over.set()
    for reader in readers:
        reader.join()
    assert seen == {len(data)}


def test_a_picture_keeps_its_pixels_and_texts() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Image.open(keep_picture(pixels, [("recipe", "ÿ {}")])) as image:
        assert (np.asarray(image) == pixels).all()
        assert image.info["recipe"] == "ÿ {}"


def test_files_beyond_the_limit_go_oldest_first(tmp_path: Path) -> None:
    for i in range(10):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "image.png").write_bytes(bytes(1000))
        os.utime(folder / "image.png", (time.time() - 1000 + i,) * 2)
    (tmp_path / "new.png").write_bytes(bytes(5000))
    assert trim(tmp_path, 8_000) == 7
    assert sorted(path.parent.name for path in tmp_path.rglob("image.png")) == ["7", "8", "9"]
    page = frozenset({str(tmp_path / "7" / "image.png")})
    assert trim(tmp_path, 7_000, page) == 0  # what the page itself shows does not count
    assert trim(tmp_path, 6_000, page) == 1
    assert (tmp_path / "7" / "image.png").exists()
    assert trim(tmp_path, 1_000) == 2  # the new one may just be on its way to somebody
    assert (tmp_path / "new.png").exists()


def test_files_are_trimmed_after_the_clock_jumped_back(tmp_path: Path) -> None:
    """Those of before the jump have a time to come: they go first, and what was made since is fresh."""
    for hours in (5, 6):
        (tmp_path / f"{hours}.png").write_bytes(bytes(1000))
        os.utime(tmp_path / f"{hours}.png", (time.time() + 3600 * hours,) * 2)
    (tmp_path / "old.png").write_bytes(bytes(1000))
    os.utime(tmp_path / "old.png", (time.time() - 1000,) * 2)
    (tmp_path / "new.png").write_bytes(bytes(1000))
    assert trim(tmp_path, 4000) == 0
    assert trim(tmp_path, 3000) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["6.png", "new.png", "old.png"]
    assert trim(tmp_path, 0) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["new.png"]


def test_a_file_that_is_named_again_while_others_go_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest, next_one = (Path(keep(data, "a.bin")) for data in (b"one", b"two"))
    for age, path in ((2000, oldest), (1000, next_one)):
        os.utime(path, (time.time() - age,) * 2)
    unlink = Path.unlink

    def meanwhile(path: Path) -> None:
        keep(b"two", "a.bin")
        unlink(path)

    monkeypatch.setattr(Path, "unlink", meanwhile)
    assert trim(cache, 0) == 1
    assert (oldest.exists(), next_one.exists()) == (False, True)


def test_what_an_answer_names_is_there_whatever_goes_at_that_moment(cache: Path) -> None:
    over = threading.Event()

    def tidy() -> None:
        while not over.is_set():
            trim(cache, 0)

    tidying = threading.Thread(target=tidy)
    tidying.start()
    try:
        for _ in range(2000):
            path = keep(b"one", "a.bin")
            os.utime(path, (time.time() - 1000,) * 2)
            assert Path(keep(b"one", "a.bin")).exists()
    finally:
        over.set()
        tidying.join()


def test_a_file_that_is_made_during_the_look_at_all_files_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = os.walk

    def slow(folder: Path) -> Iterator[Any]:
        time.sleep(0.02)  # longer than the file system's clock takes to go on
        keep(b"one", "a.bin")
        yield from walk(folder)

    monkeypatch.setattr(os, "walk", slow)
    assert trim(cache, 0) == 0
