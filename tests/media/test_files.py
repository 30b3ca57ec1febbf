"""Files are written whole, or not at all, and may be read by whoever may read the others."""

import os

import pytest
import torch
from safetensors.torch import load_file

from ddim_app.media import files

WRITERS = {
    "bytes": lambda path: files.write_file(path, b"new"),
    "json": lambda path: files.write_json(path, {"new": 1}),
    "tensors": lambda path: files.write_tensors(path, {"new": torch.arange(3.0)}),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_decides_who_may_read(tmp_path, write, umask, mode):
    before = os.umask(umask)
    try:
        write(tmp_path / "a")
        write(tmp_path / "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_failed_write_names_the_file_and_leaves_what_was_there(tmp_path, write, monkeypatch):
    (tmp_path / "a").write_bytes(b"old")

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a'$") as failed:
        write(tmp_path / "a")
    assert (failed.value.errno, failed.value.filename) == (28, str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_folder_that_is_not_there_is_named(tmp_path, write):
    with pytest.raises(OSError, match=r"nowhere/a'$"):
        write(tmp_path / "nowhere" / "a")


def test_tensors_come_back(tmp_path):
    WRITERS["tensors"](tmp_path / "a")
    assert load_file(tmp_path / "a")["new"].tolist() == [0, 1, 2]
