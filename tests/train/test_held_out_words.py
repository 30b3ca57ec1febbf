"""What is said of held-out losses: only what is more than chance is called learning or getting worse."""

import math

import numpy as np
import pytest

from ddim_app.train import held_out_words
from tests.train.losses import course, line


def test_the_error_covers_19_of_20_changes():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        before = rng.normal(1, 0.3, 5)
        now = 0.9 * before + rng.normal(0, 0.02, 5)
        found = held_out_words.change(line(1, *now), line(0, *before))
        covered += abs(found.part + 0.1) <= found.error
    assert 0.92 <= covered / 400 <= 0.98


def test_a_change_in_words():
    assert str(held_out_words.Change(-0.123, 0.04)) == "12 ± 4 % lower"
    assert str(held_out_words.Change(0.02, None)) == "2.0 % higher"
    assert str(held_out_words.Change(-0.5, 0.004)) == "50.0 ± 0.4 % lower"


@pytest.mark.parametrize(
    ("means", "meaning"),
    [
        ([1.0], "(the error on pictures that are not trained on, the lower the better), before anything is learned"),
        ([1.0, 0.5], "it is learning"),
        ([1.0, 0.5, 0.4999], "no more than chance, so far"),
        ([1.0, 0.5, 0.4999, 0.5001], "it has stalled"),
        ([1.0, 0.5, 0.6], "it is getting worse since step 100"),
        ([1.0, 0.5, 0.6, 0.55], "it is getting worse since step 100"),
        ([1.1, 1.73], "it is worse than what it began with; start again with a smaller --lr"),
        ([1.0, 0.5, 0.4999, 0.3], "it is learning"),
    ],
)
def test_what_a_course_means(means, meaning):
    assert held_out_words.words(course(*means)).endswith(meaning)


def test_the_words_have_the_changes_since_the_start_and_the_last_look():
    assert held_out_words.words(course(1.0, 0.5, 0.4, spread=0.05)) == (
        "held-out loss 0.4000, 60.0 ± 0.0 % lower than at the start and 20 ± 7 % lower than at the last look: it is learning"
    )


def test_one_held_out_picture_cannot_tell():
    assert "a single held-out picture cannot tell" in held_out_words.words([line(0, 1.0), line(1, 0.5)])
    assert "at the start" in held_out_words.words([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}])  # of an older run


def test_a_loss_that_is_no_number_is_worse():
    assert held_out_words.Change(math.nan, 0.1).is_higher
