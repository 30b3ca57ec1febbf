"""A model as a folder that diffusers' pipelines load: what `models convert` writes."""

from pathlib import Path
from typing import Any

from ddim_app.media.files import write_json, write_tensors
from ddim_app.models.loading import Model, read_config, scheduler_config
from ddim_app.models.model_files import WEIGHTS, unet_folder

OLD_SCHEDULER = "GaussianDDPMScheduler"
"""What DDPMScheduler was called at first; diffusers does not know the name any more."""
NOW_CALLED = {"timesteps": "num_train_timesteps", "clip_predicted_image": "clip_sample"}
NO_LONGER = ("timestep_values", "tensor_format")


def save(model: Model, source: Path, folder: Path) -> None:
    """Writes a model that lies in `source`: its configs, and its tensors as fp32 safetensors. Raises ModelError or OSError."""
    home = unet_folder(source) or source
    unet, scheduler = read_config(home / "config.json", model.name), scheduler_config(source, model.name)
    _, height, width = model.shape
    unet["sample_size"] = height if height == width else [height, width]
    if scheduler.get("_class_name") == OLD_SCHEDULER:
        scheduler = {NOW_CALLED.get(key, key): value for key, value in scheduler.items() if key not in NO_LONGER}
        scheduler["_class_name"] = "DDPMScheduler"
    kind = scheduler.get("_class_name", "DDPMScheduler")
    index: dict[str, Any] = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", kind]}
    if model.classes.names:
        index |= {"id2label": dict(enumerate(model.classes.names))}
    for name, values in (
        ("unet/config.json", unet), ("scheduler/scheduler_config.json", scheduler), ("model_index.json", index)
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(folder / name, values)
    tensors = {name: tensor.contiguous() for name, tensor in model.unet.state_dict().items()}
    write_tensors(folder / "unet" / WEIGHTS, tensors)
