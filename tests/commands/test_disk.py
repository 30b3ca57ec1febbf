"""Commands whose output cannot be written: one sentence that names the file and what to do, whatever the disk says."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddim_app import __main__

COMMANDS = {
    "generate": ["--steps", "1", "--pictures", "1"],
    "interpolate": ["--steps", "1", "--seeds", "7,8", "--frames", "2", "--files", "sheet"],
    "invert": ["--steps", "1", "--count", "1", "--methods", "ddim-target"],
    "likelihood": ["--evaluations", "60", "--limit", "1"],
}


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What a command ends with when its output is to be at that place."""
    (tmp_path / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "in" / "a.png")

    def run(command, output):
        images = ["--images", tmp_path / "in"] if command in ("invert", "likelihood") else []
        monkeypatch.setattr(sys, "argv", ["ddim_app", command, *map(str, images), *COMMANDS[command], "--output", str(output)])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        assert "\n" not in str(ended.value.code)
        return str(ended.value.code)

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_nothing_is_one_sentence_and_no_half_file_stays(said, tmp_path, monkeypatch, command, code):
    whole = Path.write_bytes

    def half(path, data):
        whole(path, data[: len(data) // 2])
        raise OSError(code, "the disk's reason")

    monkeypatch.setattr(Path, "write_bytes", half)
    (tmp_path / "out").mkdir()
    words = said(command, tmp_path / "out" / ("a.json" if command == "likelihood" else ""))
    assert str(tmp_path / "out") in words
    assert words.endswith("cannot be read or written (the disk's reason): make room or allow it, or name another place")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("command", ["generate", "interpolate", "invert"])
def test_an_output_that_cannot_be_made_is_said_before_anything_is_computed(said, tmp_path, monkeypatch, command):
    from ddim_app.engine import Engine

    monkeypatch.setattr(Engine, "start", None)
    monkeypatch.setattr(Engine, "run", None)
    (tmp_path / "file").write_text("x")
    assert f"{tmp_path / 'file'}/out cannot be read or written (Not a directory)" in said(command, tmp_path / "file" / "out")
