"""The settings of a run: one frozen value that checks itself, its defaults from a small commented file per preset."""

import argparse
import dataclasses
import math
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from PIL import ImageColor

from ddim_app.models.catalogue import ROOT

PRESETS = Path(__file__).resolve().parent / "presets"
FINE_TUNE = "fine-tune"


class TrainError(ValueError):
    """A run that cannot start or go on; the message is one sentence for the user."""


def option(
    default: Any, text: str, low: float | None = None, high: float | None = None, *,
    choices: tuple[str, ...] | None = None, free: bool = False, name: str | None = None,
) -> Any:  # fmt: skip
    """A field with its help text and range. `free` ones do not change the result, so a resumed run may change them."""
    metadata = {"text": text, "low": low, "high": high, "choices": choices, "free": free, "name": name}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """Everything that defines a run, as on its command line. Raises TrainError naming the first option out of its range."""

    data: str = option(
        "", "folder of pictures (searched with all its subfolders), or a .zip, .tar or .parquet file of them, or an .npz or .npy "
        "file with x uint8 (N, H, W, C)",
    )  # fmt: skip
    init: str | None = option(
        None, "model to fine-tune: a folder, a name as in the app, or an id on the Hugging Face Hub [avatars-32]"
    )
    preset: str | None = option(None, "train from scratch instead, by a file of ddim_app/train/presets")
    output: str = option("", "folder of the run, which is also the model [runs/NAME OF THE DATA FOLDER]", free=True)
    steps: int = option(1000, "optimiser steps", 1, 10_000_000)
    minutes: float | None = option(None, "measure the speed and fix --steps once so that the run takes this long", 0.1, 100_000)
    by_clock: bool = option(
        False,
        "with --minutes, end on time on a machine that does other work too: number of steps and learning rate follow the "
        "time that has passed, so that a run that is stopped and goes on no longer ends with the same bits",
    )
    batch_size: int = option(32, "pictures per step and process", 1, 4096)
    accumulate: int = option(1, "forward passes per step, for batches that do not fit into memory", 1, 1024)
    lr: float = option(2e-4, "peak learning rate of AdamW", 1e-8, 1.0)
    warmup: int = option(50, "steps over which the learning rate rises; at most a tenth of the run", 0, 1_000_000)
    lr_decay: str = option("half", "half: linear to zero over the second half; none: constant", choices=("half", "none"))
    weight_decay: float = option(0.01, "AdamW's decay of matrices and kernels", 0.0, 1.0)
    decay_norms: bool = option(False, "decay biases and norms as well")
    clip_norm: float = option(1.0, "largest gradient norm", 1e-6, 1e6)
    ema_max: float = option(0.9995, "longest memory of the averaged weights, which are what is saved as the model", 0.0, 0.999999)
    several_averages: bool = option(
        True,
        "keep an average a third as long and one three times as long as well, of which one may be chosen at the end, by "
        "held-out loss",
    )
    prediction: str | None = option(None, "what a model from scratch predicts [the preset's]", choices=("epsilon", "v_prediction"))
    beta_schedule: str | None = option(
        None, "noise schedule of a model from scratch [the preset's]", choices=("linear", "squaredcos_cap_v2")
    )
    min_snr: float | None = option(None, "gamma of min-SNR weighting (arXiv:2303.09556; its authors use 5) [off]", 0.01, 1000)
    timestep_density: str = option(
        "uniform", "how often each timestep is trained: uniform, or cosine: the cosine schedule's density of log-SNR",
        choices=("uniform", "cosine"),
    )  # fmt: skip
    dropout: float = option(0.0, "dropout inside the network", 0.0, 0.9)
    resolution: int | None = option(None, "side of the pictures [the model's]", 8, 1024)
    crop: str = option("center", "center, or random: a random part of seven eighths of the side", choices=("center", "random"))
    classes: bool = option(
        False, "learn the class of each picture, the name of its subfolder, or y and classes of an .npz, so that the model draws "
        "pictures of a class",
    )  # fmt: skip
    class_dropout: float = option(
        0.1, "with --classes, the part of the pictures that is shown without its class, for guidance; 0: no null class", 0.0, 0.9
    )
    mirror: bool = option(False, "mirror half of the pictures at random")
    small_set_shift: float = option(
        0.0, "in a set of fewer than 200 pictures, move each at random by up to this part of its side, edges repeated, so that "
        "they are not learned by heart", 0.0, 0.25,
    )  # fmt: skip
    background: str = option("white", "colour laid under transparent pictures")
    holdout: str | None = option(
        None, "held-out pictures: a number, or a source such as --data is [5 %, at most 256; of few pictures a sixth, up to 8]"
    )
    seed: int = option(0, "defines everything random", 0, 2**32 - 1)
    precision: str = option("auto", "auto: bf16 where it is native, else fp32", choices=("auto", "fp32", "bf16", "fp16"))
    compile: bool = option(False, "torch.compile the network (worth its minutes on a GPU)")
    gradient_checkpointing: bool = option(
        False, "compute parts of the forward pass twice, for networks that do not fit into memory"
    )
    checkpoint_every: int | None = option(None, "steps between checkpoints [about two minutes]", 1, 10_000_000, free=True)
    keep: int = option(2, "checkpoints kept", 1, 1000, free=True)
    preview_every: int | None = option(
        None, "steps between preview grids with held-out loss, 0 for none [after about a minute, then at growing intervals, "
        "at least 4 in a run]", 0, 10_000_000, free=True,
    )  # fmt: skip
    threads: int | None = option(None, "threads of a CPU [as measured before the first step]", 1, 1024, free=True)
    cache: str | None = option(
        None, "where decoded pictures are kept, which may be deleted after the run [.cache beside the run's folder]", free=True
    )
    keep_data: bool = option(False, "go on with the pictures that the run was begun with, though --data has changed", free=True)
    tracker: str = option(
        "tensorboard", "where figures are shown besides metrics.jsonl: tensorboard where it is installed, wandb, or none",
        choices=("tensorboard", "wandb", "none"), free=True,
    )  # fmt: skip
    push_to_hub: str | None = option(
        None, "upload the finished model to this repository of the Hugging Face Hub", free=True, name="REPO"
    )
    dry_run: bool = option(False, "print the data report and the estimate, and stop", free=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field, getattr(self, field.name))
        if not self.data:
            raise TrainError("--data is needed: a folder of pictures to train on")
        if self.by_clock and self.minutes is None:
            raise TrainError("--by-clock needs --minutes, the time after which the run ends")
        if self.preset and self.init:
            raise TrainError("--init (fine-tune) and --preset (from scratch) exclude each other: give one of them")
        if not self.preset and (self.prediction or self.beta_schedule):
            raise TrainError(
                "--prediction and --beta-schedule come from the model that is fine-tuned: give them with --preset only"
            )
        try:
            ImageColor.getrgb(self.background)
        except ValueError as error:
            raise TrainError(f"--background must be a colour such as white or #b6e3f4; got {self.background!r}") from error


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def kind(field: dataclasses.Field[Any]) -> type:
    """The type of a field's values, None left out."""
    types_ = [t for t in typing.get_args(field.type) if t is not types.NoneType] or [field.type]
    return typing.cast(type, types_[0])


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises TrainError unless the value is of the field's type and in its range."""
    rule = field.metadata
    if value is None and types.NoneType in typing.get_args(field.type):
        return
    wanted = kind(field)
    ok = type(value) is wanted or (wanted is float and type(value) is int)
    if ok and rule["choices"]:
        ok = value in rule["choices"]
    if ok and rule["low"] is not None:
        ok = math.isfinite(value) and rule["low"] <= value <= rule["high"]
    if not ok:
        raise TrainError(f"{flag(field.name)} must be {expected(field)}; got {value!r}")


