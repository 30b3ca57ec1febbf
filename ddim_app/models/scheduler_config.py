"""scheduler_config.json read as what its model was trained on: DDPM's forward process, whatever sampler somebody saved beside it.

Keys that choose a sampler are passed over, since here the recipe does that. A class of another process, and a key that may
change the process or what the network predicts, are refused.
"""

import re
from collections.abc import Mapping
from typing import Any

from ddim_app.diffusion.schedule import Schedule, from_config

_STABLE = {"beta_start": 0.00085, "beta_end": 0.012}
DDPM_CLASSES: dict[str, dict[str, Any]] = {
    name: defaults
    for names, defaults in (
        ("DDPM GaussianDDPM DDPMParallel DDIM DDIMParallel DDIMInverse PNDM RePaint DEISMultistep DPMSolverMultistep", {}),
        ("DPMSolverMultistepInverse DPMSolverSinglestep UniPCMultistep SASolver EulerDiscrete EulerAncestralDiscrete", {}),
        ("LMSDiscrete", {}),
        ("HeunDiscrete KDPM2Discrete KDPM2AncestralDiscrete DPMSolverSDE", _STABLE),
        ("LCM TCD", {**_STABLE, "beta_schedule": "scaled_linear"}),
        ("UnCLIP", {"beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_small_log"}),
    )
    for name in names.split()
}
"""diffusers' schedulers that sample DDPM's forward process, without the "Scheduler" of their names; where a default of theirs is
not DDPMScheduler's, with it."""
FOREIGN = (
    ("[Ff]low|RFScheduler|Helios|MiniMax|Proteina", "a flow-matching model, whose pictures and noise are mixed on a straight line"),
    ("CMStochastic|SCM", "a consistency model, which goes to the picture in one step"),
    ("EDM|CosineDPM", "an EDM model, whose network is told a sigma in place of a timestep"),
    ("Ve", "a score-based VE model, whose noise grows without the picture fading"),
    ("Vp", "a score-based VP model, which is told a continuous time in place of a timestep"),
    ("VQDiffusion|Amused|DiscreteDDIM|BlockRefinement|EntropyBound", "a model of discrete tokens"),
    ("Wuerstchen", "a latent model"),
    ("CogVideoX", "a latent model of videos, whose signal-to-noise ratio is shifted"),
)
"""What the models of other schedulers are, by a pattern in the name of the class."""
FORWARD_KEYS = {
    "num_train_timesteps", "timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas",
    "rescale_betas_zero_snr", "prediction_type", "predict_epsilon", "variance_type", "clip_sample", "clip_predicted_image",
    "clip_sample_range", "thresholding",
}  # fmt: skip
"""Keys that define the forward process or how its authors sample; all are used."""
SAMPLER_KEYS = {
    "timestep_spacing", "steps_offset", "set_alpha_to_one", "set_alpha_to_zero", "sample_max_value", "dynamic_thresholding_ratio",
    "skip_prk_steps", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "solver_order",
    "algorithm_type", "solver_type", "solver_p", "predict_x0", "disable_corrector", "predictor_order", "corrector_order",
    "tau_func", "lower_order_final", "euler_at_final", "final_sigmas_type", "lambda_min_clipped", "interpolation_type",
    "time_shift_type", "original_inference_steps", "timestep_scaling", "noise_sampler_seed", "tensor_format", "eta",
    "name_or_path",
}  # fmt: skip
"""Keys that choose how to sample; passed over."""
NEUTRAL = {"flow_shift": 1, "shift": 1, "timestep_type": "discrete"}
"""Values by which keys that would change the forward process leave it as it is."""


def schedule_of(config: Mapping[str, Any]) -> Schedule:
    """The schedule of a scheduler_config.json; raises ValueError, in one sentence, when it is none of DDPM's forward process."""
    values = {**_defaults(config), **{key: value for key, value in config.items() if value is not None}}
    refuse_unknown(values, FORWARD_KEYS | SAMPLER_KEYS, "scheduler_config.json")
    try:
        return from_config(values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"scheduler_config.json: {str(error)[:240]}") from error


def refuse_unknown(config: Mapping[str, Any], known: set[str], file: str) -> None:
    """Raises ValueError for keys that nobody here knows, where they say something: they may change what the model means."""
    unknown = sorted(key for key, value in config.items() if key not in known and not key.startswith("_") and _says(key, value))
    if unknown:
        raise ValueError(f"{file} has unknown keys ({', '.join(unknown)[:120]}); remove them if the model does not depend on them")


def _says(key: str, value: Any) -> bool:
    return not (value is None or value is False or value in ("", [], {}) or value == NEUTRAL.get(key))


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of the config's class where they differ from DDPMScheduler's; raises ValueError for a foreign one."""
    name = config.get("_class_name", "DDPMScheduler")
    if config.get("use_flow_sigmas") is True or config.get("prediction_type") == "flow_prediction":
        raise ValueError(f"it is {FOREIGN[0][1]}; only DDPM's forward process can be sampled")
    known = DDPM_CLASSES.get(str(name).removeprefix("Flax").removesuffix("Scheduler"))
    if known is not None:
        return known
    kind = next((words for pattern, words in FOREIGN if re.search(pattern, str(name))), "none whose noise is known here")
    raise ValueError(f"by its scheduler, {str(name)[:60]}, it is {kind}; only DDPM's forward process can be sampled")
