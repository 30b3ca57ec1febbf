"""A set of pictures in a folder: each picture can be made again from its file, and nothing of other settings is mixed in."""

import sys

import numpy as np
import pytest
from PIL import Image

from ddim_app import __main__ as cli
from ddim_app.commands.engines import local_engine
from ddim_app.errors import FieldError
from ddim_app.media.images import to_pixels
from ddim_app.runs import codecs
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import picture_sets
from ddim_app.studies.picture_sets import PictureSet, batches


@pytest.fixture
def command(monkeypatch, tiny_root, tmp_path):
    """Runs the command into tmp_path/set; returns the sentence that it ends with, if it does."""
    monkeypatch.setattr(picture_sets, "SHARD", 4)

    def run(*words):
        fixed = ["sample", str(tiny_root / "tiny"), "--steps", "2", "--bucket", "4", "--output", str(tmp_path / "set")]
        monkeypatch.setattr(sys, "argv", ["ddim_app", *fixed, *map(str, words)])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code

    return run


def drawn(folder, suffix):
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob(f"*{suffix}"))]


def test_every_picture_is_made_again_by_the_recipe_in_its_file(command, tmp_path):
    assert command("--count", 6, "--eta", 1, "--seed", 2**32 - 3) is None
    files = sorted((tmp_path / "set").rglob("*.png"))
    assert [file.name for file in files] == [f"{i:07}.png" for i in range(6)]
    engine = local_engine()
    for i in (0, 3, 5):
        recipe = codecs.read_file(files[i].read_bytes()).recipe
        assert (recipe.seed, recipe.pictures, recipe.bucket) == ((2**32 - 3 + i) % 2**32, 1, 4)
        again = to_pixels(engine.final(recipe)[0])[0]
        assert np.array_equal(again, np.asarray(Image.open(files[i])))


def test_a_set_grows_and_does_not_shrink(command, tmp_path):
    assert command("--count", 6) is None
    before = {path: path.read_bytes() for path in (tmp_path / "set").rglob("*.png")}
    assert command("--count", 9) is None
    assert len(drawn(tmp_path / "set", ".png")) == 9
    assert {path: path.read_bytes() for path in before} == before
    assert "has pictures beyond the first 4" in command("--count", 4)
    assert len(drawn(tmp_path / "set", ".png")) == 9


def test_the_array_has_the_pictures_of_the_files(command, tmp_path):
    assert command("--count", 6) is None
    pictures = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "set").rglob("*.png"))]
    (tmp_path / "set").rename(tmp_path / "files")
    assert command("--count", 6, "--format", "npz") is None
    with np.load(tmp_path / "set" / "pictures.npz") as archive:
        assert archive.files == ["arr_0"]
        assert np.array_equal(archive["arr_0"], np.stack(pictures))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--eta", 0.5], "other settings (eta: the default there, 0.5 here): name another folder, or take them away"),
        (["--steps", 3], "(steps: 2 there, 3 here)"),
        (["--bucket", 2], "(bucket: 4 there, 2 here)"),
        (["--format", "npz"], "has pictures beyond the first 6, or of other settings (0000000)"),
    ],
)
def test_a_folder_with_pictures_of_other_settings_is_refused_and_left_as_it_is(command, tmp_path, words, sentence):
    assert command("--count", 6) is None
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set" / "0000000").iterdir()}
    assert sentence in command("--count", 6, *words)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set" / "0000000").iterdir()} == before


def test_a_shard_of_another_set_and_one_that_is_broken_are_refused(command, tmp_path):
    command("--count", 4, "--seed", 5)
    (tmp_path / "set" / "0000000").rename(tmp_path / "0000000")
    (tmp_path / "set" / "set.json").unlink()
    (tmp_path / "0000000").rename(tmp_path / "set" / "0000004")
    assert "0000004 has pictures of other settings (seed: 5 there, the default here)" in command("--count", 8)
    (tmp_path / "set" / "0000004" / "shard.json").write_text("{")
    assert "0000004 is no shard of pictures that can be read: take it away" in command("--count", 8)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--count", 0], "count must be a whole number from 1 to 4294967296; got 0"),
        (["--count", 1, "--format", "jpg"], "format must be one of png, npz; got 'jpg'"),
        (["--count", 1, "--steps", 2000], "steps must be a whole number from 1 to 1000; got 2000"),
        (["--count", 1, "--bucket", 5], "bucket must be one of"),
    ],
)
def test_values_that_cannot_be_are_said_before_anything_is_written(command, tmp_path, words, sentence):
    assert sentence in command(*words)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("bucket", [1, 2, 12, 24, 48, 64])
def test_batches_fill_their_calls_and_meet_every_seed_once(bucket):
    recipe = Recipe(arms=(Arm(),), bucket=bucket, seed=100)
    met = []
    for batch, wanted in batches(recipe, 7, 150):
        seeds = [arm.seed + i for arm in batch.arms for i in range(batch.pictures)]
        assert wanted <= len(seeds) <= bucket
        met += seeds[:wanted]
    assert met == list(range(107, 257))


def test_a_set_needs_a_count():
    with pytest.raises(FieldError, match="count must be"):
        PictureSet(None, Recipe(arms=(Arm(),)), 0)
