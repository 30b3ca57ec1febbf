"""What a run starts from: pictures, seeds and floats as values that a recipe can carry."""

import base64
import io
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.diffusion.noise import initial_noise
from ddim_app.errors import FieldError
from ddim_app.runs import sources
from ddim_app.runs.sources import Crop, Source
from tests import toys

RAMP = Image.fromarray(np.arange(40 * 80 * 3, dtype=np.uint8).reshape(40, 80, 3))


def test_a_picture_of_the_models_size_keeps_every_value():
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    x = sources.of_image(Image.fromarray(values), (3, 8, 8)).tensor((3, 8, 8))
    assert (x.dtype, tuple(x.shape)) == (torch.float32, (1, 3, 8, 8))
    assert torch.equal(((x + 1) * 127.5).round()[0].permute(1, 2, 0).byte(), torch.from_numpy(values))
    assert float(x.abs().max()) <= 1


def test_a_grey_model_gets_grey():
    x = sources.of_image(Image.new("RGB", (8, 8), (100, 100, 100)), (1, 8, 8)).tensor((1, 8, 8))
    assert torch.allclose(x, torch.full_like(x, 100 / 127.5 - 1))


def test_models_of_other_channels_take_no_pictures():
    with pytest.raises(FieldError, match="this one has 4 channels"):
        sources.of_image(RAMP, (4, 8, 8))


def test_floats_come_back_to_the_bit_and_are_not_clamped():
    x = 3 * toys.pictures(1, (3, 8, 8)).float()
    assert torch.equal(sources.of_tensor(x[0]).tensor((3, 8, 8)), x)
    assert float(sources.of_pixels(x[0]).tensor((3, 8, 8)).abs().max()) == 1


def test_a_seed_is_its_noise():
    assert torch.equal(Source(seed=7).tensor((3, 8, 8)), initial_noise([7], (3, 8, 8)))


def test_a_source_goes_through_json():
    for value in (Source(seed=0), sources.of_image(RAMP, (3, 8, 8)), sources.of_tensor(torch.zeros(3, 2, 2))):
        assert Source.from_values(json.loads(json.dumps(asdict(value)))) == value


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (31, 17), (640, 480), (8, 8)])
@pytest.mark.parametrize("crop", [Crop(), Crop(0, 0), Crop(1, 1, 8), Crop(0.3, 0.9, 1.7)])
def test_any_size_is_fitted_and_its_crop_lies_inside(size, crop):
    left, top, right, bottom = crop.box(size, 9 / 5)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    assert sources.of_image(Image.new("RGB", size, (9, 8, 7)), (3, 5, 9), crop).tensor((3, 5, 9)).shape == (1, 3, 5, 9)


def test_a_crop_can_be_moved_and_made_smaller():
    assert Crop().box((80, 40), 1) == (20, 0, 60, 40)
    assert Crop(0, 0).box((80, 40), 1) == (0, 0, 40, 40)
    assert Crop(1, 1).box((80, 40), 1) == (40, 0, 80, 40)
    assert Crop(0, 1, 2).box((80, 40), 1) == (0, 20, 20, 40)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "must be one of a picture"),
        ({"seed": 1, "png": ""}, "must be one of a picture"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"png": 7}, "must be base64 text"),
    ],
)
def test_wrong_sources_get_a_sentence(values, sentence):
    with pytest.raises(FieldError, match=sentence):
        Source(**values)


def jpeg():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Source(png="!"), "must be base64 of a PNG picture"),
        (Source(png=base64.b64encode(b"no picture").decode()), "must be base64 of a PNG picture"),
        (Source(png=jpeg()), "must be base64 of a PNG picture"),
        (Source(floats="AAAA"), 'a safetensors file with a tensor "x"'),
        (sources.of_image(RAMP, (3, 4, 4)), "it is 3x4x4 .* not 3x8x8"),
        (sources.of_tensor(torch.full((3, 8, 8), torch.nan)), "has NaN or infinity"),
        (sources.of_tensor(torch.zeros(8)), "it is 8 "),
    ],
    ids=["base64", "bytes", "jpeg", "floats", "size", "nan", "flat"],
)
def test_sources_that_do_not_fit_get_a_sentence(value, sentence):
    with pytest.raises(FieldError, match=sentence):
        value.tensor((3, 8, 8))
