"""Guidance on networks whose output is a formula of the class: in closed form, and rows of many classes in one batch."""

import pytest
import torch

from ddim_app.diffusion.sampler import Query, Row, answer, sample
from tests import toys
from tests.toys import LINEAR

NULL = 3
LEVELS = LINEAR.levels(7)


def eps(x, t, y):
    """A network of four classes, the last of which is the null class."""
    return toys.network(x, t) * (1 + 0.2 * y.to(x.dtype).view(-1, 1, 1, 1)) + 0.1 * (y.to(x.dtype).view(-1, 1, 1, 1) - 1).sin()


def wide(x, t, y):
    return torch.cat((eps(x, t, y), (3 * x + y.view(-1, 1, 1, 1)).sin()), 1)


def of(y, network=eps):
    """The network of one class alone."""
    return lambda x, t: network(x, t, torch.full_like(t, y))


def between(y, w, network=eps):
    """The network that guidance stands for."""
    return lambda x, t: of(NULL, network)(x, t) + w * (of(y, network)(x, t) - of(NULL, network)(x, t))


@pytest.mark.parametrize("w", [0.5, 2.0, 7.5])
@pytest.mark.parametrize("settings", [{}, {"clip": "clip"}, {"clip": "dynamic"}, {"eta": 1.0, "draw": toys.keyed_draw(3)}], ids=str)
def test_a_guided_row_is_that_of_the_guided_network(w, settings):
    x = toys.pictures()
    expected = toys.final(x, [Row(LEVELS, **settings)] * 2, between(1, w))
    got = toys.final(x, [Row(LEVELS, classes=(1, NULL), guidance=w, **settings)] * 2, eps)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction_type", ["v_prediction", "sample"])
def test_guidance_of_other_predictions_is_that_of_eps(prediction_type):
    """What is null + w (class - null) of v or of pred_x0 is so of the eps that they stand for."""

    def predicted(x, t, y):
        alpha_bar = LINEAR.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = eps(x, t, y)
        pred_x0 = (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        return pred_x0 if prediction_type == "sample" else alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * pred_x0

    x, levels = toys.pictures(), LINEAR.levels(20)[5:]
    expected = toys.final(x, [Row(levels)] * 2, between(2, 3.0))
    row = Row(levels, classes=(2, NULL), guidance=3.0, prediction_type=prediction_type)
    torch.testing.assert_close(toys.final(x, [row] * 2, predicted), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("y", [0, 2, NULL])
def test_an_unguided_row_is_that_of_its_class_to_the_bit(y):
    x = toys.pictures()
    assert torch.equal(toys.final(x, [Row(LEVELS, classes=(y,))] * 2, eps), toys.final(x, [Row(LEVELS)] * 2, of(y)))


def test_rows_of_many_classes_and_weights_stand_in_one_batch():
    """Each is what it is alone; some are guided, and they do not end together."""
    rows = [
        Row(LEVELS, classes=(0,)), Row(LINEAR.levels(4), classes=(1, NULL), guidance=4.0), Row(LEVELS, classes=(NULL,)),
        Row(LEVELS, classes=(2, NULL), guidance=1.5, clip="clip"), Row(LINEAR.levels(3), classes=(2,)),
    ]  # fmt: skip
    x = toys.pictures(len(rows))
    together = toys.final(x, rows, eps)
    for i, row in enumerate(rows):
        assert torch.equal(together[i : i + 1], toys.final(x[i : i + 1], [row], eps))


def test_a_learned_variance_stays_that_of_the_class():
    def guided_mean(x, t):
        return torch.cat((between(1, 5.0)(x, t), of(1, wide)(x, t)[:, 1:]), 1)

    settings = {"eta": 1.0, "variance": "learned_range", "draw": toys.keyed_draw(3)}
    x = toys.pictures()
    expected = toys.final(x, [Row(LEVELS, **settings)] * 2, guided_mean)
    got = toys.final(x, [Row(LEVELS, classes=(1, NULL), guidance=5.0, **settings)] * 2, wide)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_a_guided_row_asks_for_two_evaluations():
    rows = [Row(LEVELS, classes=(0,)), Row(LEVELS, classes=(1, NULL), guidance=2.0)]
    assert [row.nfe for row in rows] == [7, 14]
    process = sample(toys.pictures(2), rows)
    query = next(process)
    assert (list(query.t), query.classes) == ([LEVELS[0].t] * 3, [0, 1, NULL])
    assert [move is None for move in query.moves] == [False, False, True]
    assert torch.equal(query.x_t[1], query.x_t[2])
    moved = process.send(answer(query, eps(query.x_t, torch.tensor(query.t), torch.tensor(query.classes))))
    assert not isinstance(moved, Query)
    assert len(moved.x_next) == 2
