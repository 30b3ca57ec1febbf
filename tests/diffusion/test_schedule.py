"""Noise schedules and timestep grids."""

import doctest
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_app.diffusion import schedule
from ddim_app.diffusion.schedule import (
    CLEAN,
    SPACINGS,
    Schedule,
    betas,
    cumulative,
    even_in_log_snr,
    from_config,
    timesteps,
)
from tests.toys import LINEAR, SCHEDULES

OF_T = [spacing for spacing in SPACINGS if spacing != "log-snr"]
"""Those that T alone decides."""
EXACT = [spacing for spacing in OF_T if spacing != "quadratic-paper"]


def is_strictly_decreasing(values):
    return all(a > b for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("spacing", EXACT)
def test_every_step_count_gives_exactly_that_many_distinct_timesteps(spacing):
    for S in range(1, 1001):
        visited = timesteps(S, 1000, spacing)
        assert len(visited) == S, (spacing, S)
        assert is_strictly_decreasing(visited), (spacing, S)
        assert visited[-1] >= 0, (spacing, S)
        assert visited[0] <= 999, (spacing, S)


@given(st.data())
def test_grids_are_strictly_decreasing_for_any_number_of_train_timesteps(data):
    T = data.draw(st.integers(1, 4000), "T")
    S = data.draw(st.integers(1, T), "S")
    for spacing in EXACT:
        visited = timesteps(S, T, spacing)
        assert len(visited) == S
        assert is_strictly_decreasing(visited)
        assert visited[-1] >= 0
        assert visited[0] <= T - 1


@pytest.mark.parametrize("S", [1, 2, 7, 30, 61, 150, 333, 999, 1000])
def test_grids_follow_their_formulas(S):
    """Against numpy's float arithmetic, which agrees wherever nothing lies on an edge of rounding."""
    i = np.arange(S)
    assert timesteps(S, 1000, "leading")[::-1] == (i * 1000 // S).tolist()
    assert timesteps(S, 1000, "trailing") == (np.round(1000 - i * 1000 / S) - 1).tolist()
    if S > 1:
        assert timesteps(S, 1000, "linspace")[::-1] == np.round(i * 999 / (S - 1)).tolist()
        assert timesteps(S, 1000, "quadratic")[::-1] == np.maximum(i, 999 * i**2 // (S - 1) ** 2).tolist()


def test_grids_round_exact_halves_to_even():
    assert timesteps(16, 1000, "trailing")[-3:] == [187, 124, 61]  # 62.5 -> 62, 125, 187.5 -> 188; then less one
    assert timesteps(3, 6, "linspace") == [5, 2, 0]  # 2.5 -> 2


def test_grid_of_one_step():
    assert [timesteps(1, 1000, spacing) for spacing in EXACT] == [[0], [999], [999], [999]]


def test_leading_starts_below_the_noisiest_timestep_and_trailing_at_it():
    assert [timesteps(S, 1000, "leading")[0] for S in (10, 50)] == [900, 980]
    assert [timesteps(S, 1000, "trailing")[0] for S in (7, 10, 50)] == [999, 999, 999]


def test_quadratic_paper_is_the_reference_list_with_duplicates_merged():
    """The list of the DDIM authors' code; many entries fall together at the clean end, so fewer evaluations are needed."""
    merged = {}
    for S in (10, 30, 50, 100, 200, 500, 1000):
        reference = (np.linspace(0, np.sqrt(1000 * 0.8), S) ** 2).astype(int)
        visited = timesteps(S, 1000, "quadratic-paper")
        assert visited == sorted(set(reference.tolist()), reverse=True)
        merged[S] = len(visited)
    assert merged == {10: 10, 30: 29, 50: 49, 100: 96, 200: 187, 500: 422, 1000: 688}
    assert timesteps(10, 1000, "quadratic-paper")[0] == 800  # not 999: the list ends at 0.8 T


@pytest.mark.parametrize("S", [0, -1, 1001])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_step_counts_outside_the_chain_are_refused(S, spacing):
    with pytest.raises(ValueError, match=rf"steps must be in 1\.\.1000.*got {S}"):
        LINEAR.timesteps(S, spacing)


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_gives_exactly_that_many_distinct_timesteps_from_end_to_end(name):
    T = SCHEDULES[name].num_train_timesteps
    for S in range(1, T + 1):
        visited = SCHEDULES[name].timesteps(S, "log-snr")
        assert len(visited) == S
        assert is_strictly_decreasing(visited)
        assert visited[0] == T - 1
        assert visited[-1] == (0 if S > 1 else T - 1)


@given(st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1, max_size=40, unique=True), st.booleans(), st.data())
def test_log_snr_of_any_falling_table(values, is_zero_last, data):
    table = sorted({1 - 1e-9, *values}, reverse=True) + [0.0] * is_zero_last
    S = data.draw(st.integers(1, len(table)))
    places = even_in_log_snr(S, table)
    assert len(places) == len(set(places)) == S
    assert places == sorted(places)
    assert places[-1] == len(table) - 1
    assert places[0] == (0 if S > 1 else len(table) - 1)


def test_log_snr_is_even_where_timesteps_lie_close_enough():
    """A step in log-SNR from t = 999 to 0 of DDPM's schedule; near t = 0 whole timesteps lie as far apart as the steps."""
    log_snr = np.log(LINEAR.snr)
    visited = LINEAR.timesteps(10, "log-snr")
    steps = np.diff(log_snr[visited])
    assert np.abs(steps / ((log_snr[0] - log_snr[999]) / 9) - 1).max() < 0.11
    assert visited == [999, 886, 757, 603, 410, 202, 73, 22, 5, 0]
    # The cosine schedule falls so fast at its end that each timestep there is a step of its own.
    assert SCHEDULES["cosine"].timesteps(20, "log-snr")[:6] == [999, 998, 997, 996, 995, 994]


def test_log_snr_is_no_matter_of_t_alone():
    with pytest.raises(ValueError, match=r"spacing must be one of leading.*got 'log-snr'"):
        timesteps(5, 1000, "log-snr")


def test_unknown_spacing_is_refused():
    with pytest.raises(ValueError, match=r"spacing must be one of leading.*got 'karras'"):
        timesteps(5, 1000, "karras")


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_levels_rise_to_the_clean_level_which_comes_last_and_only_there(name, spacing):
    forward = SCHEDULES[name]
    for S in (1, 7, 13, 60):
        levels = forward.levels(S, spacing)
        assert levels[-1] == CLEAN == (0, 1.0)
        assert [level.is_clean for level in levels] == [False] * (len(levels) - 1) + [True]
        assert is_strictly_decreasing([-level.alpha_bar for level in levels])
        assert [level.t for level in levels[:-1]] == forward.timesteps(S, spacing)
        if spacing in OF_T:
            assert forward.timesteps(S, spacing) == timesteps(S, forward.num_train_timesteps, spacing)
        assert all(level.alpha_bar == forward.alphas_cumprod[level.t].item() for level in levels[:-1])


def test_explicit_timesteps_are_put_in_visiting_order():
    assert [level.t for level in LINEAR.levels_at([0, 50, 1, 100, 87])] == [100, 87, 50, 1, 0, 0]


@pytest.mark.parametrize("visited", [[], [5, 5], [-1, 3], [1000, 3]])
def test_explicit_timesteps_that_are_no_grid_are_refused(visited):
    with pytest.raises(ValueError, match=r"timesteps must be one or more distinct whole numbers in 0\.\.999"):
        LINEAR.levels_at(visited)


def test_epsilon_is_refused_where_alpha_bar_is_zero():
    """eps says nothing about x0 there (0/0); grids that start below it, and the other prediction types, remain usable."""
    table = cumulative(betas(), zero_terminal_snr=True)
    assert table[-1] == 0
    epsilon = Schedule(table)
    for spacing in ("trailing", "linspace", "quadratic", "log-snr"):
        with pytest.raises(ValueError, match=r"predicts epsilon.*t = 999, where alpha_bar is 0"):
            epsilon.levels(10, spacing)
    assert epsilon.levels(10, "leading")[0].t == 900
    for prediction_type in ("sample", "v_prediction"):
        assert Schedule(table, prediction_type).levels(10)[0] == (999, 0.0)


def test_ddpms_linear_schedule():
    """DDPM section 4; 0.6 % of the picture is left in x_T, and float32 would get 1 - alpha_bar_0 wrong in the fourth digit."""
    beta = betas()
    assert beta.dtype == torch.float64
    assert [beta[0].item(), beta[-1].item()] == pytest.approx([1e-4, 0.02], rel=1e-15)
    assert beta.diff().std() < 1e-17
    assert LINEAR.alphas_cumprod[999].sqrt().item() == pytest.approx(0.0063528, abs=1e-7)
    assert 1 - LINEAR.alphas_cumprod[0].item() == pytest.approx(1e-4, rel=1e-11)


def test_linear_betas_are_not_rescaled_for_another_number_of_timesteps():
    """A model knows only what it was trained on; a chain of 100 steps with the betas of 1000 keeps much of the picture."""
    short = from_config({"num_train_timesteps": 100})
    assert short.alphas_cumprod[-1].item() == pytest.approx(0.364, abs=1e-3)
    scaled = cumulative(betas("linear", 100, 1e-3, 0.2))
    assert scaled[-1] < 1e-4


def test_cosine_schedule_follows_its_formula_until_the_cap():
    T = 1000
    table = SCHEDULES["cosine"].alphas_cumprod
    f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(table[:-1], (f / f[0])[1:-1], rtol=1e-12)
    assert 1 - (table[-1] / table[-2]).item() == pytest.approx(0.999, rel=1e-12)


def test_zero_terminal_snr_keeps_the_first_entry_and_empties_the_last():
    plain, rescaled = cumulative(betas()), cumulative(betas(), zero_terminal_snr=True)
    assert rescaled[-1] == 0
    torch.testing.assert_close(rescaled[0], plain[0], rtol=1e-15, atol=0)
    ratio = rescaled.sqrt().diff() / plain.sqrt().diff()
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio), rtol=1e-9, atol=0)  # shifted and scaled, not bent


