"""Schedulers as people save them: the process of every class of the installed diffusers, or why it is another."""

import contextlib
import json
import math
import warnings

import diffusers
import pytest
import torch

from ddim_app.models.scheduler_config import FORWARD_KEYS, schedule_of

TRAINED = {"linear": {}, "cosine": {"beta_schedule": "squaredcos_cap_v2"}, "short": {"num_train_timesteps": 100}}
"""What DDPMs were trained on, before somebody saved another sampler beside them."""


def classes():
    """diffusers' schedulers that can be built here, without arguments."""
    for name in dir(diffusers):
        with contextlib.suppress(TypeError, ImportError, AttributeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if name.endswith("Scheduler") and not name.startswith("Flax") and dict(getattr(diffusers, name)().config):
                yield name


CLASSES = sorted(classes())
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers' own


def saved(scheduler, folder):
    """The config that diffusers writes for a scheduler."""
    scheduler.save_config(folder)
    return json.loads((folder / "scheduler_config.json").read_text())


def forward(config):
    """DDPMScheduler's alphas_cumprod for the keys of the forward process in a config."""
    kept = {key: value for key, value in config.items() if key in FORWARD_KEYS - {"variance_type"} and value is not None}
    try:
        return diffusers.DDPMScheduler(**kept).alphas_cumprod.double()
    except NotImplementedError:  # of HeunDiscreteScheduler's "exp"
        return None


def assert_read_as_diffusers(scheduler, config):
    """With its alphas_cumprod where the class samples DDPM's forward process, else refused by what it is."""
    theirs = getattr(scheduler, "alphas_cumprod", None)
    if theirs is not None and (theirs.double() - forward(config)).abs().max() <= 1e-6:
        ours = schedule_of(config)
        assert (ours.alphas_cumprod - theirs.double()).abs().max() <= 1e-6
        assert ours.prediction_type == scheduler.config.get("prediction_type", "epsilon")
        return True
    with pytest.raises(ValueError, match=r"only DDPM's forward process can be sampled|has unknown keys"):
        schedule_of(config)
    return False


def test_the_list_is_of_the_classes_that_there_are():
    assert len(CLASSES) >= 30
    assert {"DDPMScheduler", "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"} <= set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_saved_natively(name, tmp_path):
    scheduler = getattr(diffusers, name)()
    config = saved(scheduler, tmp_path)
    opens = assert_read_as_diffusers(scheduler, config)
    assert opens == (hasattr(scheduler, "alphas_cumprod") and "CogVideoX" not in name)
    # Left to its defaults, as a config written by hand.
    bare = {"_class_name": config["_class_name"]}
    if opens:
        assert torch.equal(schedule_of(bare).alphas_cumprod, schedule_of(config).alphas_cumprod)
    else:
        with pytest.raises(ValueError, match=r"only DDPM's forward process|has unknown keys"):
            schedule_of(bare)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("trained", TRAINED)
def test_every_class_saved_over_a_ddpm(name, trained, tmp_path):
    """`Scheduler.from_config(pipe.scheduler.config)`, which also writes the keys of DDPMScheduler that the class does not have."""
    ddpm = diffusers.DDPMScheduler(**TRAINED[trained])
    written = {key: value for key, value in ddpm.config.items() if not key.startswith("_")}
    try:
        scheduler = getattr(diffusers, name).from_config(written)
    except (ValueError, NotImplementedError, AssertionError) as error:  # UnCLIP's has cosine betas alone, say
        pytest.skip(f"diffusers: {error}")
    config = saved(scheduler, tmp_path)
    if assert_read_as_diffusers(scheduler, config):
        read = schedule_of(config)
        assert (read.alphas_cumprod - ddpm.alphas_cumprod.double()).abs().max() <= 1e-6
        assert (read.variance, read.clip) == ("small", "clip")


LMS = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
       "trained_betas": None, "use_karras_sigmas": True, "prediction_type": "epsilon", "timestep_spacing": "linspace",
       "steps_offset": 0}  # fmt: skip


@pytest.mark.parametrize("name", ["LMSDiscreteScheduler", "DPMSolverSDEScheduler"])
def test_classes_that_need_other_packages_here(name):
    config = LMS | {"_class_name": name, "noise_sampler_seed": 3}
    assert (schedule_of(config).alphas_cumprod - forward(config)).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("config", "alphas"),
    [
        ({"_class_name": "FlaxDDPMScheduler"}, {}),
        ({"_class_name": "DDPMScheduler", "variance_type": None, "clip_sample_range": None, "timestep_values": None}, {}),
        ({"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -math.inf, "flow_shift": 1.0, "flow": []}, {}),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "discrete", "sigma_min": None}, {}),
        ({"num_train_timesteps": 2000}, {"num_train_timesteps": 2000}),
        ({"beta_schedule": "laplace"}, {"beta_schedule": "laplace"}),
        ({"rescale_betas_zero_snr": True}, {"rescale_betas_zero_snr": True}),
    ],
    ids=str,
)
def test_keys_that_say_nothing_change_nothing(config, alphas):
    assert (schedule_of(config).alphas_cumprod - diffusers.DDPMScheduler(**alphas).alphas_cumprod).abs().max() <= 1e-6


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"flow_shift": 3.0}, r"has unknown keys \(flow_shift\)"),
        ({"use_flow_sigmas": True}, "it is a flow-matching model"),
        ({"prediction_type": "flow_prediction"}, "it is a flow-matching model"),
        ({"timestep_type": "continuous"}, r"has unknown keys \(timestep_type\)"),
        ({"sigma_min": 0.01, "sigma_max": 1348}, r"has unknown keys \(sigma_max, sigma_min\)"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "it is a flow-matching model"),
        ({"_class_name": "EDMEulerScheduler"}, "it is an EDM model"),
        ({"_class_name": "CosineDPMSolverMultistepScheduler"}, "it is an EDM model"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "it is a score-based VE model"),
        ({"_class_name": "KarrasVeScheduler"}, "it is a score-based VE model"),
        ({"_class_name": "ScoreSdeVpScheduler"}, "it is a score-based VP model"),
        ({"_class_name": "CMStochasticIterativeScheduler", "num_train_timesteps": 40}, "it is a consistency model"),
        ({"_class_name": "SCMScheduler"}, "it is a consistency model"),
        ({"_class_name": "VQDiffusionScheduler"}, "it is a model of discrete tokens"),
        ({"_class_name": "CogVideoXDDIMScheduler"}, "it is a latent model of videos"),
        ({"_class_name": "PiflowScheduler"}, "it is a flow-matching model"),
        ({"snr_shift_scale": 3.0}, r"has unknown keys \(snr_shift_scale\)"),
        ({"_class_name": "MyScheduler"}, "by its scheduler, MyScheduler, it is none whose noise is known here"),
        ({"_class_name": ["evil", "DDPMScheduler"]}, "it is none whose noise is known here"),
    ],
    ids=str,
)
def test_another_process_is_refused_by_what_it_is_even_when_the_file_says_no_more(config, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        schedule_of({"num_train_timesteps": 1000, **config})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
