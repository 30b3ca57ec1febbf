"""What samples say of a run: whether they are copies of training pictures, and whether their colours are those of the data."""

import math
import statistics
from typing import Any, NamedTuple

import numpy as np
import torch

from ddim_app.diffusion.metrics import psnr
from ddim_app.media.images import from_pixels
from ddim_app.train.data import TrainingData, middle
from ddim_app.train.evaluate import Check

COPIES, LEANING = 0.5, 0.7
"""Parts of the distance that held-out pictures have from the training pictures. A blurred picture, near the mean of all, is at
1 / sqrt(2) of it without being anybody's copy, so only below that is anything said."""
SURE = 3.5
"""Standard errors from which on a colour is said to be off: three channels at many looks, and hardly ever a false alarm."""
MANY = 16_384
"""Training pictures that are searched while a run goes; at its end all are."""


class Nearest(NamedTuple):
    """For some pictures, the training picture that is nearest in mean squared error."""

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
        distance = torch.cdist(wanted, torch.from_numpy(middle(pixels[part], *samples.shape[1:3])).flatten(1).float())
        least, i = distance.min(1)
        where = torch.where(least < best, torch.from_numpy(part)[i], where)
        best = torch.minimum(best, least)
    index = where.tolist()
    nearest_pictures = from_pixels(middle(pixels[np.array(index)], *samples.shape[1:3]))
    return Nearest(index, psnr(from_pixels(samples), nearest_pictures).tolist())


class SampleCheck(NamedTuple):
    """Samples beside training pictures and held-out ones."""

    nearest: Nearest
    """Of the samples."""
    usual: list[float]
    """PSNR of held-out pictures to the training pictures nearest to them."""
    colour: list[float]
    """How much more the samples have of each channel than the training pictures, in the mean, of 255."""
    colour_error: list[float]
    """Standard errors of these."""

    @property
    def distance(self) -> float | None:
        """Distance of a sample from its nearest training picture over that of a held-out one, medians both; None without these."""
        if not self.usual:
            return None
        return float(10 ** ((statistics.median(self.usual) - statistics.median(self.nearest.psnr)) / 20))

    @property
    def facts(self) -> dict[str, Any]:
        """The line of metrics.jsonl."""
        return {"kind": "samples", "distance": self.distance, "colour": self.colour, "colour_error": self.colour_error}

    @property
    def warnings(self) -> list[str]:
        """What is wrong, in words; nothing most of the time."""
        distance = self.distance
        found = []
        if distance is not None and distance < COPIES:
            found.append(f"samples are copies of training pictures, {_times(distance)}: train for fewer steps, or on more pictures")
        elif distance is not None and distance < LEANING:
            found.append(f"samples come near to single training pictures, {_times(distance)}: they begin to be learned by heart")
        off = [words for words, (d, e) in zip(self._colours(), self._pairs(), strict=True) if abs(d) > SURE * e]
        if off:
            found.append(f"samples are tinted: {', '.join(off)} of 255; early in a run that is usual, and more steps mend it")
        return found

    @property
    def words(self) -> str:
        """Both verdicts, whatever they are."""
        text = (
            "Memorisation check (PSNR; the more dB, the more alike): the training picture nearest to each of "
            f"{len(self.nearest.psnr)} samples is at {statistics.median(self.nearest.psnr):.1f} dB in the median, "
            f"{max(self.nearest.psnr):.1f} dB at most"
        )
        if self.usual:
            text += f"; for held-out pictures it is {statistics.median(self.usual):.1f} dB, and {max(self.usual):.1f} dB at most"
        fine = [] if self.distance is None or self.distance < LEANING else [f"samples are no copies, {_times(self.distance)}"]
        colours = f"Mean colour of samples against the data's: {', '.join(self._colours())} of 255."
        verdict = "; ".join(fine + self.warnings) or "without held-out pictures there is no telling copies"
        return f"{text}. A copy would be above 30 dB.\n{colours}\nVerdict: {verdict}."

    def _pairs(self) -> list[tuple[float, float]]:
        return list(zip(self.colour, self.colour_error, strict=True))

    def _colours(self) -> list[str]:
        names = ["red", "green", "blue"] if len(self.colour) == 3 else ["brightness"]
        return [f"{name} {d:+.0f} ± {2 * e:.0f}" for name, (d, e) in zip(names, self._pairs(), strict=False)]


def _times(distance: float) -> str:
    return f"{distance:.2f} times as far from them as held-out pictures are"


def check_samples(samples: np.ndarray, data: TrainingData, check: Check, most: int | None = MANY) -> SampleCheck:
    """Compares samples, uint8 (N, H, W, C), with at most so many of the training pictures, evenly chosen."""
    train = data.train[:: math.ceil(len(data.train) / most)] if most else data.train
    held = data.held_out[: len(samples)]
    found = nearest(np.concatenate([samples, held]), data.pixels, train, check)
    count = len(samples)
    own, theirs = _colours(samples), _colours(data.pixels[data.train[:: math.ceil(len(data.train) / MANY)]])
    # Samples of a model that is right vary as the data do, of which more is known than of the samples.
    error = (theirs.std(0, ddof=1) * math.sqrt(1 / len(own) + 1 / len(theirs))).tolist()
    difference = (own.mean(0) - theirs.mean(0)).tolist()
    return SampleCheck(Nearest(found.which[:count], found.psnr[:count]), found.psnr[count:], difference, error)


def _colours(pixels: np.ndarray) -> np.ndarray:
    """(N, channels): the mean colour of each picture, of 255."""
    colours: np.ndarray = pixels.reshape(len(pixels), -1, pixels.shape[-1]).mean(1)
    return colours