def test_snr_of_each_timestep():
    table = LINEAR.alphas_cumprod
    torch.testing.assert_close(torch.tensor(LINEAR.snr, dtype=torch.float64), table / (1 - table), rtol=1e-15, atol=0)


@pytest.mark.parametrize(
    "table", [[], [0.5, 0.5], [0.4, 0.5], [1.0, 0.5], [0.5, -0.1], [0.5, float("nan")], [0.9, 0.0, 0.0]], ids=str
)
def test_tables_that_are_no_forward_process_are_refused(table):
    with pytest.raises(ValueError, match="alphas_cumprod must"):
        Schedule(torch.tensor(table, dtype=torch.float64))


def test_float32_table_and_unknown_prediction_type_are_refused():
    with pytest.raises(ValueError, match="must be a float64 tensor"):
        Schedule(LINEAR.alphas_cumprod.float())
    with pytest.raises(ValueError, match="prediction_type must be one of epsilon, sample, v_prediction; got 'score'"):
        Schedule(LINEAR.alphas_cumprod, "score")


def test_config_of_an_old_layout():
    """google/ddpm-cifar10-32 has this file: `timesteps` for T, and an own word for clipping."""
    old = {"_class_name": "GaussianDDPMScheduler", "timesteps": 500, "beta_start": 0.001, "beta_end": 0.01,
           "beta_schedule": "linear", "variance_type": "fixed_large", "clip_predicted_image": False}  # fmt: skip
    read = from_config(old)
    assert (read.num_train_timesteps, read.variance, read.clip, read.prediction_type) == (500, "large", "off", "epsilon")
    torch.testing.assert_close(read.alphas_cumprod, cumulative(betas("linear", 500, 0.001, 0.01)), rtol=0, atol=0)


