"""How a model is loaded: its configs judged (`scheduler_config`, `network_config`), then its weights read.

A model is a folder with a diffusers `UNet2DModel` and its scheduler config, as a pipeline (`unet/`, `scheduler/`) or flat
(`config.json` beside the weights), or a repository of the same layouts on the Hugging Face Hub. Its weights are read from
safetensors; pickled ones are converted once, without running them. Nothing that a folder or repository names is ever executed.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.schedule import Schedule
from ddim_app.lazy import torch
from ddim_app.models import model_files, variance_files
from ddim_app.models.classes import UNCONDITIONAL, ClassLabels, class_labels
from ddim_app.models.model_files import unet_folder
from ddim_app.models.network_config import check_pipeline, check_schedule, network_class, shape_of
from ddim_app.models.pickled import convert
from ddim_app.models.scheduler_config import schedule_of
from ddim_app.models.zip_archives import UnsafePickleError

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

MAX_CONVERTED = 10_000_000_000
"""Bytes of converted pickles that are kept, some twenty models of 256 pixels; the one used longest ago goes first."""

log = logging.getLogger(__name__)


class ModelError(ValueError):
    """A model that cannot be used; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Model:
    """A network with the schedule it was trained on, in evaluation mode, fp32, on the CPU."""

    name: str
    unet: "UNet2DModel"
    schedule: Schedule
    shape: Shape
    """(channels, height, width) of its pictures."""
    sha256: str
    """The sha256 of its tensors, in hexadecimal, whatever file they came in."""
    file_sha256: str | None = None
    """That of its safetensors file, by which recipes of earlier versions name it."""
    licence: str | None = None
    """The licence that its card names."""
    classes: ClassLabels = UNCONDITIONAL
    """Its classes; none where it is unconditional."""
    residuals: tuple[float, ...] = ()
    """V_t of its analytic variance, one for each train timestep; none where it is not estimated."""

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """What a recipe may call its weights."""
        return self.sha256, self.file_sha256

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.unet.parameters())


class Described(NamedTuple):
    """What the configs of a model folder say, once they are those of a model that can be used."""

    home: Path
    """The folder of config.json and the weights."""
    config: dict[str, Any]
    shape: Shape
    schedule: Schedule
    classes: ClassLabels


def describe(folder: Path, name: str, size: int | None = None) -> Described:
    """The model of a folder by its configs alone; raises ModelError, in one sentence, when it cannot be used.

    A `size` takes the place of what its config says, or does not say, of the pixels of a side of its pictures.
    """
    if not folder.is_dir():
        raise ModelError(f"model {name}: there is no folder {folder.name}")
    home = unet_folder(folder)
    if home is None:
        raise ModelError(f"model {name}: {model_files.no_config(model_files.file_names(folder))}")
    config, scheduler = read_config(home / "config.json", name), scheduler_config(folder, name)
    config |= {} if size is None else {"sample_size": size}
    index = folder / "model_index.json"
    try:
        schedule = schedule_of(scheduler)
        check_pipeline(read_config(index, name) if index.is_file() else {})
        shape = shape_of(config)
        check_schedule(config, schedule)
    except ModelError:
        raise
    except (ValueError, TypeError) as error:
        raise ModelError(f"model {name}: {str(error)[:300]}") from error
    return Described(home, config, shape, schedule, class_labels(config, folder, home))


