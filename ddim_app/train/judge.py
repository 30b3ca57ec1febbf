"""Models side by side on pictures that none should have seen: `python -m ddim_app.train.judge MODEL [MODEL ...] --data PICTURES`.

All are asked at the same noise levels, those of the tenths of DDPM's linear schedule, and judged by the same error, that of
eps, so that models of other schedules and other predictions can be compared.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ddim_app.diffusion import formulas
from ddim_app.diffusion.noise import BrownianPath, initial_noise, keyed_noise, noise_key
from ddim_app.diffusion.sampler import Row, drive, sample
from ddim_app.diffusion.schedule import Schedule, betas, cumulative
from ddim_app.media.images import contact_sheet, fit, from_pixels, open_picture, to_pixels
from ddim_app.models.loading import Model, ModelError, load

BUCKETS, PER_BUCKET, ROWS_PER_CALL = 10, 100, 50
GRID_SIDE, GRID_SCALE = 6, 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_app.train.judge", description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", type=Path, help="model folders")
    parser.add_argument("--data", type=Path, required=True, help="held-out pictures: a folder, or an .npz file with x (N, H, W, C)")
    parser.add_argument("--palette", help="background colours of the set, as b6e3f4,c0aede: prints how far samples are from them")
    parser.add_argument("--samples", type=int, default=64, help="samples whose background is measured (default 64)")
    parser.add_argument("--grids", type=Path, help="folder for 6 x 6 grids: real pictures, and each model's DDIM-25 and DDPM")
    parser.add_argument("--ddpm-steps", type=int, default=1000, help="steps of the DDPM grid (default 1000)")
    arguments = parser.parse_args()
    try:
        models = [load(folder) for folder in arguments.models]
        pixels = read(arguments.data, models[0].shape[1], models[0].shape[2])
    except (ModelError, ValueError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    names = labels(arguments.models)
    print(table(names, [eps_errors(model, pixels) for model in models]))
    if arguments.palette:
        colours = parse_palette(arguments.palette)
        print("\nbackground: distance of the top left corner to the nearest colour of the palette, of 255 (mean, 90 %)")
        print(f"  real pictures {_apart(pixels, colours)}")
        for name, model in zip(names, models, strict=True):
            print(f"  {name} {_apart(to_pixels(ddim_samples(model, arguments.samples)), colours)}")
    if arguments.grids:
        save_grids(arguments.grids, names, models, pixels, arguments.ddpm_steps)


def read(source: Path, height: int, width: int) -> np.ndarray:
    """uint8 (N, height, width, 3) of the pictures of a folder or an .npz file; raises ValueError."""
    if source.suffix == ".npz":
        pictures = [Image.fromarray(picture) for picture in np.load(source)["x"]]
    elif source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"))
        pictures = [open_picture(path) for path in files]
    else:
        raise ValueError(f"--data must be a folder of pictures or an .npz file; got {source}")
    if not pictures:
        raise ValueError(f"--data {source} holds no pictures")
    return np.stack([np.asarray(fit(picture, height, width)) for picture in pictures])


def eps_errors(model: Model, pixels: np.ndarray) -> list[float]:
    """Mean squared error of eps on the pictures in each tenth of the noise levels, least noise first.

    The levels are alpha_bar of the linear schedule, each met at the model's own nearest timestep; pictures and noises are the
    same for every model.
    """
    reference = Schedule(cumulative(betas())).alphas_cumprod
    count = BUCKETS * PER_BUCKET
    levels = reference[torch.arange(count) * len(reference) // count]
    own = model.schedule.alphas_cumprod
    t = (torch.log(own / (1 - own))[None] - torch.log(levels / (1 - levels))[:, None]).abs().argmin(1)
    order = np.random.default_rng(0).permutation(len(pixels))[np.arange(count) % len(pixels)]
    key, losses = noise_key(0), []
    for first in range(0, count, ROWS_PER_CALL):
        rows = slice(first, first + ROWS_PER_CALL)
        x0 = from_pixels(pixels[order[rows]])
        noise = torch.stack([keyed_noise(key, i, model.shape) for i in range(rows.start, rows.stop)])
        alpha_bar = own[t[rows]]
        x_t = formulas.add_noise(x0, noise, alpha_bar)
        _, eps = formulas.denoise(_predict(model, x_t, t[rows]), x_t, alpha_bar.view(-1, 1, 1, 1), model.schedule.prediction_type)
        losses.append((eps.float() - noise).square().flatten(1).mean(1))
    return [float(part.mean()) for part in torch.cat(losses).view(BUCKETS, PER_BUCKET)]


def ddim_samples(model: Model, count: int, steps: int = 25) -> Tensor:
    """(count, C, H, W): the seeds 0 to count - 1 by DDIM."""
    return _sampled(model, [Row(model.schedule.levels(steps), clip="clip")] * count)


def ddpm_samples(model: Model, count: int, steps: int) -> Tensor:
    """(count, C, H, W): the same seeds by DDPM with the model's own variance."""
    paths = [BrownianPath(model.schedule, model.shape, seed) for seed in range(count)]
    levels = model.schedule.levels(steps)
    return _sampled(model, [Row(levels, 1.0, model.schedule.variance, "clip", path.between) for path in paths])


