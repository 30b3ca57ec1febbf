"""One recipe of every kind of run, as JSON that was written once and stays, and the models that they name."""

import json
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d import UNet2DModel

from tests.golden.names import from_json

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
JSON: dict[str, str] = {
    name: json.dumps(values, separators=(",", ":"))
    for name, values in json.loads((FOLDER / "recipes.json").read_text("utf-8")).items()
}
"""Canonical JSON by name; `sampling, ...`, `inversion, ...` and so on."""
RECIPES = {name: from_json(text) for name, text in JSON.items()}
TINY = {"tiny": (0, {}), "tiny-b": (1, {}), "tiny-60": (2, {"num_train_timesteps": 60, "beta_start": 1e-3, "beta_end": 0.2})}
"""Seed and scheduler settings of the networks of random weights, RGB, 8 x 8 pixels."""


def make_models(folder: Path) -> list[Path]:
    """Writes the tiny models below `folder`; returns the roots in which an engine finds all models of the recipes."""
    for name, (seed, settings) in TINY.items():
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            unet = UNet2DModel(
                sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(16, 16), norm_num_groups=8,
                down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2, add_attention=False,
            )  # fmt: skip
        unet.save_pretrained(folder / name / "unet")
        scheduler = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "linear"} | settings
        (folder / name / "scheduler").mkdir(exist_ok=True)
        (folder / name / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "avatars-32").symlink_to(ROOT / "weights" / "avatars-32")
    return [folder]
