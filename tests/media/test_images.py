"""Tensors to pictures and files to pictures."""

import io

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from ddim_app.media import images
from tests import toys
from tests.image_files import encoded


def colour(image):
    return image.getpixel((0, 0))


def test_pixels_are_rounded_and_what_lies_outside_is_cut_off():
    x = torch.tensor([-9.0, -1.0, -1 + 1.2 / 255, 0.0, 1 - 0.8 / 255, 1.0, 9.0]).view(1, 1, 1, 7)
    pixels = images.to_pixels(x)
    assert pixels.dtype == np.uint8
    assert pixels.flatten().tolist() == [0, 0, 1, 128, 255, 255, 255]


def test_pixels_are_those_of_diffusers():
    x = toys.pictures(3, (3, 8, 8)).float()
    theirs = DDPMPipeline.numpy_to_pil((x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy())
    for ours, other in zip(images.to_pixels(x), theirs, strict=True):
        assert np.array_equal(ours, np.asarray(other))


@given(st.integers(0, 255))
def test_every_byte_comes_back_from_its_tensor(byte):
    x = torch.full((1, 3, 2, 2), byte / 127.5 - 1)
    assert (images.to_pixels(x) == byte).all()


def test_grey_and_colour_and_sides_that_differ():
    pixels = images.to_pixels(toys.pictures(2, (1, 4, 6)))
    assert pixels.shape == (2, 4, 6, 1)
    assert (images.to_pil(pixels[0]).mode, images.to_pil(pixels[0]).size) == ("L", (6, 4))
    assert images.to_pil(images.to_pixels(toys.pictures(1, (3, 4, 6)))[0]).mode == "RGB"


@pytest.mark.parametrize("channels", [1, 3])
def test_strip_is_the_pictures_side_by_side(channels):
    pixels = images.to_pixels(toys.pictures(3, (channels, 4, 6)))
    strip = np.asarray(images.side_by_side(pixels)).reshape(4, 18, channels)
    for i in range(3):
        assert np.array_equal(strip[:, 6 * i : 6 * i + 6], pixels[i])


def test_contact_sheet_has_each_picture_in_its_place():
    pixels = images.to_pixels(toys.pictures(5, (3, 4, 6)))
    sheet = np.asarray(images.contact_sheet(pixels, scale=2, gap=3))
    assert sheet.shape == (2 * 8 + 3, 3 * 12 + 2 * 3, 3)  # 3 columns: near a square
    for i in range(5):
        top, left = i // 3 * 11, i % 3 * 15
        assert np.array_equal(sheet[top : top + 8 : 2, left : left + 12 : 2], pixels[i])
        assert np.array_equal(sheet[top + 1 : top + 8 : 2, left + 1 : left + 12 : 2], pixels[i])
    assert (sheet[8:11] == 255).all()
    assert (sheet[11:, 30:] == 255).all()
    assert images.contact_sheet(pixels, columns=5).size == (30, 4)


def test_enlargement_is_the_smallest_whole_factor_that_reaches():
    assert [images.enlargement(*size) for size in ((32, 32), (8, 64), (255, 10), (256, 256), (1024, 3), (100, 1))] == [
        8, 4, 2, 1, 1, 3,
    ]  # fmt: skip


def test_png_keeps_pixels_and_texts():
    pixels = images.to_pixels(toys.pictures(1, (3, 8, 8)))[0]
    data = images.png_bytes(images.to_pil(pixels), [("recipe", '{"eta":"η"}'), ("seed", "7")])
    with Image.open(io.BytesIO(data)) as image:
        assert image.text == {"recipe": '{"eta":"η"}', "seed": "7"}
        assert np.array_equal(np.asarray(image), pixels)


# Files of others.


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG"])
def test_every_format_is_opened_as_rgb(kind):
    opened = images.open_picture(encoded(Image.new("RGB", (9, 5), (200, 30, 60)), kind, **{"JPEG": {"quality": 95}}.get(kind, {})))
    assert (opened.mode, opened.size) == ("RGB", (9, 5))
    assert colour(opened) == pytest.approx((200, 30, 60), abs=8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("L", (4, 4), 70), (70, 70, 70)),
        (Image.new("1", (4, 4), 1), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (200, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("LA", (4, 4), (10, 0)), (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 257 * 100, np.uint16)), (100, 100, 100)),
    ],
    ids=["grey", "bilevel", "transparent", "half", "grey-transparent", "16-bit"],
)
def test_every_mode_becomes_8_bit_rgb_over_white(image, expected):
    assert colour(images.open_picture(encoded(image))) == expected


def test_background_is_seen_through_transparency():
    data = encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 0)))
    assert colour(images.open_picture(data, background="black")) == (0, 0, 0)


def test_pictures_are_turned_upright():
    image = Image.new("RGB", (6, 2), "blue")
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    assert images.open_picture(encoded(image, "JPEG", exif=exif)).size == (2, 6)


