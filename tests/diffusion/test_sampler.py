"""The sampling process: rows of any kind side by side, each as if it were alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_app.diffusion import formulas
from ddim_app.diffusion.formulas import CLIP_RULES
from ddim_app.diffusion.noise import BrownianPath
from ddim_app.diffusion.sampler import Query, Row, Step, answer, drive, sample
from ddim_app.diffusion.schedule import Schedule
from tests import toys
from tests.toys import LINEAR, SCHEDULES

VARIANCES = ("small", "large", "learned", "learned_range")
levels = st.one_of(
    st.tuples(st.integers(1, 12), st.sampled_from(["leading", "trailing", "linspace", "quadratic"])).map(
        lambda grid: LINEAR.levels(*grid)
    ),
    st.sets(st.integers(0, 999), min_size=1, max_size=8).map(lambda visited: LINEAR.levels_at(list(visited))),
)
single_step_rows = st.builds(
    Row,
    levels,
    eta=st.sampled_from([0.0, 0.4, 1.0, 2.0]),
    variance=st.sampled_from(VARIANCES),
    clip=st.sampled_from(CLIP_RULES),
    draw=st.integers(0, 1000).map(toys.keyed_draw),
)
rows = single_step_rows | st.builds(Row, levels, clip=st.sampled_from(CLIP_RULES), multistep=st.just(True))


def as_if_alone(x, row, **options):
    return toys.final(x[None], [row], toys.wide_network, **options)[0]


@given(st.lists(rows, min_size=1, max_size=7), st.sampled_from(["epsilon", "sample", "v_prediction"]))
@settings(max_examples=60)
def test_any_mixture_of_rows_is_each_row_alone(mixture, prediction_type):
    x = 2 * toys.pictures(len(mixture))
    together = toys.final(x, mixture, toys.wide_network, prediction_type=prediction_type, clip_range=1.5)
    alone = [as_if_alone(x[i], row, prediction_type=prediction_type, clip_range=1.5) for i, row in enumerate(mixture)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-12)


@given(rows, st.integers(1, 8))
@settings(max_examples=40)
def test_a_batch_of_n_is_n_singles(row, n):
    x = toys.pictures(n, seed=n)
    together = toys.final(x, [row] * n, toys.wide_network)
    torch.testing.assert_close(together, torch.stack([as_if_alone(x[i], row) for i in range(n)]), rtol=0, atol=1e-12)


def test_one_evaluation_serves_all_rows_and_finished_rows_leave():
    mixture = [Row(LINEAR.levels_at(visited)) for visited in ([900, 500, 100], [700], [999, 0])]
    asked = []

    def predict(x, t):
        asked.append(t.tolist())
        assert t.dtype == torch.int64
        return toys.network(x, t)

    steps = toys.run(toys.pictures(3), mixture, predict)
    assert asked == [[900, 700, 999], [500, 0], [100]]
    assert [step.rows for step in steps] == [(0, 1, 2), (0, 2), (0,)]
    assert [step.k for step in steps] == [0, 1, 2]
    assert [len(step.x_next) for step in steps] == [len(step.pred_x0) for step in steps] == [len(step.eps) for step in steps]
    assert sum(map(len, asked)) == sum(row.transitions for row in mixture)


def test_a_step_tells_what_became_of_its_rows():
    x = toys.pictures(2)
    visited = LINEAR.levels_at([800, 300])
    process = sample(x, [Row(visited)] * 2)
    query = next(process)
    assert isinstance(query, Query)
    assert torch.equal(query.x_t, x)
    eps = toys.network(x, torch.tensor(query.t))
    step = process.send(answer(query, eps))
    assert isinstance(step, Step)
    assert torch.equal(step.eps, eps)
    assert torch.equal(step.pred_x0, formulas.predict_x0(x, eps, visited[0].alpha_bar))
    torch.testing.assert_close(step.x_next, formulas.ddim_step(step.pred_x0, eps, visited[1].alpha_bar), rtol=0, atol=1e-15)
    assert torch.equal(next(process).x_t, step.x_next)


@pytest.mark.parametrize("clip", CLIP_RULES)
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_pred_x0_and_eps_explain_x_t_after_any_clipping(clip, prediction_type):
    """eps is derived again from the clipped pred_x0; with the network's own eps the two would belong to another x_t."""
    visited = LINEAR.levels(12)
    x = 2 * toys.pictures(2)
    touched = 0
    for step in toys.run(x, [Row(visited, clip=clip)] * 2, prediction_type=prediction_type):
        cur = visited[step.k]
        torch.testing.assert_close(formulas.add_noise(step.pred_x0, step.eps, cur.alpha_bar), x, rtol=0, atol=1e-12)
        output = toys.network(x, torch.full((2,), cur.t))
        plain, _ = formulas.denoise(output, x, cur.alpha_bar, prediction_type)
        touched += not torch.allclose(plain, step.pred_x0)
        if clip == "clip":
            assert torch.equal(step.pred_x0, plain.clamp(-1, 1)) or touched
        x = step.x_next
    assert (touched > 0) == (clip != "off")


