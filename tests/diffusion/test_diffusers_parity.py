"""Held against the installed diffusers: the same chains where it is right, and by how much it is wrong where it is not.

diffusers keeps its tables in float32. For the loops its scheduler is handed our float64 table, so that formulas are compared
at 1e-12 and not tables; those are compared on their own.
"""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from ddim_app.diffusion import formulas
from ddim_app.diffusion.sampler import Row
from ddim_app.diffusion.schedule import Schedule, betas, cumulative, from_config, timesteps
from tests import toys
from tests.diffusion.parity import close, ddpm_loop, drawn_by_ddpm, in_float64
from tests.toys import LINEAR


def ddim_loop(scheduler, x, num_steps, predict=toys.network, draw=None, **step):
    scheduler.set_timesteps(num_steps)
    visited = scheduler.timesteps.tolist()
    for t, t_next in itertools.zip_longest(visited, visited[1:], fillvalue=0):
        noise = draw(t, t_next)[None] if draw else None
        x = scheduler.step(predict(x, torch.full((len(x),), t)), t, x, variance_noise=noise, **step).prev_sample
    return x


# Where diffusers is right.


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "trained_betas"])
@pytest.mark.parametrize("zero_snr", [False, True])
def test_beta_schedules_are_those_of_diffusers_at_float32_precision(kind, zero_snr):
    config = {"rescale_betas_zero_snr": zero_snr, "prediction_type": "v_prediction"}
    if kind == "trained_betas":
        config["trained_betas"] = torch.linspace(0.01, 0.3, 20).tolist()
    else:
        config |= {"beta_schedule": kind, "beta_start": 0.00085, "beta_end": 0.012}
    theirs, ours = DDPMScheduler(**config).alphas_cumprod.double(), from_config(config).alphas_cumprod
    torch.testing.assert_close(ours, theirs, rtol=3e-4, atol=1e-9)  # a float32 product of 1000 factors drifts
    torch.testing.assert_close(ours[:10], theirs[:10], rtol=2e-6, atol=0)
    assert (ours[-1] == 0) == (theirs[-1] == 0) == zero_snr


def test_add_noise_is_that_of_diffusers():
    x0, noise = toys.pictures(4).chunk(2)
    t = torch.tensor([3, 700])
    theirs = in_float64(DDPMScheduler()).add_noise(x0, noise, t)
    close(formulas.add_noise(x0, noise, LINEAR.alphas_cumprod[t]), theirs)


@pytest.mark.parametrize(("S", "eta"), [*itertools.product([1, 2, 10, 50], [0.0, 0.6, 1.0]), (1000, 0.6)])
@pytest.mark.parametrize("clip", ["off", "clip"])
def test_ddim_on_leading_timesteps(S, eta, clip):
    scheduler = in_float64(DDIMScheduler(clip_sample=clip == "clip"))
    x, draw = toys.pictures(2), toys.keyed_draw(4)
    theirs = ddim_loop(scheduler, x, S, draw=draw if eta else None, eta=eta, use_clipped_model_output=True)
    close(toys.final(x, [Row(LINEAR.levels(S, "leading"), eta, clip=clip, draw=draw)] * 2), theirs)


@pytest.mark.parametrize("S", [10, 50])
def test_ddim_on_trailing_timesteps_that_divide_the_chain(S):
    scheduler = in_float64(DDIMScheduler(clip_sample=False, timestep_spacing="trailing"))
    x = toys.pictures(2)
    close(toys.final(x, [Row(LINEAR.levels(S))] * 2), ddim_loop(scheduler, x, S))


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_ddim_of_other_prediction_types(prediction_type):
    scheduler = in_float64(DDIMScheduler(clip_sample=False, prediction_type=prediction_type))
    x = toys.pictures(2)
    ours = toys.final(x, [Row(LINEAR.levels(20, "leading"))] * 2, prediction_type=prediction_type)
    close(ours, ddim_loop(scheduler, x, 20))


def test_dynamic_thresholding():
    scheduler = in_float64(DDIMScheduler(thresholding=True, sample_max_value=1e9))
    x = 3 * toys.pictures(2, (1, 8, 8))
    theirs = ddim_loop(scheduler, x, 20, use_clipped_model_output=True)
    close(toys.final(x, [Row(LINEAR.levels(20, "leading"), clip="dynamic")] * 2), theirs)


@pytest.mark.parametrize("S", [1, 10, 50, 1000])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("clip", ["off", "clip"])
def test_ddpm_on_leading_timesteps(S, variance, clip):
    scheduler = in_float64(DDPMScheduler(variance_type=f"fixed_{variance}", clip_sample=clip == "clip"))
    scheduler.set_timesteps(S)
    x = toys.pictures(2)
    levels = LINEAR.levels(S, "leading")
    draws = drawn_by_ddpm([level.t for level in levels[:-1]], x.shape, seed=8)
    ours = toys.final(x, [Row(levels, 1.0, variance, clip, draw) for draw in draws])
    close(ours, ddpm_loop(scheduler, x, torch.Generator().manual_seed(8)))