def test_a_file_is_opened_like_its_bytes(tmp_path):
    data = encoded(Image.new("RGB", (4, 4), (1, 2, 3)))
    (tmp_path / "x.png").write_bytes(data)
    assert images.open_picture(tmp_path / "x.png").tobytes() == images.open_picture(data).tobytes()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is not a picture in one of the formats"),
        (b"not a picture at all", "it is not a picture in one of the formats"),
        (encoded(Image.new("RGB", (9, 9)), "PPM"), "it is not a picture in one of the formats"),
        (encoded(Image.fromarray(toys.pictures(1, (64, 64)).numpy()[0] > 0))[:-60], "it is broken or incomplete"),
        (encoded(Image.new("1", (9_000, 9_000))), "it has more than 80 million pixels: make it smaller"),
        (encoded(Image.new("1", (10_000, 9_000))), "it has more than 80 million pixels: make it smaller"),  # Pillow warns
    ],
    ids=["empty", "text", "format", "cut", "large", "larger"],
)
def test_files_that_cannot_be_used_get_a_sentence(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        images.open_picture(data)


def test_a_missing_file_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="it cannot be read"):
        images.open_picture(tmp_path / "none.png")


def test_fit_averages_blocks_when_the_side_shrinks_by_a_whole_factor():
    values = np.random.default_rng(0).integers(0, 256, (8, 12, 3))
    fitted = np.asarray(images.fit(Image.fromarray(values.astype(np.uint8)), 4, 6)).astype(float)
    assert np.abs(fitted - values.reshape(4, 2, 6, 2, 3).mean((1, 3))).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("size", [(8, 8), (31, 17), (3, 40), (1, 1), (64, 48)])
@pytest.mark.parametrize("target", [(8, 8), (5, 9)])
def test_fit_covers_any_size(size, target):
    assert images.fit(Image.new("RGB", size, "red"), *target).size == target[::-1]
    assert colour(images.fit(Image.new("RGB", size, (9, 8, 7)), *target)) == (9, 8, 7)


def test_fit_cuts_the_middle():
    values = np.zeros((4, 12, 3), np.uint8)
    values[:, 4:8] = 255
    assert (np.asarray(images.fit(Image.fromarray(values), 4, 4)) == 255).all()


def profile_with(**tags):
    """An ICC profile: Pillow's sRGB with the numbers of some of its tags replaced, s15Fixed16 as the ICC writes them."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(int.from_bytes(data[128:132], "big")):
        entry = data[132 + 12 * i : 144 + 12 * i]
        place = int.from_bytes(entry[4:8], "big") + 8
        for k, value in enumerate(tags.get(entry[:4].decode("ascii").strip(), ())):
            data[place + 4 * k : place + 4 * k + 4] = round(value * 65536).to_bytes(4, "big", signed=True)
    return bytes(data)


# The primaries of sRGB and of Display P3 under D50, as their published profiles have them.
SRGB = {"rXYZ": (0.43607, 0.22249, 0.01392), "gXYZ": (0.38515, 0.71687, 0.09708), "bXYZ": (0.14307, 0.06061, 0.7141)}
SWAPPED = profile_with(rXYZ=SRGB["bXYZ"], bXYZ=SRGB["rXYZ"])
P3 = profile_with(rXYZ=(0.51512, 0.2412, -0.00105), gXYZ=(0.29198, 0.69225, 0.04189), bXYZ=(0.1571, 0.06657, 0.78407))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colours_of_another_space_are_shown_in_srgb(kind, mode):
    if (kind, mode) == ("WEBP", "P"):
        pytest.skip("WebP has no palettes")
    picture = Image.new("RGB", (4, 4), (204, 51, 0)).convert(mode)  # one of the colours of the usual palette
    lossless = {"lossless": True} if kind == "WEBP" else {}
    seen = colour(images.open_picture(encoded(picture, kind, icc_profile=SWAPPED, **lossless)))
    assert np.abs(np.subtract(seen, (0, 51, 204))).max() <= 2


def test_display_p3_is_more_vivid_than_its_numbers():
    grey, red = (encoded(Image.new("RGB", (2, 2), rgb), icc_profile=P3) for rgb in ((120, 120, 120), (200, 100, 100)))
    assert np.abs(np.subtract(colour(images.open_picture(grey)), 120)).max() <= 1
    # By hand: 200 and 100 are 0.578 and 0.127 as light; P3 to sRGB takes R to 1.2249 R - 0.2249 G, G to -0.0420 R + 1.0420 G,
    # B to -0.0196 R - 0.0786 G + 1.0983 B.
    assert np.abs(np.subtract(colour(images.open_picture(red)), (215, 94, 97))).max() <= 2


@pytest.mark.parametrize("profile", [b"no profile", SWAPPED[:300]], ids=["text", "cut"])
def test_a_broken_profile_is_no_reason_to_refuse_a_picture(profile):
    data = encoded(Image.new("RGB", (2, 2), (200, 40, 0)), icc_profile=profile)
    assert colour(images.open_picture(data)) == (200, 40, 0)


def test_a_picture_with_a_profile_is_still_turned_by_exif():
    picture = Image.new("RGB", (6, 2), "blue")
    exif = picture.getexif()
    exif[0x0112] = 6
    assert images.open_picture(encoded(picture, "JPEG", exif=exif, icc_profile=SWAPPED)).size == (2, 6)
