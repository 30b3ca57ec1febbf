"""Uploads: every picture file becomes a fitted picture, every other one a sentence."""

import io

import gradio as gr
import numpy as np
import pytest
from gradio.data_classes import ImageData
from PIL import Image

from ddim_app.errors import FieldError
from ddim_app.ui import uploads
from tests import toys
from tests.image_files import encoded, header_of

GIF = [Image.new("P", (9, 9), colour) for colour in (1, 2, 3)]


@pytest.mark.parametrize(
    "data",
    [
        encoded(GIF[0], "GIF", save_all=True, append_images=GIF[1:]),
        encoded(Image.new("CMYK", (9, 9), (9, 9, 9, 9)), "JPEG"),
        encoded(Image.fromarray(np.full((4, 4), 257 * 100, np.uint16))),
        encoded(Image.new("1", (4, 4), 1)),
        encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 0))),
        encoded(Image.new("L", (9, 9)), "TIFF", save_all=True, append_images=[Image.new("L", (5, 5))] * 50),
        encoded(Image.new("RGB", (1, 1))),
        encoded(Image.new("RGB", (1, 5000))),
        encoded(Image.new("RGB", (70_000, 2))),
        encoded(Image.new("RGB", (3000, 2000)), "JPEG"),
    ],
    ids=["animation", "cmyk", "16-bit", "bilevel", "alpha", "pages", "1x1", "1x5000", "wide", "large"],
)
def test_every_picture_is_fitted(data):
    assert uploads.fitted(data, (3, 8, 8)).tensor((3, 8, 8)).shape == (1, 3, 8, 8)
    size = uploads.opened(data).size
    assert min(size) <= uploads.SHORTER_SIDE
    assert max(size) <= uploads.MAX_SIDE


def test_a_panorama_keeps_its_detail():
    wide = Image.new("RGB", (6000, 1500))
    assert uploads.opened(encoded(wide)).size == (4096, 1024)
    assert uploads.opened(encoded(wide, "JPEG")).size == (4096, 1024)


def test_a_picture_turned_by_exif_is_upright():
    image = Image.new("RGB", (6, 2), "blue")
    exif = image.getexif()
    exif[0x0112] = 6
    assert uploads.opened(encoded(image, "JPEG", exif=exif)).size == (2, 6)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "must be chosen first"),
        (b"", "must be chosen first"),
        (b"plain text", "it is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "it is not a picture"),
        (b"%PDF-1.7", "it is not a picture"),
        (encoded(Image.fromarray(toys.pictures(1, (64, 64)).numpy()[0] > 0))[:-60], "broken or incomplete"),
        (header_of(30_000, 30_000), "more than 80 million pixels"),
    ],
    ids=["none", "empty", "text", "svg", "pdf", "cut", "bomb"],
)
def test_other_files_get_a_sentence(data, sentence):
    with pytest.raises(FieldError, match=sentence) as raised:
        uploads.opened(data)
    assert raised.value.field == "picture"


def test_the_component_hands_over_the_files_bytes(tmp_path):
    data = encoded(Image.new("RGB", (4, 4)))
    path = tmp_path / "x.png"
    path.write_bytes(data)
    component = uploads.upload("Picture", "picture")
    assert component.preprocess(ImageData(path=str(path))) == data
    assert component.preprocess(None) is None
    assert Image.open(io.BytesIO(data)).size == (4, 4)


def test_a_file_that_is_gone_gets_a_sentence_and_no_traceback(tmp_path):
    component = uploads.upload("Picture", "picture")
    with pytest.raises(gr.Error, match="no longer on the server") as raised:
        component.preprocess(ImageData(path=str(tmp_path / "gone.png")))
    assert not raised.value.print_exception