@pytest.mark.parametrize("clip", ["clip", "dynamic"])
@pytest.mark.parametrize("clip_range", [1.0, 2.5])
def test_clipped_runs_stay_in_range_and_end_in_it(clip, clip_range):
    steps = toys.run(4 * toys.pictures(3), [Row(LINEAR.levels(9), clip=clip)] * 3, clip_range=clip_range)
    assert max(step.pred_x0.abs().max() for step in steps) == clip_range
    assert torch.equal(steps[-1].x_next, steps[-1].pred_x0)


def test_noise_is_asked_for_by_transition_and_only_where_it_is_added():
    visited = LINEAR.levels_at([900, 500, 100])
    for eta, expected in ((0.0, []), (0.5, [(900, 500), (500, 100)])):
        asked = []

        def draw(cur, nxt, asked=asked):
            asked.append((cur, nxt))
            return torch.zeros(1, 2, 2)

        toys.run(toys.pictures(1), [Row(visited, eta, draw=draw)])
        assert asked == expected


def test_a_row_that_adds_noise_must_have_some():
    mixture = [Row(LINEAR.levels(3)), Row(LINEAR.levels(3), eta=0.5)]
    with pytest.raises(ValueError, match=r"row 1 adds noise \(eta 0.5, variance 'small'\) but has no draw"):
        toys.run(toys.pictures(2), mixture)


def test_large_variance_adds_more_of_the_same_noise_and_moves_nothing_else():
    cur, nxt = LINEAR.level(500), LINEAR.level(300)
    z = toys.keyed_draw(0)(500, 300)
    x = toys.pictures(1).repeat(2, 1, 1, 1)
    pair = [Row([cur, nxt], 1.0, variance, draw=toys.keyed_draw(0)) for variance in ("small", "large")]
    small, large = toys.final(x, pair)
    more = formulas.sigma_hat(cur.alpha_bar, nxt.alpha_bar) - formulas.ddim_sigma(cur.alpha_bar, nxt.alpha_bar, 1.0)
    torch.testing.assert_close(large - small, more * z, rtol=0, atol=1e-12)
    assert more > 0.05


def test_a_run_follows_the_noise_path_of_its_seed():
    """Two lists of timesteps of one seed: the noise added between 800 and 200 is the same in both."""
    ends = []
    for visited in ([800, 200], [999, 800, 200]):
        path = BrownianPath(LINEAR, (1, 2, 2), 7)
        asked = {}
        draw = lambda cur, nxt, path=path, asked=asked: asked.setdefault((cur, nxt), path.between(cur, nxt))  # noqa: E731
        toys.run(toys.pictures(1), [Row(LINEAR.levels_at(visited), 1.0, draw=draw)])
        ends.append(asked[800, 200])
    assert torch.equal(*ends)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_update_is_made_in_the_pictures_dtype(dtype):
    row = Row(LINEAR.levels(20), 1.0, clip="clip", draw=toys.keyed_draw(3))
    for step in toys.run(toys.pictures(2).to(dtype), [row] * 2, lambda x, t: toys.network(x, t).float()):
        assert step.x_next.dtype == step.pred_x0.dtype == step.eps.dtype == dtype


def test_float32_is_close_to_float64():
    row = Row(LINEAR.levels(50), 1.0, clip="clip", draw=toys.keyed_draw(3))
    x = toys.pictures(2)
    torch.testing.assert_close(toys.final(x.float(), [row] * 2).double(), toys.final(x, [row] * 2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_zero_terminal_snr_stays_finite(prediction_type):
    """alpha_bar = 0 at the first level: nothing may be divided by its root. (epsilon is refused: test_schedule.)"""
    schedule = Schedule(SCHEDULES["zero-snr"].alphas_cumprod, prediction_type)
    first = schedule.levels(10)
    assert first[0].alpha_bar == 0
    mixture = [
        Row(first, eta, variance, clip, toys.keyed_draw(1))
        for eta in (0.0, 0.5, 1.0, 2.0) for variance in VARIANCES for clip in CLIP_RULES
    ]  # fmt: skip
    x = toys.pictures(1).repeat(len(mixture), 1, 1, 1)
    for step in toys.run(x, mixture, toys.wide_network, prediction_type=prediction_type):
        assert step.x_next.isfinite().all()
        assert step.pred_x0.isfinite().all()
        assert step.eps.isfinite().all()


def test_driving_stops_with_its_reader():
    """Nothing is evaluated ahead, and a reader who goes away closes the process."""
    calls = []

    def predict(x, t):
        calls.append(len(t))
        return toys.network(x, t)

    process = sample(toys.pictures(1), [Row(LINEAR.levels(10))])
    steps = drive(process, predict)
    assert not calls
    next(steps)
    next(steps)
    assert len(calls) == 2
    steps.close()
    assert process.gi_frame is None
    assert len(calls) == 2


def test_no_rows_take_no_evaluations():
    assert toys.run(torch.zeros(0, 1, 2, 2), [], lambda x, t: pytest.fail("asked")) == []
