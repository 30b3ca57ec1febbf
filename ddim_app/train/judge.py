"""Models side by side on pictures that none should have seen: `python -m ddim_app.train.judge MODEL [MODEL ...] --data PICTURES`.

All are asked at the same noise levels, those of the tenths of DDPM's linear schedule, and judged by the same error, that of
eps, so that models of other schedules and other predictions can be compared.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ddim_app.diffusion import formulas
from ddim_app.diffusion.noise import BrownianPath, Shape, initial_noise, keyed_noise, noise_key
from ddim_app.diffusion.output_check import output_fault, peaks
from ddim_app.diffusion.sampler import Row, drive, sample
from ddim_app.diffusion.schedule import Level, Schedule, betas, cumulative
from ddim_app.errors import FieldError, RunError, refused_by_disk, shown, whole
from ddim_app.media import folders
from ddim_app.media.files import write_file
from ddim_app.media.folders import PICTURE_SUFFIXES, PictureFile, SourceError
from ddim_app.media.images import contact_sheet, from_pixels, png_bytes, to_pixels
from ddim_app.models.catalogue import load_model
from ddim_app.models.hub import say
from ddim_app.models.loading import Model

T = TypeVar("T")
BUCKETS, PER_BUCKET, ROWS_PER_CALL = 10, 100, 50
GRID_SIDE, GRID_SCALE = 6, 3


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_app.train.judge", description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", help="models of weights/ or runs/, folders, or ids on the Hugging Face Hub")
    parser.add_argument("--data", type=Path, required=True, help=f"held-out pictures: {folders.KINDS}")
    parser.add_argument("--palette", help="background colours of the set, as b6e3f4,c0aede: prints how far samples are from them")
    parser.add_argument("--samples", type=int, default=64, help="samples whose background is measured (default 64)")
    parser.add_argument("--grids", type=Path, help="folder for 6 x 6 grids: real pictures, and each model's DDIM-25 and DDPM")
    parser.add_argument("--ddpm-steps", type=int, help="steps of the DDPM grid (default 1000, or all)")
    try:
        run(parser.parse_args())
    except (ValueError, RunError) as error:  # ModelError and FieldError among them
        sys.exit(f"{parser.prog}: {error}")
    except OSError as error:
        sys.exit(f"{parser.prog}: {refused_by_disk(error)}")


def run(arguments: argparse.Namespace) -> None:
    """The whole of the command; raises ValueError, OSError, or RunError when a model's output is no prediction."""
    names = labels([Path(name) for name in arguments.models])
    models = [load_model(name, say) for name in arguments.models]
    whole("--samples", arguments.samples, 1, 4096)
    fewest = min(model.schedule.num_train_timesteps for model in models)
    ddpm_steps = min(fewest, 1000) if arguments.ddpm_steps is None else whole("--ddpm-steps", arguments.ddpm_steps, 1, fewest)
    colours = parse_palette(arguments.palette) if arguments.palette else None
    for name, model in zip(names, models, strict=True):
        if model.shape != models[0].shape:
            raise ValueError(
                f"models must make pictures of one kind, but {names[0]} makes {_size(models[0])} and {name} {_size(model)}: "
                "judge them one by one"
            )
    pixels = read(arguments.data, models[0].shape)
    print(table(names, [_named(name, eps_errors, model, pixels) for name, model in zip(names, models, strict=True)]))
    if colours is not None:
        print("\nbackground: distance of the top left corner to the nearest colour of the palette, of 255 (mean, 90 %)")
        print(f"  real pictures {_apart(pixels, colours)}")
        for name, model in zip(names, models, strict=True):
            print(f"  {name} {_apart(to_pixels(_named(name, ddim_samples, model, arguments.samples)), colours)}")
    if arguments.grids:
        save_grids(arguments.grids, names, models, pixels, ddpm_steps)


def _size(model: Model) -> str:
    channels, height, width = model.shape
    return f"{'grey' if channels == 1 else 'RGB'} {width}x{height}"


