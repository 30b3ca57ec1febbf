"""`python -m ddim_app generate`: the pictures of a recipe, as PNG files that carry it."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from ddim_app.commands.engines import local_engine
from ddim_app.diffusion.noise import picture_seed
from ddim_app.errors import FieldError
from ddim_app.media.files import write_file
from ddim_app.media.images import to_pil, to_pixels
from ddim_app.runs import codecs, key_values
from ddim_app.runs.sampling import Recipe

HELP = {
    "model": "a model of weights/ or runs/, a folder, or an id on the Hugging Face Hub",
    "precision": "fast, fp32 or fp64",
    "bucket": "rows of every network call, as a finished recipe names it to make the same bits again",
    "backend": "torch or openvino, as a finished recipe names it; what is not here is done by torch",
    "weights": "sha256 of the weights that the recipe was made with; others are said",
    "class_label": "a class of a model that has some, by its name or number, or none, the null class (default: by the seed)",
    "guidance": "of a class: 1 is the class alone, 0 none; above 1 two evaluations a step (default: 1)",
    "seed": "0 to 2^32 - 1; picture i has seed + i",
    "pictures": "how many, 1 to 16",
    "noise_seed": "names the step noise (default: follows the seed)",
    "branch": "another step noise for the same seeds",
    "method": "ddim, ddpm or 2m, which is DPM-Solver++ (2M)",
    "steps": "network evaluations per picture",
    "spacing": "leading, trailing, linspace, quadratic, quadratic-paper or log-snr",
    "timesteps": "the train timesteps to visit, such as 999~500~0",
    "eta": "0 is DDIM, 1 has DDPM's variance; at most 2",
    "variance": "DDPM's: small, large, or learned where the network has one; analytic, DDIM's too, where it is estimated",
    "clip": "what is done to the predicted picture: clip, off or dynamic",
    "start_arm": "begin where that earlier arm (from 0) is after start_step transitions",
    "start_step": "after how many of its transitions",
}
EPILOG = """\
Settings that are given beside --recipe take the place of the recipe's; the first arm's also stand for further arms that do
not say otherwise. Examples:

  python -m ddim_app generate --steps 25 --eta 0.5 --seed 7
  python -m ddim_app generate --recipe picture.png --seed 8 --output more
  python -m ddim_app generate --steps 10 --arm method:ddpm --arm method:ddpm,variance:large
  python -m ddim_app generate --steps 10 --method 2m --spacing log-snr
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "generate", help="draw the pictures of a recipe", description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--recipe", metavar="FILE", help="a PNG picture of this app, a recipe's JSON, or - for JSON from the input")
    parser.add_argument("--output", type=Path, default=Path("pictures"), metavar="DIR", help="where to (default: pictures)")
    _settings(parser)
    parser.set_defaults(run=run, parser=parser)


def _settings(parser: argparse.ArgumentParser) -> None:
    shown = key_values.slots(Recipe)
    for key, slot in shown.items():
        if "." not in key:
            default = "" if slot.default is None else f" (default: {slot.default})"
            parser.add_argument(key_values.option(key), dest=key, metavar="X", help=HELP[key] + default)
    parser.add_argument(
        "--arm", action="append", default=[], metavar="NAME:X,..", help="one more arm, by what it has otherwise than the arm before"
    )
    for key in [key for key in shown if "." in key]:
        parser.add_argument(key_values.option(key), dest=key, metavar="X", help=f"the first arm's own {key.split('.')[1]}")
    parser.add_argument("--kind", help=argparse.SUPPRESS)


def pairs_of(arguments: argparse.Namespace) -> list[key_values.Pair]:
    """The settings that were given, as pairs."""
    named = vars(arguments)
    given = [(key, named[key]) for key in ("kind", *key_values.slots(Recipe)) if named[key] is not None]
    return [*given, *(("arm", text) for text in arguments.arm)]


def recipe_of(arguments: argparse.Namespace) -> codecs.ReadRecipe:
    """The recipe of the file, with the settings that were given in place of its own; raises FieldError."""
    given = pairs_of(arguments)
    if arguments.recipe is None:
        return codecs.read_values(key_values.from_pairs(given))
    read = codecs.read_file(_read(arguments.recipe))
    if not given:
        return read
    stays = [pair for pair in key_values.to_pairs(read.recipe) if pair[0] not in dict(given)]
    return read._replace(recipe=codecs.read_values(key_values.from_pairs([*stays, *given])).recipe)


def run(arguments: argparse.Namespace) -> None:
    read = recipe_of(arguments)
    for note in read.notes:
        print(note, file=sys.stderr)
    if not isinstance(read.recipe, Recipe):
        raise FieldError("kind", f"must be {Recipe.kind} for this command; this recipe is of the kind {read.recipe.kind}")
    for path in write(read.recipe, arguments.output):
        print(path)


def write(recipe: Recipe, folder: Path) -> Iterator[Path]:
    """Runs the recipe and writes its pictures, named by arm and seed; raises FieldError."""

    engine = local_engine(*recipe.models)
    plan = engine.plan(recipe)
    note = codecs.other_weights(recipe, dict(zip(recipe.models, (model.hashes for model in plan.models), strict=True)))
    if note:
        print(note, file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    handle = engine.run(plan)
    finals, made = handle.result, cast(Recipe, handle.recipe)
    for a, arm in enumerate(made.arms):
        seed = made.seed if arm.seed is None else arm.seed
        for i, pixels in enumerate(to_pixels(finals[a])):
            path = folder / f"{a + 1:02}-{arm.method}-{plan.rows[a].transitions}-steps-seed-{picture_seed(seed, i)}.png"
            write_file(path, codecs.png(to_pil(pixels), made))
            yield path


def _read(name: str) -> bytes:
    """The bytes of a recipe's file, at most one more than are ever used."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(codecs.MAX_FILE + 1)
        path = Path(name)
        if path.stat().st_size > codecs.MAX_FILE:
            raise FieldError("file", f"must have at most {codecs.MAX_FILE // 1_000_000} MB; {path.name} has more")
        return path.read_bytes()
    except OSError as error:
        raise FieldError("recipe", f"file {name} cannot be read: {error.strerror}") from error