def parse_palette(text: str) -> np.ndarray:
    """(n, 3) of colours such as b6e3f4,c0aede."""
    return np.array([list(bytes.fromhex(word.strip().lstrip("#"))) for word in text.split(",")], dtype=float)


def background_distance(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(N,): Euclidean distance in RGB of each picture's top left corner (2 x 2 mean) to the nearest colour."""
    corners = pixels[:, :2, :2].reshape(len(pixels), -1, 3).mean(1)
    distances: np.ndarray = np.linalg.norm(corners[:, None] - colours[None], axis=-1).min(1)
    return distances


def labels(folders: Sequence[Path]) -> list[str]:
    """What each folder is called: by its name, or with as many of the folders above as tell all apart."""
    parts = [folder.absolute().parts for folder in folders]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["-".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{folder.name}-{i + 1}" for i, folder in enumerate(folders)]


def table(names: Sequence[str], errors: Sequence[Sequence[float]]) -> str:
    """The errors as Markdown, a row for each model, with the ratio to the last model where there are several."""
    head = ["eps error on held-out pictures", *(f"{10 * i}-{10 * i + 10} %" for i in range(BUCKETS)), "mean"]
    rows = [[name, *_figures(line, 5)] for name, line in zip(names, errors, strict=True)]
    for name, line in zip(names[:-1], errors[:-1], strict=True):
        pair = f"{name} / {names[-1]}"
        rows.append([pair, *(f"{a / b:.3f}" for a, b in zip(line, errors[-1], strict=True)), f"{sum(line) / sum(errors[-1]):.3f}"])
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def _figures(line: Sequence[float], digits: int) -> list[str]:
    return [f"{value:.{digits}f}" for value in (*line, sum(line) / len(line))]


def save_grids(folder: Path, names: Sequence[str], models: Sequence[Model], pixels: np.ndarray, ddpm_steps: int) -> None:
    """6 x 6 grids as PNG: the first real pictures, and each model's samples of the seeds 0 to 35."""
    folder.mkdir(parents=True, exist_ok=True)
    count = GRID_SIDE**2
    _save(pixels[:count], folder / "real.png")
    for name, model in zip(names, models, strict=True):
        _save(to_pixels(ddim_samples(model, count)), folder / f"{name}-ddim25.png")
        _save(to_pixels(ddpm_samples(model, count, ddpm_steps)), folder / f"{name}-ddpm{ddpm_steps}.png")


def _save(pixels: np.ndarray, path: Path) -> None:
    contact_sheet(pixels, GRID_SIDE, GRID_SCALE, gap=2).save(path)
    print(path)


def _apart(pixels: np.ndarray, colours: np.ndarray) -> str:
    distances = background_distance(pixels, colours)
    return f"{distances.mean():.2f}, {np.quantile(distances, 0.9):.2f}"


def _sampled(model: Model, rows: list[Row]) -> Tensor:
    schedule = model.schedule
    latents = initial_noise(range(len(rows)), model.shape)
    own: dict[str, Any] = {"prediction_type": schedule.prediction_type, "clip_range": schedule.clip_range}
    process = sample(latents, [replace(row, **own) for row in rows])
    x = latents
    for step in drive(process, lambda x_t, t: _predict(model, x_t, t)):
        x = step.x_next
    return x


def _predict(model: Model, x_t: Tensor, t: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = model.unet(x_t.float(), t, return_dict=False)[0]
    return output.float()


if __name__ == "__main__":
    main()
