"""Pictures of every kind of source: folders, archives, tables and arrays, and what is said of those that are none."""

import base64
import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image, features

from ddim_app.media import folders, images
from ddim_app.media.folders import PictureFile, RejectedFile, SourceError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def png(pixels):
    return encoded(pixels, "PNG")


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


MEMBERS = {"a/0.png": png(PIXELS[0]), "a/1.json": b"{}", "a/1.png": png(PIXELS[1]), "b/2.png": png(PIXELS[2]), "b/none.png": b""}


def save(path):
    """The three pictures and two files that are none, as that kind of file."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("a")
            for name, content in reversed({**MEMBERS, "__MACOSX/a/._0.png": b"icon"}.items()):
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
            for name, content in MEMBERS.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    return path


@pytest.mark.parametrize("name", ["x.zip", "X.ZIP", "x.tar", "x.tar.gz", "x.tgz", "shard-000.v2.tar"])
def test_an_archive_gives_its_pictures_by_name(tmp_path, name):
    found = list(folders.contents(save(tmp_path / name) if name != "X.ZIP" else save(tmp_path / "x.zip").rename(tmp_path / name)))
    assert [file.name for file in found] == list(MEMBERS)  # of a zip in the order of their names
    assert found[-1] == RejectedFile("b/none.png", "it is empty")
    pictures = [folders.opened(found[i].content) for i in (0, 2)]
    assert pictures[0][0] == (8, 6, "RGB", "PNG", 1)
    for (_, picture), wanted in zip(pictures, PIXELS, strict=False):
        assert np.array_equal(np.asarray(picture), wanted)
    with pytest.raises(ValueError, match="it is not a picture in one of the formats JPEG"):
        folders.opened(found[1].content)


def test_a_damaged_member_of_a_zip_is_rejected_and_the_others_stay(tmp_path):
    whole = save(tmp_path / "x.zip").read_bytes()
    place = whole.index(b"a/1.png") + 60
    (tmp_path / "x.zip").write_bytes(whole[:place] + bytes(8) + whole[place + 8 :])
    found = list(folders.contents(tmp_path / "x.zip"))
    assert [file.name for file in found if isinstance(file, RejectedFile)] == ["a/1.png", "b/none.png"]
    assert found[2].reason.startswith("it cannot be unpacked (")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_archive_that_is_cut_short_is_one_sentence(tmp_path, name):
    path = save(tmp_path / name)
    path.write_bytes(path.read_bytes()[: 1800 if name == "x.tar" else -40])
    with pytest.raises(SourceError, match=rf"{name}: [^\n]+$"):
        list(folders.contents(path))


@pytest.mark.parametrize("name", ["x.npz", "x.npy"])
def test_arrays_give_their_pictures(tmp_path, name):
    np.savez(tmp_path / "x.npz", x=PIXELS)
    np.save(tmp_path / "x.npy", PIXELS)
    found = list(folders.contents(tmp_path / name))
    assert [file.name for file in found] == [f"{name}[{i}]" for i in range(3)]
    assert all(
        np.array_equal(np.asarray(folders.opened(file.content)[1]), wanted) for file, wanted in zip(found, PIXELS, strict=True)
    )


def test_arrays_of_another_kind_are_told_what_they_are(tmp_path):
    np.savez(tmp_path / "name.npz", images=PIXELS)
    np.save(tmp_path / "float.npy", PIXELS / 255)
    np.save(tmp_path / "first.npy", PIXELS.transpose(0, 3, 1, 2))
    for name, words in {
        "name": "the array x; it has images",
        "float": "got float64 (3, 6, 8, 3)",
        "first": "got uint8 (3, 3, 6, 8)",
    }.items():
        with pytest.raises(SourceError) as refused:
            list(folders.contents(next(tmp_path.glob(f"{name}.*"))))
        assert str(refused.value).endswith(words)


@pytest.mark.parametrize("nested", [True, False])
def test_a_parquet_file_gives_its_column_of_pictures(tmp_path, nested):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    data = [png(picture) for picture in PIXELS] + [None]
    column = [{"bytes": content, "path": "a.png"} for content in data] if nested else data
    parquet.write_table(arrow.table({"label": [1, 2, 3, 4], "image": column}), tmp_path / "x.parquet")
    found = list(folders.contents(tmp_path / "x.parquet"))
    assert found[-1] == RejectedFile("x.parquet[3]", "it is empty")
    assert all(np.array_equal(np.asarray(folders.opened(f.content)[1]), wanted) for f, wanted in zip(found, PIXELS, strict=False))
    parquet.write_table(arrow.table({"label": [1], "text": ["a"]}), tmp_path / "y.parquet")
    with pytest.raises(SourceError, match="no column holds pictures' bytes; it has label, text"):
        list(folders.contents(tmp_path / "y.parquet"))


def test_a_parquet_file_without_its_reader_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match=r"x.parquet: parquet files are read by pyarrow, .*: pip install pyarrow$"):
        list(folders.contents(tmp_path / "x.parquet"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(PIXELS[0]), "it is one picture; name the folder that it lies in"),
        (b"\0\0\0\x20ftypisom" + bytes(99), "it is a film: take pictures out of it"),
        (b"\x1aE\xdf\xa3" + bytes(99), "it is a film"),
        (b"Rar!\x1a\x07" + bytes(99), "it is an archive: unpack it"),
        (b"hello", "it is not a picture in one of the formats"),
        (b"", "it is not a picture in one of the formats"),
    ],
)
def test_any_other_file_is_told_what_it_is(tmp_path, content, words):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(SourceError, match=f"^must be a folder of pictures, or a .zip, .* is none: {words}"):
        folders.contents(tmp_path / "x")


def test_heic_is_named_where_it_cannot_be_read(monkeypatch):
    for name in ("pi_heif", "pillow_heif"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    images.formats.cache_clear()
    try:
        with pytest.raises(
            ValueError, match=r"^it is a HEIC picture: install its reader \(pip install pi-heif\), or convert it to JPEG$"
        ):
            folders.opened(HEIC + bytes(200))
    finally:
        images.formats.cache_clear()


def test_heic_is_read_where_its_reader_is_installed():
    pytest.importorskip("pi_heif")
    facts, picture = folders.opened(base64.b64decode(ORANGE))
    assert facts[:4] == (16, 16, "RGB", "HEIF")
    assert np.abs(np.asarray(picture).reshape(-1, 3).astype(int) - (200, 100, 50)).max() <= 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")
def test_avif_is_read_by_pillow_itself():
    facts, picture = folders.opened(encoded(np.full((16, 24, 3), (200, 100, 50), np.uint8), "AVIF"))
    assert facts[:4] == (24, 16, "RGB", "AVIF")
    assert np.abs(np.asarray(picture).reshape(-1, 3).astype(int) - (200, 100, 50)).max() <= 6


def test_folders_that_are_skipped_are_not_searched(tmp_path):
    for name in ("a/0.png", "run/1.png", "a/run/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(MEMBERS["a/0.png"])
    found = list(folders.contents(tmp_path, lambda folder: folder.name == "run"))
    assert found == [PictureFile("a/0.png", tmp_path / "a" / "0.png")]


ORANGE = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAA"
    "AAAERAAAEAAQAAAAABoAABAAAAAAAAADYAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAA"
    "AADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkA"
    "AAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAA"
    "AChjbGFwAAAAEAAAAAEAAAAQAAAAAf///9AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAPm"
    "1kYXQAAAAyKAGvBjIWZzSJIPC79f//9jb/ZfgDks1snrhH6GPH5LeQkZ70X3sYUuU8dCD0nFO5zYA="
)
"""A HEIC picture of 16 x 16 pixels, all of them (200, 100, 50)."""
