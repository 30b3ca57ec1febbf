"""The data of a run: a folder with anything in it gives its good pictures, and a reason for every other file."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from ddim_app.media import folders, images
from ddim_app.train import data
from ddim_app.train.config import TrainError
from ddim_app.train.picture_cache import PictureForm
from tests.train.hostile_pictures import drawing, save_hostile
from tests.train_tools import drawings, save_drawings

FORM = PictureForm(8, 3)


def prepare(folder, cache, holdout=None, form=FORM):
    return data.prepare(str(folder), holdout, form, cache)


def save_odd(folder):
    """Pictures that must be accepted, however unusual."""
    folder.mkdir()
    rng = np.random.default_rng(9)
    noise = [Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)) for _ in range(20)]
    noise[0].convert("CMYK").save(folder / "cmyk.jpg")
    noise[1].convert("L").save(folder / "grey.jpg")
    noise[2].convert("P").save(folder / "palette.gif")
    noise[3].convert("RGBA").save(folder / "alpha.png")
    noise[4].convert("LA").save(folder / "grey alpha.png")
    noise[5].convert("1").save(folder / "one bit.tiff")
    Image.fromarray(rng.integers(0, 65536, (20, 30), dtype=np.uint16)).save(folder / "sixteen bit.png")
    noise[6].save(folder / "really a png.jpg", "PNG")
    noise[7].save(folder / "no extension", "BMP")
    noise[8].save(folder / "animated.gif", save_all=True, append_images=noise[9:12])
    noise[12].save(folder / "animated.webp", save_all=True, append_images=noise[13:15], lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise[15].save(folder / "turned.jpg", exif=exif)
    noise[16].resize((300, 1)).save(folder / "a line.png")
    (folder / "sub" / "sub").mkdir(parents=True)
    noise[17].save(folder / "sub" / "sub" / "deep.png")
    os.symlink(folder / "grey.jpg", folder / "link to grey.jpg")
    return 14


def test_a_hostile_folder_gives_its_good_pictures_and_a_reason_for_every_other_file(tmp_path):
    root = tmp_path / "pictures"
    good = save_odd(root) + len(list(save_drawings(root / "plain", 10, side=40).iterdir()))
    hostile = save_hostile(root / "hostile")
    found = prepare(root, tmp_path / "cache", "2")
    facts = found.facts
    assert hostile >= 40
    assert facts["usable"] == good
    assert len(facts["rejected"]) == hostile
    assert facts["duplicates"] == [["link to grey.jpg", "grey.jpg"]]
    assert facts["animated"] == 2
    assert len(found.train) == good - 2
    text = data.report(found)
    reasons = dict(facts["rejected"])
    assert all(f"  {name}: {reason}" in text for name, reason in reasons.items())
    assert "more than 80 million pixels" in reasons["hostile/huge.png"]
    assert reasons["hostile/zero.jpg"] == "it is empty"
    assert "not a picture in one of the formats JPEG" in reasons["hostile/notes.txt"]
    assert "not a regular file" in reasons["hostile/pipe.png"]
    assert "a link to a folder that is searched already" in reasons["hostile/loop"]
    assert "hostile/new\\nline.jpg" in reasons
    print(f"{hostile} hostile files among {good} good ones, {len(set(reasons.values()))} different reasons")


def test_unreadable_files_and_folders_are_rejected(tmp_path, monkeypatch):
    save_drawings(tmp_path / "in", 10)
    (tmp_path / "in" / "secret").mkdir()
    listdir, read_bytes = os.listdir, folders.Path.read_bytes

    def refuse_folder(path):
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    def refuse_file(path):
        if path.name == "004.png":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(folders.os, "listdir", refuse_folder)
    monkeypatch.setattr(folders.Path, "read_bytes", refuse_file)
    reasons = dict(prepare(tmp_path / "in", tmp_path / "cache").facts["rejected"])
    assert set(reasons) == {"secret", "004.png"}
    assert all("Permission denied" in reason for reason in reasons.values())


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_pictures_are_one_sentence(tmp_path, count):
    (save_drawings(tmp_path / "in", count) / "notes.txt").write_text("hello")
    with pytest.raises(
        TrainError, match=rf"^--data must hold at least 8 different pictures; got {count} in .*notes.txt, because it is not"
    ):
        prepare(tmp_path / "in", tmp_path / "cache")


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(
        TrainError, match=r"^--data must be a folder of pictures, or a .zip, .tar, .* file of them; there is none at "
    ):
        prepare(tmp_path / "none", tmp_path / "cache")


def test_pictures_are_decoded_once(tmp_path, monkeypatch):
    first = prepare(save_drawings(tmp_path / "in", 12), tmp_path / "cache")
    monkeypatch.setattr(folders, "load", None)
    again = prepare(tmp_path / "in", tmp_path / "cache")
    assert again.key == first.key
    assert isinstance(again.pixels, np.memmap)
    assert np.array_equal(again.pixels, drawings(12))


def test_other_content_or_settings_make_another_cache(tmp_path):
    folder = save_drawings(tmp_path / "in", 12)
    keys = {
        prepare(folder, tmp_path / "cache", form=form).key
        for form in (FORM, PictureForm(16, 3), PictureForm(8, 1), PictureForm(8, 3, "black"))
    }
    drawing(77, 8).save(folder / "003.png")
    keys.add(prepare(folder, tmp_path / "cache").key)
    (folder / "005.png").rename(folder / "zzz.png")
    keys.add(prepare(folder, tmp_path / "cache").key)
    assert len(keys) == 6


def test_an_interrupted_cache_is_made_again(tmp_path):
    folder = save_drawings(tmp_path / "in", 12)

    def give_up(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.prepare(str(folder), None, FORM, tmp_path / "cache", give_up)
    assert len(prepare(folder, tmp_path / "cache").pixels) == 12
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_held_out_pictures_do_not_move_when_others_come(tmp_path):
    folder = save_drawings(tmp_path / "in", 40)
    before = prepare(folder, tmp_path / "cache", "5")
    drawing(99, 8).save(folder / "000 new.png")
    after = prepare(folder, tmp_path / "cache", "5")
    assert len(before.held_out) == len(after.held_out) == 5
    kept = {picture.tobytes() for picture in before.held_out} & {picture.tobytes() for picture in after.held_out}
    assert len(kept) >= 4
    assert not {picture.tobytes() for picture in after.pixels[after.train]} & {picture.tobytes() for picture in after.held_out}


def test_a_held_out_folder_inside_the_data_is_not_trained_on(tmp_path):
    folder = save_drawings(tmp_path / "in", 12)
    save_drawings(folder / "held", 3, seed=5)
    found = prepare(folder, tmp_path / "cache", str(folder / "held"))
    assert (len(found.train), len(found.held_out), found.facts["in_both"]) == (12, 3, 3)


@pytest.mark.parametrize("holdout", ["-1", "5", "12"])
def test_holding_out_too_many_is_refused(tmp_path, holdout):
    with pytest.raises(
        TrainError, match=r"^--holdout must leave at least 8 of the 12 usable pictures to train on, so be in 0..4; got"
    ):
        prepare(save_drawings(tmp_path / "in", 12), tmp_path / "cache", holdout)


def test_npz_pictures_are_averaged_to_half_their_size(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    found = prepare(tmp_path / "x.npz", tmp_path / "cache", "0")
    averages = x.reshape(12, 8, 2, 8, 2, 3).mean((2, 4))
    assert np.abs(found.pixels - averages).max() <= 0.5


@pytest.mark.parametrize("content", ["nothing", "text", "wrong type", "pickle", "no x"])
def test_a_broken_npz_is_one_sentence(tmp_path, content):
    path = tmp_path / "x.npz"
    arrays = {
        "wrong type": {"x": np.zeros((9, 8, 8, 3))},
        "pickle": {"x": np.array([{}], dtype=object)},
        "no x": {"y": np.zeros(3)},
    }
    if content in arrays:
        np.savez(path, **arrays[content])
    else:
        path.write_bytes(b"" if content == "nothing" else b"hello")
    with pytest.raises(TrainError, match=r"^--data .*x\.npz: "):
        prepare(path, tmp_path / "cache")


def test_grey_models_get_grey_pictures(tmp_path):
    found = prepare(save_drawings(tmp_path / "in", 12), tmp_path / "cache", form=PictureForm(8, 1))
    wanted = np.asarray(ImageOps.grayscale(Image.fromarray(drawings(12)[4])))
    assert np.array_equal(found.pixels[4, ..., 0], wanted)


def test_a_folder_one_level_too_high_lists_its_folders_and_names_what_is_to_be_held_out(tmp_path):
    for name, count in (("set/train/cats", 9), ("set/train/dogs", 10), ("set/val/cats", 4)):
        save_drawings(tmp_path / name, count, seed=count)
    text = data.report(prepare(tmp_path, tmp_path / "cache"))
    assert "folders: 19 in set/train/, 4 in set/val/" in text
    assert "set/val/ is among them and is trained on: if it is there to be held out, name it as --holdout" in text
    below = data.report(prepare(tmp_path / "set" / "train", tmp_path / "cache"))
    assert "folders: 10 in dogs/, 9 in cats/" in below
    assert "is among them" not in below
    apart = data.report(prepare(tmp_path / "set", tmp_path / "cache", str(tmp_path / "set" / "val")))
    assert "is among them" not in apart
    assert "folders" not in data.report(prepare(tmp_path / "set" / "train" / "cats", tmp_path / "cache"))


def test_the_same_pictures_are_the_same_data_wherever_and_among_whatever_they_lie(tmp_path):
    first = prepare(save_drawings(tmp_path / "in", 20), tmp_path / "cache")
    shutil.copytree(tmp_path / "in", tmp_path / "other" / "place")
    (tmp_path / "other" / "place" / "Thumbs.db").write_bytes(b"thumbs")
    moved = prepare(tmp_path / "other" / "place", tmp_path / "other cache")
    assert (moved.content, moved.key == first.key) == (first.content, False)
    drawing(77, 8).save(tmp_path / "in" / "003.png")
    assert prepare(tmp_path / "in", tmp_path / "cache").content != first.content
    assert prepare(tmp_path / "other" / "place", tmp_path / "cache", "2").content != first.content


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_an_archive_holds_the_data_of_its_folder(tmp_path, kind):
    save_drawings(tmp_path / "in" / "a", 12)
    (tmp_path / "in" / "a" / "001.json").write_text("{}")
    packed = prepare(shutil.make_archive(str(tmp_path / "x"), kind, tmp_path / "in"), tmp_path / "cache", "2")
    plain = prepare(tmp_path / "in", tmp_path / "cache", "2")
    assert np.array_equal(packed.pixels, plain.pixels)
    assert np.array_equal(packed.held_out, plain.held_out)
    assert (
        packed.facts["rejected"]
        == plain.facts["rejected"]
        == [["a/001.json", "it is not a picture in one of the formats " + ", ".join(images.formats())]]
    )


def test_many_files_rejected_alike_are_one_line(tmp_path):
    save_drawings(tmp_path / "in", 12)
    for i in range(30):
        (tmp_path / "in" / f"{i:02}.txt").write_text("a label")
    lines = data.report(prepare(tmp_path / "in", tmp_path / "cache")).splitlines()
    assert lines[-2] == "30 files rejected:"
    assert lines[-1].startswith("  30 .txt files, such as 00.txt: it is not a picture")


@pytest.mark.parametrize(("total", "count"), [(8, 0), (9, 1), (12, 2), (30, 5), (60, 8), (160, 8), (200, 10), (9000, 256)])
def test_of_few_pictures_more_are_held_out(total, count):
    assert data.usual_held_out(total) == count
