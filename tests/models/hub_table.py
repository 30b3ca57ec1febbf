"""The table of models that users name, each row as a local fake: `python -m tests.models.hub_table` prints expected and got.

A row builds its model in a folder. It is then named as an id of a fake Hub that serves the folder, or with `is_local` as the
folder that the builder returns.
"""

import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ddim_app.models.catalogue import Catalogue
from ddim_app.models.loading import ModelError
from ddim_app.models.model_files import WEIGHTS
from tests import toys
from tests.models.fake_hub import FakeHub, reach, serving

PICKLED = "diffusion_pytorch_model.bin"
NAME = "somebody/model"
OPENS, CONVERTED = "opens", "opens, converted"
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 454741126\n"
LINEAR = {"_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule": "linear",
          "beta_start": 0.0001, "clip_sample": True, "num_train_timesteps": 1000, "trained_betas": None}  # fmt: skip
COSINE = LINEAR | {"beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_small", "prediction_type": "epsilon"}
GOOGLE = {"attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6,
          "mid_block_scale_factor": 1, "center_input_sample": False}  # fmt: skip
ATTENTION = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
             "add_attention": True}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A model and what should come of naming it: "opens", "opens, converted", or words of the reason."""

    number: str
    kind: str
    build: Callable[[Path], Path | None]
    expected: str
    is_local: bool = False
    name: str = NAME
    is_gated: bool = False
    is_private: bool = False
    is_offline: bool = False
    """The Hub is offline when the model is named; `is_cached` says whether it was fetched before."""
    is_cached: bool = False
    size: int | None = None
    """What --size says."""


def saved(
    folder: Path,
    *,
    flat: bool = False,
    pickled: bool = False,
    scheduler: dict[str, Any] | None = None,
    index: bool = True,
    **config: Any,
) -> Path:
    """A tiny model as diffusers saves it, or with its weights pickled as by versions of before autumn 2023."""
    import torch
    from safetensors.torch import load_file

    toys.save_tiny(folder, flat=flat, scheduler=scheduler, **config)
    home = folder if flat else folder / "unet"
    if pickled:
        torch.save(load_file(home / WEIGHTS), home / PICKLED)
        (home / WEIGHTS).unlink()
    if index:
        unet = "model" if flat else "unet"
        named = {"_class_name": "DDPMPipeline", unet: ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
        (folder / "model_index.json").write_text(json.dumps(named))
    return folder


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def old_attention_names(folder: Path) -> None:
    """Renames attention's tensors as they were called until 2023: query, key, value, proj_attn."""
    from safetensors.torch import load_file, save_file

    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for key, tensor in load_file(folder / WEIGHTS).items():
        for new, old in names.items():
            key = key.replace(new, old)
        tensors[key] = tensor
    assert any(".query." in key for key in tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def cifar10(folder: Path) -> None:
    saved(folder, flat=True, scheduler=LINEAR | {"variance_type": "fixed_large"}, **GOOGLE, **ATTENTION)
    old_attention_names(folder)
    both(folder)
    (folder / "modeling_ddpm.py").write_text("raise SystemExit('this was run')\n")
    edited(folder / "config.json", _class_name="UNet2DModel", _diffusers_version="0.0.4")


def both(folder: Path) -> None:
    """The same weights pickled, beside those that are not."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / WEIGHTS), folder / PICKLED)


def cifar10_old(folder: Path) -> None:
    cifar10(folder)
    old = {"_class_name": "GaussianDDPMScheduler", "timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02,
           "beta_schedule": "linear", "variance_type": "fixed_large",
           "clip_predicted_image": True, "tensor_format": "np"}  # fmt: skip
    (folder / "scheduler_config.json").write_text(json.dumps(old))


def cat(folder: Path) -> None:
    saved(folder, flat=True, scheduler=LINEAR | {"variance_type": "fixed_small"}, **GOOGLE, **ATTENTION)
    both(folder)


def celebahq(folder: Path) -> None:
    saved(folder, flat=True, pickled=True, scheduler=LINEAR | {"variance_type": "fixed_small"}, **GOOGLE, **ATTENTION)


def celebahq_old(folder: Path) -> None:
    celebahq(folder)
    edited(folder / "scheduler_config.json", timestep_values=None, tensor_format="pt")


def score_based(folder: Path) -> None:
    toys.save_tiny(folder, flat=True)
    edited(
        folder / "config.json", time_embedding_type="fourier", down_block_types=["SkipDownBlock2D", "AttnSkipDownBlock2D"],
        up_block_types=["AttnSkipUpBlock2D", "SkipUpBlock2D"],
    )  # fmt: skip
    ve = {"_class_name": "ScoreSdeVeScheduler", "num_train_timesteps": 2000, "sigma_min": 0.01, "sigma_max": 1348, "snr": 0.15,
          "sampling_eps": 1e-5, "correct_steps": 1, "tensor_format": "pt"}  # fmt: skip
    (folder / "scheduler_config.json").write_text(json.dumps(ve))
    index = {
        "_class_name": "ScoreSdeVePipeline",
        "model": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "ScoreSdeVeScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).rename(folder / PICKLED)


def butterflies(folder: Path) -> None:
    saved(folder, scheduler=LINEAR | {"prediction_type": "epsilon"}, attention_head_dim=8, **ATTENTION)
    (folder / "logs").mkdir()
    (folder / "logs" / "events.out").write_text("log")


def flowers(folder: Path) -> None:
    saved(folder, pickled=True, scheduler=LINEAR, attention_head_dim=8, **ATTENTION)


def pointer_weights(folder: Path) -> None:
    saved(folder)
    (folder / "unet" / WEIGHTS).write_text(LFS_POINTER)


def pointer_pickle(folder: Path) -> None:
    saved(folder, pickled=True)
    (folder / "unet" / PICKLED).write_text(LFS_POINTER)


def pointer_config(folder: Path) -> Path:
    saved(folder)
    (folder / "unet" / "config.json").write_text(LFS_POINTER)
    return folder


def course(folder: Path) -> None:
    saved(folder, flat=True, scheduler=COSINE, attention_head_dim=8, **ATTENTION)


def course_old(folder: Path) -> None:
    saved(folder, pickled=True, scheduler=COSINE, attention_head_dim=8, **ATTENTION)


def plain_config(folder: Path) -> None:
    saved(folder, flat=True, scheduler=COSINE, index=False)
    edited(folder / "config.json", _use_default_values=["class_embed_type", "dropout"], _diffusers_version="0.21.0")


def checkpoint(folder: Path) -> Path:
    """The layout of diffusers' training script: a pipeline, and in checkpoint-500 the networks without a scheduler."""
    saved(folder / "run")
    shutil.copytree(folder / "run" / "unet", folder / "run" / "checkpoint-500" / "unet")
    shutil.copytree(folder / "run" / "unet", folder / "run" / "checkpoint-500" / "unet_ema")
    return folder / "run" / "checkpoint-500"


def wrong_names(folder: Path) -> None:
    saved(folder, pickled=True)
    (folder / "unet" / "config.json").rename(folder / "unet" / "unet_config.json")
    (folder / "scheduler" / "scheduler_config.json").rename(folder / "scheduler" / "scheduler_scheduler_config.json")


def prototype(folder: Path) -> None:
    saved(folder, flat=True, pickled=True)
    (folder / PICKLED).rename(folder / "diffusion_model.pt")
    edited(folder / "config.json", _class_name="UNetModel")


def plain(folder: Path) -> None:
    saved(folder)


def without_a_size(folder: Path) -> None:
    saved(folder)
    edited(folder / "unet" / "config.json", sample_size=None)


ROWS = [
    Row("1", "google/ddpm-cifar10-32", cifar10, OPENS),
    Row("1", "its old revisions", cifar10_old, OPENS),
    Row("2", "google/ddpm-cat-256", cat, OPENS),
    Row("3", "google/ddpm-celebahq-256 and its like", celebahq, CONVERTED),
    Row("3", "their old revisions", celebahq_old, CONVERTED),
    Row("4", "google/ncsnpp-*", score_based, "score-based VE model"),
    Row("7", "anton-l/ddpm-butterflies-128", butterflies, OPENS),
    Row("8", "anton-l/ddpm-ema-flowers-64", flowers, CONVERTED),
    Row("9", "a clone with LFS pointers", pointer_weights, "is a Git LFS pointer and not the file itself: run git lfs pull"),
    Row("9", "the same, pickled", pointer_pickle, "is a Git LFS pointer and not the file itself: run git lfs pull"),
    Row("9", "the same, a clone on this machine", pointer_config, "config.json is a Git LFS pointer", is_local=True),
    Row("10", "sd-class-butterflies-32", course, OPENS),
    Row("10", "the same of 2022", course_old, CONVERTED),
    Row("14", "_use_default_values, no model_index.json", plain_config, OPENS),
    Row("15", "checkpoint-500/unet_ema", lambda folder: checkpoint(folder) / "unet_ema", OPENS, is_local=True),
    Row("15", "checkpoint-500/unet", lambda folder: checkpoint(folder) / "unet", OPENS, is_local=True),
    Row("15", "checkpoint-500", checkpoint, "it is a checkpoint of the model in the folder above", is_local=True),
    Row("16", "unet/unet_config.json", wrong_names, "neither in the folder nor in its unet/ subfolder; there is model_index.json, "
        "scheduler/scheduler_scheduler_config.json, unet/unet_config.json"),
    Row("17", "fusing/ddpm-* prototypes", prototype, "must describe a UNet2DModel; got UNetModel"),
    Row("23", "null, with --size 16", without_a_size, OPENS, size=16),
    Row("28", "gated", plain, "accept its terms on the Hub, then `hf auth login`", is_gated=True),
    Row("28", "private", plain, "if it is private and yours, `hf auth login`", is_private=True),
    Row("29", "offline, cached", celebahq, CONVERTED, is_offline=True, is_cached=True),
    Row("29", "offline, not cached", plain, "it is not on this machine, and HF_HUB_OFFLINE=1", is_offline=True),
]  # fmt: skip


def every_row() -> list[Row]:
    """These rows, and those of `test_hub_rows_networks` as models of the Hub, in the order of the numbers."""
    from tests.models import test_hub_rows_networks as networks

    rows = [*ROWS]
    for other in networks.ROWS:

        def build(folder: Path, other: networks.Row = other) -> None:
            networks.fake(other, folder)

        rows.append(Row(other.number, other.kind, build, other.expected))
    return sorted(rows, key=lambda row: int(row.number.rstrip("b")))


def outcome(row: Row, hub: FakeHub, patch: pytest.MonkeyPatch, place: Path) -> str:
    """What comes of the row: "opens", "opens, converted", or the sentence with which it is refused."""
    folder = place / "repository"
    folder.mkdir(parents=True)
    built = row.build(folder)
    hub.repositories = {row.name: folder}
    hub.gated, hub.private = {NAME} if row.is_gated else set(), {NAME} if row.is_private else set()
    catalogue = Catalogue([place / "weights"], trusted=row.is_local)
    told: list[str] = []
    try:
        if row.is_cached:
            catalogue.load(row.name)
        if row.is_offline:
            from huggingface_hub import constants

            patch.setattr(constants, "HF_HUB_OFFLINE", True)
        model = catalogue.load(str(built) if row.is_local else row.name, told.append, row.size)
    except ModelError as error:
        return str(error)
    assert model.parameters > 0
    return CONVERTED if any("nothing in it was run" in words for words in told) else OPENS


def is_as_expected(row: Row, got: str) -> bool:
    return got == row.expected if row.expected in (OPENS, CONVERTED) else row.expected in got


@contextmanager
def fresh(place: Path) -> Iterator[tuple[FakeHub, pytest.MonkeyPatch]]:
    """A Hub of its own, and empty caches, for one row."""
    from huggingface_hub.utils import close_session

    with serving() as hub, pytest.MonkeyPatch.context() as patch:
        reach(hub, patch, place / "hub-cache")
        patch.setenv("DDIM_CACHE", str(place / "converted"))
        yield hub, patch
        close_session()


def main() -> None:
    warnings.simplefilter("ignore")  # diffusers' own
    wrong, rows = 0, every_row()
    for row in rows:
        with tempfile.TemporaryDirectory() as name, fresh(Path(name)) as (hub, patch):
            got = outcome(row, hub, patch, Path(name)).replace(name, "...")
        good = is_as_expected(row, got)
        wrong += not good
        print(f"{row.number:>3} {row.kind}\n    expected: {row.expected}\n    got:      {got}")
        if not good:
            print("    NOT AS EXPECTED")
    print(f"{len(rows) - wrong} of {len(rows)} as expected")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
