"""What the user sees of a run: preview grids beside the starting model, held-out losses, the closing report."""

import resource
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ddim_app import backends
from ddim_app.diffusion.sampler import Predict
from ddim_app.media.images import contact_sheet, enlargement, png_bytes
from ddim_app.models.loading import Model
from ddim_app.train import evaluate, files
from ddim_app.train.data import Data
from ddim_app.train.folder import RunFolder
from ddim_app.train.loop import Trainer
from ddim_app.train.setup import Start
from ddim_app.train.stop import Stopper

PICTURES = 16
GAP = 24


class Looks:
    """Looks at the averaged weights, as they are at each call. Only the main process has one that is used."""

    def __init__(self, home: RunFolder, begin: Start, data: Data, trainer: Trainer, precision: str, stopper: Stopper) -> None:
        self._home, self._begin, self._data, self._trainer, self._stopper = home, begin, data, trainer, stopper
        self._device = trainer.accelerator.device
        # Only network and device matter to the predictor.
        self._model = Model("run", trainer.state.average, begin.schedule, begin.shape, "")
        self._format = "bf16" if precision == "bf16" else "fp32"
        self._board = _tensorboard(home.path)
        self._last: tuple[int, np.ndarray] | None = None
        """The step of the last look and its samples."""

    @property
    def _predict(self) -> Predict:
        """The average's network as its weights are now, which are rounded once."""
        return backends.predictor(self._model, self._device, self._format)

    def has(self, step: int) -> bool:
        """Whether the run was looked at after this step already."""
        return any(line["kind"] == "preview" and line["step"] == step for line in self._home.logged())

    def look(self, step: int) -> None:
        """Writes previews/step-N.png, left the starting model and right this one at equal seeds, and logs the held-out loss."""
        with self._stopper.interruptible():
            pictures = self.samples(PICTURES)
            held = evaluate.held_out(self._predict, self._data.held_out, self._begin.schedule, self._device, self._stopper.check)
        self._last = step, pictures
        self._home.previews.mkdir(exist_ok=True)
        grid = contact_sheet(pictures, columns=4, scale=enlargement(pictures.shape[1], pictures.shape[2], 64), gap=2)
        start = self._preview(0)
        if step and self._begin.init and start.is_file():
            grid = beside(Image.open(start).convert("RGB"), grid.convert("RGB"))
        files.write(self._preview(step), png_bytes(grid))
        if held is not None:
            line = {"kind": "held_out", "step": step, "loss": held.loss, "buckets": held.buckets}
            self._home.log(line)
            self.scalars(line)
        self._home.log({"kind": "preview", "step": step, "file": self._preview(step).name})

    def samples(self, count: int) -> np.ndarray:
        schedule, shape = self._begin.schedule, self._begin.shape
        return evaluate.preview(
            self._predict, schedule, shape, count, self._trainer.settings.seed, self._device, self._stopper.check
        )

    def scalars(self, line: dict[str, Any]) -> None:
        """To TensorBoard, when it is installed."""
        if self._board is not None:
            for name, value in line.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{line['kind']}/{name}", value, line["step"])
            self._board.flush()

    def final(self) -> dict[str, Any]:
        """The closing measurements: whether samples are copies of training pictures, and the peak of memory."""
        with self._stopper.interruptible():
            step, samples = self._last or (-1, None)
            if samples is None or step != self._trainer.state.step:
                samples = self.samples(PICTURES)
            pixels, train = self._data.pixels, self._data.train
            found = evaluate.nearest(samples, pixels, train, self._stopper.check)
            held = self._data.held_out[:PICTURES]
            usual = evaluate.nearest(held, pixels, train, self._stopper.check).psnr if len(held) else []
        rows = np.concatenate([samples, evaluate.middle(pixels[np.array(found.which)], samples.shape)])
        sheet = contact_sheet(rows, columns=PICTURES, scale=enlargement(rows.shape[1], rows.shape[2], 64), gap=2)
        files.write(self._home.previews / "nearest.png", png_bytes(sheet))
        text = (
            f"Memorisation check: the training picture nearest to each of {PICTURES} samples is at "
            f"{statistics.median(found.psnr):.1f} dB in the median, {max(found.psnr):.1f} dB at most"
        )
        if usual:
            text += f"; for held-out pictures it is {statistics.median(usual):.1f} dB, and {max(usual):.1f} dB at most"
        return {"memorisation": text + ". A copy would be above 30 dB.", "peak_memory_mb": peak_memory_mb(self._device)}

    def _preview(self, step: int) -> Path:
        return self._home.previews / f"step-{step:09d}.png"


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (left.width + GAP + right.width, max(left.height, right.height)), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + GAP, 0))
    return sheet


def peak_memory_mb(device: torch.device) -> float:
    """Of the GPU when there is one, else of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device)) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