def test_ddpm_on_a_list_of_timesteps():
    visited = [100, 87, 50, 1, 0]
    scheduler = in_float64(DDPMScheduler(clip_sample=False))
    scheduler.set_timesteps(timesteps=visited)
    x = toys.pictures(2)
    ours = toys.final(x, [Row(LINEAR.levels_at(visited), 1.0, draw=draw) for draw in drawn_by_ddpm(visited, x.shape, seed=8)])
    close(ours, ddpm_loop(scheduler, x, torch.Generator().manual_seed(8)))


# The numbers in diffusers' own tests (tests/schedulers/test_scheduler_ddim.py and _ddpm.py), and two that it should have.


@pytest.mark.parametrize(
    ("schedule", "spacing", "golden"),
    [
        (LINEAR, "leading", 172.0067),
        (Schedule(LINEAR.alphas_cumprod, "v_prediction"), "leading", 52.5302),
        (Schedule(cumulative(betas(beta_start=0.01))), "leading", 149.8295),  # their set_alpha_to_one=True
        (LINEAR, "linspace", 169.4640),
        (LINEAR, "trailing", 170.0350),
    ],
)
def test_toy_goldens_of_ddim(schedule, spacing, golden):
    """Ten steps. None of these chains ever reaches the clipping range, so clipping has tests of its own."""
    x = toys.dummy_sample()
    for clip in ("off", "clip"):
        row = Row(schedule.levels(10, spacing), clip=clip)
        end = toys.final(x, [row] * 4, toys.dummy_model, prediction_type=schedule.prediction_type)
        assert end.abs().sum().item() == pytest.approx(golden, abs=2e-3)