def expected(field: dataclasses.Field[Any]) -> str:
    """The allowed values of a field, in words."""
    rule = field.metadata
    if rule["choices"]:
        return "one of " + ", ".join(rule["choices"])
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind(field)]
    return f"{words} in {rule['low']}..{rule['high']}" if rule["low"] is not None else words


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.toml") if path.stem != FINE_TUNE)


def read_preset(name: str) -> dict[str, Any]:
    """The tables of a preset, which may also be the path of a .toml file; raises TrainError when there is no such preset."""
    path = PRESETS / f"{name}.toml" if name in [*presets(), FINE_TUNE] else Path(name)
    if path.suffix != ".toml" or not path.is_file():
        raise TrainError(f"--preset must be one of {', '.join(presets())}, or the path of such a .toml file; got {name!r}")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TrainError(f"--preset {name}: it cannot be read ({error})") from error


def resolve(given: Mapping[str, Any]) -> Settings:
    """Settings from the options that were given, the preset's values and the defaults, in this order.

    A run needs at least `data`; without `preset` and `init` it fine-tunes the bundled model.
    """
    preset = given.get("preset")
    defaults = read_preset(preset or FINE_TUNE).get("train", {})
    unknown = sorted(set(defaults) - set(FIELDS))
    if unknown:
        raise TrainError(f"--preset {preset}: unknown settings {', '.join(unknown)} in [train]")
    values = {**defaults, **given}
    if not preset and not values.get("init"):
        values["init"] = "avatars-32"
    values["output"] = output(values)
    return Settings(**values)


def output(given: Mapping[str, Any]) -> str:
    """The folder of the run: the one that was named, else runs/ and the name of the data."""
    if given.get("output"):
        return str(given["output"])
    source = Path(given.get("data") or "run").expanduser().resolve()
    if source.is_file():
        source = source.with_suffix("")
    return str(ROOT / "runs" / source.name.removesuffix(".tar"))


class OptionParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise TrainError(f"{message}; --help lists all options")


def parser() -> argparse.ArgumentParser:
    top = OptionParser(
        prog="python -m ddim_app.train", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.dedent("""\
            Turns a folder of pictures into a model that the app shows.

              python -m ddim_app.train --data my_photos                      fine-tunes the bundled model
              python -m ddim_app.train --data my_photos --minutes 30         the same, in about half an hour
              python -m ddim_app.train --data my_photos --preset tiny-32     a small model from scratch
              torchrun --nproc_per_node 4 -m ddim_app.train --data my_photos on four GPUs

            A run that was stopped, in whatever way, goes on when it is started again with the same command."""),
    )  # fmt: skip
    for name, field in FIELDS.items():
        rule = field.metadata
        default = "" if field.default in (None, "", False) or "[" in rule["text"] else f" [{field.default}]"
        text = (rule["text"] + default).replace("%", "%%")
        if kind(field) is bool:
            top.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            metavar = rule["name"] or ("|".join(rule["choices"]) if rule["choices"] else kind(field).__name__.upper())
            top.add_argument(flag(name), type=_converter(name), default=argparse.SUPPRESS, metavar=metavar, help=text)
    return top


def parse(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The options that were given, by field name; raises TrainError, or prints the help and exits."""
    return vars(parser().parse_args(arguments))


def _converter(name: str) -> Callable[[str], Any]:
    field = FIELDS[name]

    def convert(text: str) -> Any:
        try:
            return kind(field)(text)
        except ValueError:
            return text  # which Settings refuses, naming the range

    return convert
