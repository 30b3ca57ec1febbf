"""`python -m ddim_app sample`: a set of many pictures of one sampler, by one process or by many."""

import argparse
from pathlib import Path
from typing import Any, cast

from ddim_app.backends import launch
from ddim_app.commands.generate import HELP
from ddim_app.errors import RunError
from ddim_app.runs import codecs, key_values
from ddim_app.runs.sampling import Recipe

LEFT_OUT = {"model", "pictures", "weights", "noise_seed", "start_arm", "start_step"}
FORMAT_HELP = "png: folders of PNG files; npz: pictures.npz with an array arr_0, as ADM's evaluator reads it (default: png)"
EPILOG = """\
Picture i has seed + i whoever draws it: one process, many, and the same command started again after a stop make the same bits
(same bucket and backend). On several GPUs or machines that see one folder:

  torchrun --nproc_per_node 8 -m ddim_app sample avatars-32 --count 50000 --steps 50 --output set
  accelerate launch --multi_gpu --num_processes 8 -m ddim_app sample avatars-32 --count 50000 --steps 50 --output set
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "sample", help="draw a set of many pictures, by one process or by many", description=__doc__, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a model of weights/ or runs/, a folder, or an id on the Hugging Face Hub")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="pictures of the set")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the set; a set begun there goes on")
    parser.add_argument("--format", default="png", metavar="F", help=FORMAT_HELP)
    for key, slot in settings().items():
        default = "" if slot.default is None else f" (default: {slot.default})"
        parser.add_argument(key_values.option(key), dest=key, metavar="X", help=HELP[key] + default)
    parser.set_defaults(run=run, parser=parser)


def settings() -> dict[str, key_values.RecipeField]:
    """The settings of a set's sampler, by their keys."""
    return {key: slot for key, slot in key_values.slots(Recipe).items() if "." not in key and key not in LEFT_OUT}


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe of the set; raises FieldError."""
    given = [(key, value) for key in settings() if (value := getattr(arguments, key)) is not None]
    return cast(Recipe, codecs.read_values(key_values.from_pairs([("model", arguments.model), *given])).recipe)


def run(arguments: argparse.Namespace) -> None:
    launch.take_own_gpu()
    from ddim_app.commands.engines import local_engine
    from ddim_app.studies.picture_sets import PictureSet, pinned
    from ddim_app.studies.ranks import Ranks
    from ddim_app.studies.set_drawing import complete

    ranks = Ranks()
    try:
        with ranks.together():
            recipe = recipe_of(arguments)
            engine = local_engine(recipe.model)
            made, made_with = pinned(engine, recipe)
            whole_set = PictureSet(arguments.output, made, arguments.count, arguments.format, made_with)
            ranks.agree({"output": str(arguments.output), "count": arguments.count, **whole_set.settings})
            if ranks.is_first:
                whole_set.check_alone()
            drawn = complete(engine, [whole_set], ranks)
            if ranks.is_first:
                _tell(whole_set, drawn)
    except RunError as error:
        raise RunError(f"{error}; what was drawn stays in {arguments.output}, and the same command goes on") from error


def _tell(whole_set: Any, drawn: int) -> None:
    where = whole_set.join() if whole_set.format == "npz" else whole_set.folder
    print(f"{whole_set.count} pictures in {where}, {drawn} of them drawn now")