def read(source: Path, shape: Shape) -> np.ndarray:
    """uint8 (N, H, W, C) of a source's pictures, for models of shape (C, H, W). Raises ValueError when there is none, or one that
    is broken: without it the figures would be those of another set."""
    channels, height, width = shape
    pictures = []
    try:
        for file in folders.contents(source):
            try:
                if isinstance(file, PictureFile):
                    pictures.append(folders.fitted(folders.opened(file.content)[1], height, width, channels))
            except ValueError as error:
                if Path(file.name).suffix.lower() in PICTURE_SUFFIXES:
                    raise SourceError(f"{source}: {file.name} cannot be used: {error}; mend it or take it away") from error
    except SourceError as error:
        raise ValueError(f"--data {error}") from error
    if not pictures:
        raise ValueError(f"--data {source} holds no pictures")
    return np.stack(pictures)


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
    key, losses, unknown = noise_key(0), [], _unknown(model)
    for first in range(0, count, ROWS_PER_CALL):
        rows = slice(first, first + ROWS_PER_CALL)
        x0 = from_pixels(pixels[order[rows]])
        noise = torch.stack([keyed_noise(key, i, model.shape) for i in range(rows.start, rows.stop)])
        alpha_bar = own[t[rows]]
        x_t = formulas.add_noise(x0, noise, alpha_bar)
        output = _predict(model, x_t, t[rows], *([torch.full_like(t[rows], unknown[0])] if unknown else []))
        if fault := output_fault(float(peaks(output).max()), f"step {first // ROWS_PER_CALL + 1}"):
            raise RunError(fault)
        _, eps = formulas.denoise(output, x_t, alpha_bar.view(-1, 1, 1, 1), model.schedule.prediction_type)
        losses.append((eps.float() - noise).square().flatten(1).mean(1))
    return [float(part.mean()) for part in torch.cat(losses).view(BUCKETS, PER_BUCKET)]


def ddim_samples(model: Model, count: int, steps: int = 25) -> Tensor:
    """(count, C, H, W): the seeds 0 to count - 1 by DDIM."""
    return _sampled(model, [Row(_levels(model, steps), clip="clip")] * count)


def ddpm_samples(model: Model, count: int, steps: int) -> Tensor:
    """(count, C, H, W): the same seeds by DDPM with the model's own variance."""
    paths = [BrownianPath(model.schedule, model.shape, seed) for seed in range(count)]
    levels, variance = _levels(model, steps), model.schedule.learned or model.schedule.variance
    return _sampled(model, [Row(levels, 1.0, variance, "clip", path.between) for path in paths])


def parse_palette(text: str) -> np.ndarray:
    """(n, 3) of colours such as b6e3f4,c0aede; raises FieldError."""
    words = [word.strip().removeprefix("#") for word in text.split(",")]
    try:
        return np.array([list(bytes.fromhex(word)) for word in words], dtype=float).reshape(len(words), 3)
    except ValueError as error:
        raise FieldError("--palette", f"must be colours such as b6e3f4,c0aede; got {shown(text)}") from error


def background_distance(pixels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(N,): Euclidean distance in RGB of each picture's top left corner (2 x 2 mean) to the nearest colour."""
    corners = pixels[:, :2, :2].reshape(len(pixels), -1, pixels.shape[-1]).mean(1)  # grey is compared with each of R, G and B
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
        _save(to_pixels(_named(name, ddim_samples, model, count)), folder / f"{name}-ddim25.png")
        _save(to_pixels(_named(name, ddpm_samples, model, count, ddpm_steps)), folder / f"{name}-ddpm{ddpm_steps}.png")


def _named(name: str, measure: Callable[..., T], *values: Any) -> T:
    """What `measure` returns; a RunError of its model gets the model's name."""
    try:
        return measure(*values)
    except RunError as error:
        raise RunError(f"{name}: {error}") from error


def _levels(model: Model, steps: int) -> list[Level]:
    schedule = model.schedule
    return schedule.levels(min(steps, schedule.num_train_timesteps), schedule.usual_spacing)


def _save(pixels: np.ndarray, path: Path) -> None:
    write_file(path, png_bytes(contact_sheet(pixels, GRID_SIDE, GRID_SCALE, gap=2)))
    print(path)


def _apart(pixels: np.ndarray, colours: np.ndarray) -> str:
    distances = background_distance(pixels, colours)
    return f"{distances.mean():.2f}, {np.quantile(distances, 0.9):.2f}"


def _sampled(model: Model, rows: list[Row]) -> Tensor:
    schedule = model.schedule
    latents = initial_noise(range(len(rows)), model.shape)
    own: dict[str, Any] = {"prediction_type": schedule.prediction_type, "clip_range": schedule.clip_range}
    classes = [model.classes.asked(None, seed=seed) for seed in range(len(rows))]
    process = sample(latents, [replace(row, classes=y, **own) for row, y in zip(rows, classes, strict=True)])
    x = latents
    for step in drive(process, partial(_predict, model)):
        x = step.x_next
    return x


def _unknown(model: Model) -> tuple[int, ...]:
    """The class of pictures of which nothing is said; raises ValueError for a model of classes that has none for them."""
    if model.classes.names and model.classes.null is None:
        raise ValueError(f"{model.name} has classes and was trained without a null class, so these pictures cannot judge it")
    return model.classes.asked(None)


def _predict(model: Model, x_t: Tensor, *given: Tensor) -> Tensor:
    with torch.inference_mode():
        output: Tensor = model.unet(x_t.float(), *given, return_dict=False)[0]
    return output.float()


if __name__ == "__main__":
    main()