def load(folder: Path, name: str | None = None, notify: Callable[[str], None] = log.info, size: int | None = None) -> Model:
    """The model in `folder`, with a `size` as for `describe`; `notify` is told of a conversion.

    Raises ModelError, in one sentence, when it cannot be used.
    """
    name = name or folder.name
    described = describe(folder, name, size)
    shown, weights = _weights(described, name, notify)
    with tempfile.TemporaryDirectory(prefix="ddim-explorer-") as place:
        model_files.lay_out(described.config, weights, Path(place))
        try:
            unet, report = network_class().from_pretrained(
                place, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32, low_cpu_mem_usage=False,
                output_loading_info=True,
            )  # fmt: skip
        except Exception as error:  # whatever the loader makes of a broken file, the user gets one sentence
            reason = str(error).strip().split("\n")[0][:200]
            raise ModelError(f"model {name}: {shown} cannot be read or does not fit its config.json ({reason})") from error
    wrong = report["missing_keys"] + report["unexpected_keys"]
    if wrong:
        raise ModelError(f"model {name}: {shown} does not fit its config.json ({len(wrong)} tensors, such as {wrong[0]})")
    unet = unet.eval().requires_grad_(False)
    file_sha256 = _file_sha256(weights[0]) if len(weights) == 1 and weights[0].parent == described.home else None
    sha256 = tensors_sha256(unet.state_dict())
    known = variance_files.find(folder, sha256, described.schedule.num_train_timesteps)
    return Model(
        name, unet, described.schedule, described.shape, sha256, file_sha256, model_files.licence(folder), described.classes,
        known.values if known else (),
    )  # fmt: skip


def build(config: Mapping[str, Any], seed: int) -> "UNet2DModel":
    """A new network with random weights that depend on `seed` alone; raises ModelError when the config does not fit together."""
    # torch initialises modules from its global generator only; it is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        try:
            shape_of({"_class_name": "UNet2DModel", **config})
            return network_class()(**config)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"the network's settings do not fit together ({str(error)[:160]})") from error


def scheduler_config(folder: Path, name: str) -> dict[str, Any]:
    """The scheduler config of a model folder as it stands."""
    try:
        path = model_files.scheduler_file(folder)
    except ValueError as error:
        raise ModelError(f"model {name}: {error}") from error
    return read_config(path, name)


def _weights(described: Described, name: str, notify: Callable[[str], None]) -> tuple[str, list[Path]]:
    """(name of the weights, their safetensors files); pickled ones are converted first, once for each machine."""
    try:
        found = model_files.weight_files(path.name for path in described.home.iterdir() if path.is_file())
        files = [described.home / each for each in found.names]
        for file in files:
            if reason := model_files.pointer(file):
                raise ValueError(reason)
        if found.is_pickled:
            words = f"{name}: {', '.join(found.names)[:80]}"
            folder = model_files.cache_folder("converted")
            files = [convert(files, folder, lambda: notify(f"{words} is a pickle: it is converted, and nothing in it is run"))]
            model_files.keep_within(folder, MAX_CONVERTED, files[0])
            notify(f"{words} is converted from a pickle; nothing in it was run")
        _check_size(described.config, files, found.names[0], name)
    except ModelError:
        raise
    except UnsafePickleError as error:
        raise ModelError(f"model {name}: {found.names[0]} is a pickle, and is not opened: {error}") from error
    except (ValueError, OSError) as error:
        raise ModelError(f"model {name}: {error}") from error
    return found.names[0], files


def read_config(path: Path, name: str) -> dict[str, Any]:
    try:
        if reason := model_files.pointer(path):
            raise ModelError(f"model {name}: {reason}")
        config = json.loads(path.read_text("utf-8"))
    except ModelError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {name}: {path.name} is not readable JSON ({str(error)[:120]})") from error
    if not isinstance(config, dict):
        raise ModelError(f"model {name}: {path.name} must hold a JSON object; got a {type(config).__name__}")
    return config


def _check_size(config: Mapping[str, Any], weights: Sequence[Path], shown: str, name: str) -> None:
    """Refuses a config whose network could not be in the weights file, before memory is taken for it."""
    try:
        with torch.device("meta"):
            network = network_class().from_config(dict(config))
    except Exception as error:  # whatever the builder makes of a wrong config, the user gets one sentence
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise ModelError(f"model {name}: config.json does not describe a network ({reason})") from error
    parameters, size = sum(p.numel() for p in network.parameters()), sum(file.stat().st_size for file in weights)
    if parameters > size:  # even at one byte each
        raise ModelError(
            f"model {name}: {shown} cannot be read or does not fit its config.json, which describes {parameters:,} "
            f"parameters: it has {size:,} bytes"
        )


def tensors_sha256(tensors: "Mapping[str, torch.Tensor]") -> str:
    """The sha256 of fp32 tensors on the CPU, their names and shapes, in the order of the names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().numpy().data)
    return total.hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