@pytest.mark.parametrize(
    ("visited", "eta", "golden", "tolerance"), [([100, 0], 0.0, 354.5418, 2e-3), ([1, 0], 1.0, 387.9466, 3e-2)]
)
def test_toy_goldens_from_a_noised_picture(visited, eta, golden, tolerance):
    """Their full loops with noise: the last two of DDIM's ten timesteps, or of DDPM's thousand, after add_noise.

    The second is 387.9673 in float64: in their float32, 1 - alpha_bar_1 / alpha_bar_0 has three digits.
    """
    noise = (torch.arange(768, dtype=torch.float64).flip(0) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
    levels = LINEAR.levels_at(visited)
    x = formulas.add_noise(toys.dummy_sample(), noise, levels[0].alpha_bar)
    draws = drawn_by_ddpm([1], x.shape, seed=0, dtype=torch.float32)
    end = toys.final(x, [Row(levels, eta, clip="clip", draw=draw) for draw in draws], toys.dummy_model)
    assert end.abs().sum().item() == pytest.approx(golden, abs=tolerance)


@pytest.mark.parametrize(("prediction_type", "golden"), [("epsilon", 258.9606), ("v_prediction", 202.0296)])
def test_toy_goldens_of_ddpm(prediction_type, golden):
    x = toys.dummy_sample()
    levels = LINEAR.levels(1000)
    draws = drawn_by_ddpm(range(999, 0, -1), x.shape, seed=0, dtype=torch.float32)
    rows = [Row(levels, 1.0, clip="clip", draw=draw) for draw in draws]
    end = toys.final(x, rows, toys.dummy_model, prediction_type=prediction_type)
    assert end.abs().sum().item() == pytest.approx(golden, abs=1e-2)


# Where diffusers is wrong.


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
@pytest.mark.parametrize("S", [7, 13, 30, 60, 150])
def test_diffusers_ddim_steps_by_a_stride_that_is_not_its_list(spacing, S):
    """It goes to t - T // S and tells the network the next entry; here the next level is the next entry."""
    scheduler = in_float64(DDIMScheduler(clip_sample=False, timestep_spacing=spacing))
    scheduler.set_timesteps(S)
    levels = LINEAR.levels(S, spacing)
    assert scheduler.timesteps.tolist() == [level.t for level in levels[:-1]]
    x = toys.pictures(1)
    wrong = 0
    for cur, nxt in itertools.islice(itertools.pairwise(levels), S - 1):
        eps = toys.network(x, torch.tensor([cur.t]))
        theirs = scheduler.step(eps, cur.t, x).prev_sample
        x = formulas.ddim_step(formulas.predict_x0(x, eps, cur.alpha_bar), eps, nxt.alpha_bar)
        wrong += not torch.allclose(theirs, x, rtol=0, atol=1e-10)
    trailing = {7: 5, 13: 11, 30: 10, 60: 39, 150: 99}
    assert wrong == (
        trailing[S] if spacing == "trailing" else sum(a.t - b.t != 1000 // S for a, b in itertools.pairwise(levels[:-1]))
    )
    assert wrong > 0.3 * (S - 1)


def test_toy_sum_of_diffusers_linspace():
    """169.4640 is right (see above): every one of its nine strides is 111, and it steps by 100."""
    theirs = ddim_loop(DDIMScheduler(timestep_spacing="linspace"), toys.dummy_sample(), 10, toys.dummy_model)
    assert theirs.abs().sum().item() == pytest.approx(191.2538, abs=2e-3)


@pytest.mark.parametrize("S", [7, 13, 60, 150])
def test_diffusers_ddim_ends_short_of_the_clean_level(S):
    """Its last stride lands on t = 0, so a hundredth of the last eps stays in the picture; ours ends in pred_x0 itself."""
    scheduler = in_float64(DDIMScheduler(clip_sample=False, timestep_spacing="trailing"))
    scheduler.set_timesteps(S)
    last = LINEAR.levels(S)[-2:]
    x, eps = toys.pictures(2)[:, None]
    pred_x0 = formulas.predict_x0(x, eps, last[0].alpha_bar)
    theirs = scheduler.step(eps, last[0].t, x).prev_sample
    close(theirs, math.sqrt(1 - 1e-4) * pred_x0 + 0.01 * eps)
    assert torch.equal(toys.final(x, [Row(last)], lambda x, t: eps), pred_x0)


@pytest.mark.parametrize(("S", "std"), [(10, 0.321), (20, 0.170), (50, 0.076), (100, 0.044)])
def test_diffusers_ddpm_leaves_noise_in_the_picture_at_the_end_of_a_trailing_list(S, std):
    """With fixed_large it adds noise wherever t > 0, into the clean level too; google/ddpm-cifar10-32 is fixed_large."""
    scheduler = in_float64(DDPMScheduler(variance_type="fixed_large", timestep_spacing="trailing", clip_sample=False))
    scheduler.set_timesteps(S)
    last = LINEAR.levels(S)[-2:]
    x, eps = toys.pictures(2)[:, None]
    (ours,) = toys.run(x, [Row(last, 1.0, "large")], lambda x, t: eps)  # without a draw: it asks for none
    close(ours.x_next, formulas.predict_x0(x, eps, last[0].alpha_bar))
    theirs = scheduler.step(eps, last[0].t, x, generator=torch.Generator().manual_seed(1)).prev_sample
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left = (theirs - ours.x_next) / noise
    close(left, torch.full_like(left, math.sqrt(1 - last[0].alpha_bar)))
    assert left[0, 0, 0, 0].item() == pytest.approx(std, abs=5e-4)


def test_diffusers_trailing_lists_have_an_entry_too_many_for_62_step_counts():
    scheduler = DDIMScheduler(timestep_spacing="trailing")
    too_long = []
    for S in range(1, 1001):
        scheduler.set_timesteps(S)
        theirs = scheduler.timesteps.tolist()
        if len(theirs) != S:
            assert (len(theirs), theirs[-1]) == (S + 1, -1)
            too_long.append(S)
    assert len(too_long) == 62
    assert too_long[:3] == [61, 103, 121]


def test_diffusers_leading_list_starts_low_where_it_does_not_divide_the_chain():
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(300)
    assert scheduler.timesteps[0] == 897
    assert timesteps(300, 1000, "leading")[0] == 996


def test_diffusers_ddim_keeps_the_unclipped_eps_by_default():
    """Then eta = 1 is not DDPM: on this network the pictures are far apart, and with eps derived again they are the same."""
    x, draw = toys.pictures(2), toys.keyed_draw(4)
    ours = toys.final(x, [Row(LINEAR.levels(50, "leading"), 1.0, clip="clip", draw=draw)] * 2)
    apart = {}
    for rederived in (False, True):
        scheduler = in_float64(DDIMScheduler())
        theirs = ddim_loop(scheduler, x, 50, draw=draw, eta=1.0, use_clipped_model_output=rederived)
        apart[rederived] = (theirs - ours).abs().max().item()
    assert apart[False] > 0.05
    assert apart[True] < 1e-12


def test_diffusers_is_not_finite_for_epsilon_at_zero_snr():
    scheduler = DDIMScheduler(rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False)
    x = toys.pictures(1)
    assert not ddim_loop(scheduler, x, 10).isfinite().all()
    with pytest.raises(ValueError, match="predicts epsilon"):
        from_config({"rescale_betas_zero_snr": True}).levels(10)
