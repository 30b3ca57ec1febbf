"""Links, texts and files that are no recipe: each is refused with one sentence, and none breaks its reader."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from ddim_app.errors import FieldError
from ddim_app.runs import codecs
from ddim_app.runs.base import BaseRecipe
from ddim_app.runs.codecs import read_file, read_text
from ddim_app.runs.sampling import Arm, Recipe

PICTURE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
USUAL = Recipe(arms=(Arm(steps=10), Arm(method="ddpm", steps=10)), seed=7, pictures=4)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("steps=0", "steps must be a whole number 1 or more; got 0"),
        ("steps=x", "steps must be a whole number 1 or more; got 'x'"),
        ("eta=nan", "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got 'nan'"),
        ("eta=1e400", "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got inf"),
        ("seed=-1", "seed must be a whole number from 0 to 4294967295; got -1"),
        ("seed=7&seed=8", "'seed' is there twice: keep one of them"),
        ("seed=<img src=x onerror=alert(1)>", "seed must be a whole number from 0 to 4294967295; got '<img src"),
        ("timesteps=5~x", "timesteps must be a whole number 0 or more; got 'x'"),
        ("kind=karras", "kind must be one of sampling"),
        ("v=2&steps=5", "version of this recipe is 2, and this app reads up to 1: take a newer app"),
        ("v=x&steps=5", "version must be a whole number from 1 to 1; got 'x'"),
        ("model=%00", "model must be the name of a model; got '\\x00'"),
        ("arm=method:karras", "method must be one of ddim, ddpm, 2m; got 'karras'"),
        ("&".join(["arm="] * 64), "arms must be 1 to 64 arms; got 65"),
        ("seed=" + "9" * 20_000, "link must have at most 16000 characters after its address; this one has 20005"),
        ("&".join(f"a{i}=1" for i in range(301)), "link must have at most 300 settings; this one has more"),
        ("arms={", "arms are given one by one, as arm"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_links_get_one_sentence(query, sentence):
    with pytest.raises(FieldError) as caught:
        read_text(f"?{query}")
    assert str(caught.value).startswith(sentence)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "recipe must be a link or the JSON of a recipe; there is nothing"),
        ("hello", "recipe must be a link with settings, or the JSON of a recipe; got 'hello'"),
        ("http://[bad?x=1", "recipe must be a link"),
        ("{", "recipe must be the JSON of a recipe; got '{'"),
        ("{}", "recipe lacks 'arms'"),
        ('{"arms": 3}', "recipe must be the JSON of a recipe"),
        ('{"arms": [3]}', "recipe must be the JSON of a recipe"),
        ('{"arms": [[]]}', "recipe must be the JSON of a recipe"),
        ('{"arms": []}', "arms must be 1 to 64 arms; got 0"),
        ('{"kind": ["x"], "arms": []}', "kind must be one of"),
        ('{"version": 2}', "version of this recipe is 2, and this app reads up to 1: take a newer app"),
        ('{"version": 1e999}', "version of this recipe is inf"),
        ('{"arms": [{"eta": NaN}]}', "eta must be a number from 0 to 2"),
        ('{"arms": [{}], "seed": ' + "9" * 5000 + "}", "recipe must be the JSON of a recipe"),
        ("{" + '"a":[' * 100_000, "recipe must be the JSON of a recipe"),
        ('{"arms": [{}], "model": "\\ud800"}', "model must be the name of a model"),
        ('{"arms": [{}], "model": "../../etc/passwd\\n"}', "model must be the name of a model"),
        ('{"a":"' + "x" * 5_000_000 + '"}', "recipe must have at most 4000000 characters; this one has 5000008"),
    ],
    ids=lambda value: value[:30],
)
def test_bad_texts_get_one_sentence(text, sentence):
    with pytest.raises(FieldError) as caught:
        read_text(text)
    assert str(caught.value).startswith(sentence)
    assert len(str(caught.value)) < 300


def refusal(reader, given):
    """The FieldError, None where a recipe comes of it; anything else gets through and fails the test."""
    try:
        assert isinstance(reader(given).recipe, BaseRecipe)
    except FieldError as error:
        return error


@given(st.text(max_size=60) | st.text('{}[]":,=&?%~arms0123vkind', max_size=60))
def test_no_text_breaks_the_reader(text):
    assert len(str(refusal(read_text, text))) < 300


# Files.


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def with_text(*entries: tuple[str, str], zip: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in entries:
        info.add_text(key, value, zip=zip)
    return saved(PICTURE, "PNG", pnginfo=info)


def bomb() -> bytes:
    """A PNG whose recipe is 200 kB of data that unpack to 50 MB."""
    body = b"ddim_recipe\0\0" + zlib.compress(b"[" * 50_000_000, 1)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    plain = saved(PICTURE, "PNG")
    return plain[:33] + chunk + plain[33:]


def test_other_programs_may_write_the_text_otherwise():
    for packed in (False, True):
        assert read_file(with_text(("Software", "x"), ("ddim_recipe", USUAL.to_json()), zip=packed)).recipe == USUAL
    assert read_file(USUAL.to_json().encode()).recipe == USUAL


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: saved(PICTURE, "PNG"), "file carries no recipe: it is not one of this app's pictures, or was saved anew"),
        (lambda: with_text(("parameters", "steps: 20")), "file carries no recipe"),
        (lambda: with_text(("ddim_recipe", "{")), "recipe must be the JSON of a recipe; got '{'"),
        (lambda: with_text(("ddim_recipe", '{"version": 7}')), "version of this recipe is 7, and this app reads up to 1"),
        (lambda: saved(PICTURE, "JPEG"), "file is a JPEG picture, whatever its name says: only the PNG files"),
        (lambda: saved(PICTURE, "WEBP"), "file is a WebP picture"),
        (lambda: codecs.png(PICTURE, USUAL)[:-20], "file is cut off or damaged"),
        (lambda: codecs.png(PICTURE, USUAL)[:60], "file is cut off or damaged"),
        (
            lambda: codecs.png(PICTURE, USUAL).replace(b'"seed":7', b'"seed":8'),
            "file is damaged: the checksum of its recipe is wrong",
        ),
        (lambda: b"", "file is neither a PNG picture nor a recipe's JSON"),
        (lambda: b"{\xff", "file must be the JSON of a recipe in UTF-8"),
        (lambda: bytes(50_000_000), "file must have at most 10 MB; this one has 50 MB"),
        (bomb, "file carries a recipe of more than 4000000 characters"),
    ],
)
def test_bad_files_get_one_sentence(make, sentence):
    data = make()
    with pytest.raises(FieldError) as caught:
        read_file(data)
    assert str(caught.value).startswith(sentence)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_damage_breaks_the_reader(at, byte):
    data = bytearray(codecs.png(PICTURE, USUAL))
    data[at % len(data)] = byte
    error = refusal(read_file, bytes(data))
    assert len(str(error)) < 300
    assert error or read_file(bytes(data)).recipe == USUAL
