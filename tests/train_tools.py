"""What the tests of training share: a toy preset, generated pictures, and the worker that runs the command."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ddim_app.train import state

ROOT = Path(__file__).parent.parent

TOY = """
[unet]
sample_size = 8
block_out_channels = [8]
layers_per_block = 1
down_block_types = ["DownBlock2D"]
up_block_types = ["UpBlock2D"]
attention_head_dim = 8
norm_num_groups = 4

[schedule]
num_train_timesteps = 100

[train]
steps = 20
batch_size = 4
checkpoint_every = 4
preview_every = 10
dropout = 0.1
mirror = true
crop = "random"
precision = "fp32"
"""

HALVING_TWICE = (
    TOY.replace("sample_size = 8", "sample_size = 32")
    .replace("[8]", "[8, 8, 8]")
    .replace('["DownBlock2D"]', '["DownBlock2D", "DownBlock2D", "DownBlock2D"]')
    .replace('["UpBlock2D"]', '["UpBlock2D", "UpBlock2D", "UpBlock2D"]')
)
"""A toy of the size that people train: what is not cut to its 32 pixels cannot be halved twice."""


class Ran(NamedTuple):
    codes: list[int]
    output: list[str]

    @property
    def code(self) -> int:
        return self.codes[0]

    @property
    def text(self) -> str:
        return self.output[0]

    @property
    def error(self) -> str:
        """The last line, when it is an error in one sentence."""
        line = self.text.strip().splitlines()[-1]
        assert line.startswith("error: "), self.text
        assert "Traceback" not in self.text
        return line.removeprefix("error: ")


class Worker:
    """See train_worker.py and rank_worker.py."""

    def __init__(self, module: str = "tests.train_worker") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *args: Any, **job: Any) -> Ran:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"args": [str(arg) for arg in args], **job}) + "\n")
        self._process.stdin.flush()
        return Ran(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def drawings(count: int, side: int = 8, seed: int = 0) -> np.ndarray:
    """uint8 (count, side, side, 3): two-coloured squares, each another one."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (count, 2, 1, 1, 3), dtype=np.uint8)
    mask = np.zeros((count, side, side, 1), bool)
    for i, (top, left) in enumerate(rng.integers(0, side // 2, (count, 2))):
        mask[i, top : top + side // 2, left : left + side // 2] = True
    return np.where(mask, colours[:, 0], colours[:, 1])


def save_drawings(folder: Path, count: int, side: int = 8, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(drawings(count, side, seed)):
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


def final_digest(run: Path) -> str:
    """Of weights, averaged weights and optimiser in the last checkpoint."""
    return state.digest(state.read(state.checkpoints(run / "checkpoints")[-1])[0])
