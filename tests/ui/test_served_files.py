"""Files that answers name: whole from the first moment, whoever asks for the same ones at the same time."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddim_app.ui.served_files import keep, keep_picture


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
