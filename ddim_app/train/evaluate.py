"""What a run looks at: held-out loss, pictures from fixed seeds, and the training pictures nearest to them."""

import resource
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ddim_app import backends
from ddim_app.diffusion.metrics import psnr
from ddim_app.diffusion.noise import Shape, initial_noise, keyed_noise, picture_seed
from ddim_app.diffusion.sampler import Predict, Row, drive, sample
from ddim_app.diffusion.schedule import Schedule
from ddim_app.media.images import contact_sheet, enlargement, from_pixels, png_bytes, to_pixels
from ddim_app.models.loading import Model
from ddim_app.train import keyed_random
from ddim_app.train.data import TrainingData
from ddim_app.train.loop import Trainer
from ddim_app.train.loss import bucket_means, row_losses
from ddim_app.train.run_folder import RunFolder, write_file
from ddim_app.train.setup import StartModel
from ddim_app.train.stop import Stopper

BUCKETS = 10
ROWS_PER_CALL = 64
PREVIEW_STEPS = 25
"""DDIM needs few steps to show what a model has learned, and a preview should cost seconds."""

Check = Callable[[], None]
"""Called between network calls; raises Stopped to give up."""


class HeldOut(NamedTuple):
    """Mean squared error of the network's prediction on held-out pictures."""

    loss: float
    buckets: list[float]
    """The mean squared error of each tenth of the timesteps, least noise first."""


def held_out(
    predict: Predict, pixels: np.ndarray, schedule: Schedule, device: torch.device, check: Check, evaluations: int = 250
) -> HeldOut | None:
    """The loss over `evaluations` (picture, timestep, noise) triples that are the same at every call; None without pictures.

    Timesteps are spread evenly, so each bucket has a tenth of the triples.
    """
    if not len(pixels):
        return None
    T = schedule.num_train_timesteps
    t = torch.tensor([i * T // evaluations for i in range(evaluations)])
    # A stride through the pictures that shares no factor with their number meets every one, at timesteps all over.
    order = keyed_random.permutation(len(pixels), keyed_random.HELD_OUT)
    chosen = order[np.arange(evaluations) % len(pixels)]
    noise_key = keyed_random.key(keyed_random.HELD_OUT)
    losses = []
    for first in range(0, evaluations, ROWS_PER_CALL):
        check()
        part = slice(first, min(first + ROWS_PER_CALL, evaluations))
        x0 = from_pixels(pixels[chosen[part]])
        shape = (x0.shape[1], x0.shape[2], x0.shape[3])
        noise = torch.stack([keyed_noise(noise_key, i, shape) for i in range(part.start, part.stop)])
        with torch.inference_mode():
            losses.append(row_losses(predict, x0.to(device), t[part], noise.to(device), schedule).cpu())
    every = torch.cat(losses).double()
    return HeldOut(float(every.mean()), list(bucket_means(every, t, T, BUCKETS)))


def preview(
    predict: Predict, schedule: Schedule, shape: Shape, count: int, seed: int, device: torch.device, check: Check
) -> np.ndarray:
    """uint8 (count, H, W, C): DDIM from fixed seeds, so grids of different models can be laid side by side."""
    row = Row(
        schedule.levels(min(PREVIEW_STEPS, schedule.num_train_timesteps)),
        clip=schedule.clip,
        prediction_type=schedule.prediction_type,
        clip_range=schedule.clip_range,
    )
    latents = initial_noise([picture_seed(seed, i) for i in range(count)], shape).to(device)
    x = latents
    for step in drive(sample(latents, [row] * count), predict):
        check()
        x = step.x_next
    return to_pixels(x)


class Nearest(NamedTuple):
    """For some samples, the training picture that is nearest in mean squared error."""

    which: list[int]
    psnr: list[float]
    """PSNR in dB. Copies of a training picture are far above what held-out pictures reach."""


def nearest(samples: np.ndarray, pixels: np.ndarray, chosen: np.ndarray, check: Check) -> Nearest:
    """Searches all training pictures `pixels[chosen]` for each of the samples; both uint8 (N, H, W, C)."""
    wanted = torch.from_numpy(np.array(samples)).flatten(1).float()
    best, where = torch.full((len(samples),), float("inf")), torch.zeros(len(samples), dtype=torch.int64)
    for first in range(0, len(chosen), 2048):
        check()
        part = chosen[first : first + 2048]
        distance = torch.cdist(wanted, torch.from_numpy(middle(pixels[part], samples.shape)).flatten(1).float())
        least, i = distance.min(1)
        where = torch.where(least < best, torch.from_numpy(part)[i], where)
        best = torch.minimum(best, least)
    index = where.tolist()
    nearest_pictures = from_pixels(middle(pixels[np.array(index)], samples.shape))
    return Nearest(index, psnr(from_pixels(samples), nearest_pictures).tolist())


def middle(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The middle of cached pictures that are larger than the model's, for random crops."""
    top, left = (pixels.shape[1] - shape[1]) // 2, (pixels.shape[2] - shape[2]) // 2
    return pixels[:, top : top + shape[1], left : left + shape[2]]


PICTURES = 16


GAP = 24


class RunPreviews:
    """Preview pictures and held-out loss of a run, by the averaged weights of that moment. Only the main process uses its own."""

    def __init__(
        self, home: RunFolder, begin: StartModel, data: TrainingData, trainer: Trainer, precision: str, stopper: Stopper
    ) -> None:
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
            held = held_out(self._predict, self._data.held_out, self._begin.schedule, self._device, self._stopper.check)
        self._last = step, pictures
        self._home.previews.mkdir(exist_ok=True)
        grid = contact_sheet(pictures, columns=4, scale=enlargement(pictures.shape[1], pictures.shape[2], 64), gap=2)
        start = self._preview(0)
        if step and self._begin.init and start.is_file():
            grid = beside(Image.open(start).convert("RGB"), grid.convert("RGB"))
        write_file(self._preview(step), png_bytes(grid))
        if held is not None:
            line = {"kind": "held_out", "step": step, "loss": held.loss, "buckets": held.buckets}
            self._home.log(line)
            self.scalars(line)
        self._home.log({"kind": "preview", "step": step, "file": self._preview(step).name})

    def samples(self, count: int) -> np.ndarray:
        schedule, shape = self._begin.schedule, self._begin.shape
        return preview(self._predict, schedule, shape, count, self._trainer.settings.seed, self._device, self._stopper.check)

    def scalars(self, line: dict[str, Any]) -> None:
        """Writes the numbers of a log line to TensorBoard, when it is installed."""
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
            copies = nearest(samples, pixels, train, self._stopper.check)
            held = self._data.held_out[:PICTURES]
            usual = nearest(held, pixels, train, self._stopper.check).psnr if len(held) else []
        rows = np.concatenate([samples, middle(pixels[np.array(copies.which)], samples.shape)])
        sheet = contact_sheet(rows, columns=PICTURES, scale=enlargement(rows.shape[1], rows.shape[2], 64), gap=2)
        write_file(self._home.previews / "nearest.png", png_bytes(sheet))
        text = (
            f"Memorisation check: the training picture nearest to each of {PICTURES} samples is at "
            f"{statistics.median(copies.psnr):.1f} dB in the median, {max(copies.psnr):.1f} dB at most"
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
    """Peak memory in MB of the GPU when there is one, else of this process."""
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
