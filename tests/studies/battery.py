"""Corruptions of real pictures, weak to strong: what a measure of quality must see, and in this order.

`python -m tests.studies.battery PICTURES` prints the whole battery for docs/quality.md. The feature space was chosen by
the kinds of CHOOSING alone; HELD_BACK was looked at when the choice was made.
"""

import argparse
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from ddim_app.studies.quality_table import Reference, SetFigures, read_pictures


def faces(count, side=32):
    """uint8 (count, side, side, 3): a head with two eyes and a mouth each, for where no real pictures are at hand."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    made = np.empty((count, side, side, 3))
    for picture in made:
        picture[:] = [(182, 227, 244), (192, 174, 222), (255, 213, 220)][rng.integers(3)]
        top, left, size = 0.5 + rng.normal(0, 0.03), 0.5 + rng.normal(0, 0.03), 0.3 + rng.normal(0, 0.02)
        picture[(y - top) ** 2 + (x - left) ** 2 < size**2] = rng.normal((230, 180, 150), 12)
        for place in (-0.12, 0.12):
            picture[(y - top + 0.06) ** 2 + (x - left - place) ** 2 < 0.05**2] = rng.uniform(0, 90, 3)
        picture[(abs(y - top - 0.13) < 0.03) & (abs(x - left) < rng.uniform(0.05, 0.14))] = (180, 60, 70)
    return made.round().clip(0, 255).astype(np.uint8)


def noise(pixels, deviation):
    drawn = np.random.default_rng(1).normal(0, deviation, pixels.shape)
    return (pixels + drawn).round().clip(0, 255).astype(np.uint8)


def blur(pixels, deviation):
    """Gaussian, in pixels, with the edge repeated."""
    reach = int(np.ceil(4 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    values = pixels.astype(float)
    for axis in (1, 2):
        widths = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        padded, size = np.pad(values, widths, mode="edge"), values.shape[axis]
        values = sum(weight * padded.take(range(i, i + size), axis) for i, weight in enumerate(kernel))
    return values.round().astype(np.uint8)


def shift(pixels, amount):
    """Redder and less blue."""
    return (pixels + np.array([amount, 0, -amount])).clip(0, 255).astype(np.uint8)


def jpeg(pixels, quality):
    made = []
    for picture in pixels:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        made.append(np.asarray(Image.open(buffer).convert("RGB")))
    return np.stack(made)


def squares(pixels, side):
    """A grey square of that side at a random place of each picture."""
    made, rng = pixels.copy(), np.random.default_rng(2)
    for picture in made:
        top, left = rng.integers(0, pixels.shape[1] - side + 1), rng.integers(0, pixels.shape[2] - side + 1)
        picture[top : top + side, left : left + side] = 128
    return made


def copies(pixels, share):
    """Only one picture of `share` is left, as often as that makes up for it: less diversity, and each picture is real."""
    return pixels[: len(pixels) // share].repeat(share, 0)[np.random.default_rng(3).permutation(len(pixels) // share * share)]


CHOOSING = {"noise": (noise, (5, 15, 40)), "blur": (blur, (0.5, 1, 2)), "shift": (shift, (5, 10, 20)), "JPEG": (jpeg, (90, 50, 20))}
HELD_BACK = {"squares": (squares, (2, 4, 8)), "copies": (copies, (2, 4, 8))}


def measure(pixels, kinds):
    """The figures of every kind and strength on the second third of the pictures, against the first; `floor` without corruption."""
    count = len(pixels) // 3
    reference, others = Reference.first(pixels, count), pixels[count : 2 * count]
    figures: dict[tuple[str, float], SetFigures] = {("floor", 0): reference.figures(others)}
    for kind, (corrupt, strengths) in kinds.items():
        for strength in strengths:
            figures[kind, strength] = reference.figures(corrupt(others, strength))
    return figures


def misordered(figures, kinds):
    """The kinds whose kernel distances do not grow from the floor with the strength; all are of the same pictures."""
    wrong = []
    for kind, (_, strengths) in kinds.items():
        values = [figures["floor", 0].kernel.value, *(figures[kind, strength].kernel.value for strength in strengths)]
        if any(weak >= strong for weak, strong in pairwise(values)):
            wrong.append(kind)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--count", type=int, default=192)
    parser.add_argument("--side", type=int, default=32)
    arguments = parser.parse_args()
    pixels = read_pictures("pictures", arguments.pictures, (3, arguments.side, arguments.side), 3 * arguments.count)
    kinds = CHOOSING | HELD_BACK
    figures = measure(pixels, kinds)
    print(
        "| corruption | strength | kernel distance | Frechet distance | precision | recall |\n| --- | --- | --- | --- | --- | --- |"
    )
    for (kind, strength), found in figures.items():
        frechet, share = f"{found.frechet.value:.2f} ± {found.frechet.error:.2f}", found.shares
        print(f"| {kind} | {strength} | {found.kernel} | {frechet} | {share.precision:.3f} | {share.recall:.3f} |")
    print("out of order or not seen:", ", ".join(misordered(figures, kinds)) or "none")


if __name__ == "__main__":
    main()