def test_config_defaults_are_those_of_diffusers():
    read = from_config({})
    assert (read.num_train_timesteps, read.variance, read.clip, read.clip_range) == (1000, "small", "clip", 1.0)
    assert read.prediction_type == "epsilon"
    assert torch.equal(read.alphas_cumprod, LINEAR.alphas_cumprod)


def test_config_keys_are_all_read():
    trained = [0.1, 0.2, 0.3]
    read = from_config({
        "num_train_timesteps": 1000, "trained_betas": trained, "prediction_type": "v_prediction",
        "variance_type": "fixed_large_log", "thresholding": True, "clip_sample_range": 1.5,
    })  # fmt: skip
    assert (read.num_train_timesteps, read.prediction_type, read.variance) == (3, "v_prediction", "large")
    assert (read.clip, read.clip_range) == ("dynamic", 1.5)
    np.testing.assert_allclose(read.alphas_cumprod, np.cumprod(1 - np.array(trained)), rtol=1e-15)
    assert from_config({"rescale_betas_zero_snr": True, "prediction_type": "sample"}).alphas_cumprod[-1] == 0
    assert from_config({"clip_sample": False}).clip == "off"
    assert from_config({"num_train_timesteps": 100.0}).num_train_timesteps == 100
    learned = from_config({"variance_type": "learned_range"})
    assert (learned.variance, learned.learned) == ("learned", "learned_range")


@pytest.mark.parametrize(("key", "prediction_type"), [(True, "epsilon"), (False, "sample")])
def test_what_the_network_predicts_in_the_words_of_2022(key, prediction_type):
    assert from_config({"predict_epsilon": key}).prediction_type == prediction_type
    assert from_config({"predict_epsilon": key, "prediction_type": "v_prediction"}).prediction_type == "v_prediction"


def test_steps_offset_cannot_lead_out_of_the_chain():
    """With steps_offset 1 and all steps, diffusers asks for timestep 1000 of 0..999."""
    visited = [level.t for level in from_config({"steps_offset": 1}).levels(1000, "leading")[:-1]]
    assert visited == list(range(999, -1, -1))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"num_train_timesteps": 0}, "num_train_timesteps must be a whole number from 1 to 100000; got 0"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps"),
        ({"num_train_timesteps": True}, "num_train_timesteps"),
        ({"timesteps": 10**9}, "num_train_timesteps"),
        ({"beta_schedule": "cubic"}, "beta_schedule must be one of linear.*got 'cubic'"),
        ({"beta_start": -1e-4}, "beta_start must be a number between 0 and 1; got -0.0001"),
        ({"beta_end": "0.02"}, "beta_end"),
        ({"trained_betas": [0.1, 1.5]}, "betas, each must be in"),
        ({"trained_betas": [0.1, float("nan")]}, "betas, each must be in"),
        ({"variance_type": "learned_somehow"}, "variance_type must be one of fixed_small"),
        ({"prediction_type": "flow"}, "prediction_type must be one of"),
    ],
    ids=str,
)
def test_config_values_out_of_range_are_named(config, named):
    with pytest.raises(ValueError, match=named):
        from_config(config)


def test_doctests():
    failed, attempted = doctest.testmod(schedule)
    assert attempted > 0
    assert failed == 0
