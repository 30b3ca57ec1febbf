"""What is said of samples: copies of training pictures, and colours that are not the data's."""

import numpy as np
import pytest

from ddim_app.train.data import TrainingData
from ddim_app.train.sample_check import MANY, Nearest, SampleCheck, check_samples, nearest
from tests.train_tools import drawings


def data(pixels, held_out):
    train = np.arange(len(pixels))
    return TrainingData("key", "content", pixels, train, held_out, [], np.arange(len(held_out)), [], {})


def noisy(pixels, spread, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def test_the_nearest_training_picture_is_found():
    pixels = drawings(60)
    nearly = pixels[[11, 42]].copy()
    nearly[:, 0, 0] ^= 1
    found = nearest(nearly, pixels, np.arange(40), lambda: None)
    assert found.which[0] == 11
    assert found.which[1] != 42  # it is not trained on
    assert found.psnr[0] > 40


ALL = drawings(140)
DATA = data(ALL[:100], ALL[100:116])


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (ALL[116:132], "samples are no copies, "),
        (noisy(ALL[:16], 6), "samples are copies of training pictures, 0."),
        (noisy(ALL[:16], 30), "samples come near to single training pictures, 0."),
    ],
)
def test_copies_are_told_from_pictures_of_the_same_kind(samples, words):
    found = check_samples(samples, DATA, lambda: None)
    assert words in found.words
    assert bool([each for each in found.warnings if "training pictures" in each]) == ("no copies" not in words)


def test_a_blurred_sample_is_nobodys_copy():
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (116, 8, 8, 3)).astype(np.uint8)
    mean = np.full((16, 8, 8, 3), 128, np.uint8)
    found = check_samples(mean, data(pictures[16:], pictures[:16]), lambda: None)
    assert found.warnings == []
    assert 0.7 < found.distance < 0.8


def test_a_tint_is_said_with_its_channel_and_nothing_else_is():
    rng = np.random.default_rng(3)
    grey = rng.integers(100, 140, (116, 8, 8, 3)).astype(np.uint8)
    tinted = grey[:16].copy()
    tinted[..., 0] += 20
    found = check_samples(tinted, data(grey[16:], grey[:0]), lambda: None)
    red = f"red {found.colour[0]:+.0f} ± {2 * found.colour_error[0]:.0f} of 255"
    assert found.warnings == [f"samples are tinted: {red}; early in a run that is usual, and more steps mend it"]
    assert found.colour[0] == pytest.approx(20, abs=3)
    assert found.distance is None
    assert check_samples(grey[:16], data(grey[16:], grey[:0]), lambda: None).warnings == []


def test_false_alarms_of_tints_are_few():
    rng = np.random.default_rng(6)
    pictures = np.broadcast_to(rng.integers(0, 256, (8800, 1, 1, 3)), (8800, 2, 2, 3)).astype(np.uint8)
    known = data(pictures[:800], pictures[:0])
    alarms = sum(bool(check_samples(part, known, lambda: None).warnings) for part in np.split(pictures[800:], 500))
    assert alarms <= 4  # of 500 looks at 16 samples


def test_while_a_run_goes_only_some_of_many_pictures_are_searched():
    many = data(np.zeros((2 * MANY + 1, 1, 1, 3), np.uint8), np.zeros((0, 1, 1, 3), np.uint8))
    many.pixels[1] = 255
    sample = np.full((2, 1, 1, 3), 250, np.uint8)
    assert check_samples(sample, many, lambda: None).nearest.which != [1, 1]
    assert check_samples(sample, many, lambda: None, most=None).nearest.which == [1, 1]


def test_the_log_line_has_the_figures():
    found = SampleCheck(Nearest([0], [20.0]), [20.0], [1.0], [0.5])
    assert found.facts == {"kind": "samples", "distance": 1.0, "colour": [1.0], "colour_error": [0.5]}
