"""A model at half its size, to be handed out: `python -m ddim_app.train.bundle MODEL FOLDER`.

The weights are rounded to fp16, in which what is left of 24 bits are 11; judge both folders to see what that costs. A card
that is in FOLDER already stays, since its words are written by people.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors.torch import load_file

from ddim_app.errors import refused_by_disk
from ddim_app.media.files import write_file, write_tensors
from ddim_app.models.loading import ModelError, load
from ddim_app.models.model_files import WEIGHTS
from ddim_app.train.config import TrainError
from ddim_app.train.run_folder import MODEL_FILES

CARD = "README.md"
CONFIGS = ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json")


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_app.train.bundle", description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=Path, help="a model folder, such as that of a run")
    parser.add_argument("folder", type=Path, help="where the fp16 model goes; what is there of a model is replaced")
    arguments = parser.parse_args(given)
    try:
        bundle(arguments.model, arguments.folder)
        made = load(arguments.folder)
    except (ModelError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except OSError as error:
        sys.exit(f"{parser.prog}: {refused_by_disk(error)}: free some space, or name another FOLDER")
    size = (arguments.folder / "unet" / WEIGHTS).stat().st_size
    print(f"{arguments.folder}: {made.parameters:,} parameters, {size:,} bytes of weights, sha256 {made.file_sha256}")


def bundle(source: Path, folder: Path) -> None:
    """Writes the model of `source` to `folder` with fp16 weights. Raises ModelError, ValueError or OSError.

    `source` is a pipeline's folder, as a run publishes it.
    """
    load(source)  # says what is wrong with it, if anything
    if folder.resolve() == source.resolve():
        raise ValueError(f"{folder} is the model itself, whose fp32 weights would be lost: name another folder")
    missing = [name for name in (*CONFIGS, f"unet/{WEIGHTS}") if not (source / name).is_file()]
    if missing:
        raise ValueError(f"{source} has no {missing[0]}: name a folder in the layout of diffusers' pipelines, as a run writes it")
    tensors = load_file(source / "unet" / WEIGHTS)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError(f"{source} has weights that are not finite: no picture can come of them")
    weights = {name: tensor.half() for name, tensor in tensors.items()}
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise ValueError(f"{source} has weights beyond the range of fp16, {torch.finfo(torch.half).max:g}: keep it as it is")
    (folder / "unet").mkdir(parents=True, exist_ok=True)
    write_tensors(folder / "unet" / WEIGHTS, weights)
    for name in CONFIGS:
        (folder / name).parent.mkdir(exist_ok=True)
        write_file(folder / name, (source / name).read_bytes())
    if not (folder / CARD).exists() and (source / CARD).exists():
        write_file(folder / CARD, (source / CARD).read_bytes())


def push(folder: Path, repository: str) -> str:
    """The address of the uploaded model; only the model's files travel, no training picture. Raises TrainError."""
    api = HfApi()
    try:
        address = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=address.repo_id, folder_path=folder, allow_patterns=MODEL_FILES, commit_message="Upload model")
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainError(
            f"--push-to-hub {repository}: the upload failed ({reason}); the model is whole in {folder}, and the same command "
            "tries again"
        ) from error
    return str(address)


if __name__ == "__main__":
    main()
