"""`python -m ddim_app likelihood`: the variational bound of a folder of pictures, in bits per dimension."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    parser = commands.add_parser("likelihood", help="bits per dimension of a folder of pictures, beside another folder's")
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures, with its subfolders")
    parser.add_argument("--against", type=Path, help="a second folder, such as held-out pictures: the table shows the gap")
    parser.add_argument("--model", default="avatars-32", help="a model here, a folder, or an id on the Hub (default avatars-32)")
    parser.add_argument("--full", action="store_true", help="evaluate every term instead of estimating the sum")
    parser.add_argument("--evaluations", type=int, default=100, help="of a quick estimate, per picture (default 100)")
    parser.add_argument("--draws", type=int, default=2, help="noise draws of every term with --full (default 2)")
    parser.add_argument("--variance", choices=("small", "large", "both"), default="both", help="of the reverse steps")
    parser.add_argument("--clip", default="clip", choices=("clip", "off", "dynamic"), help="what is done to the predicted picture")
    parser.add_argument("--seed", type=int, default=0, help="names the noise draws (default 0)")
    parser.add_argument("--limit", type=int, help="measure at most this many pictures of each folder")
    parser.add_argument("--class-label", help="class of the pictures, for a model that has some (default: the null class)")
    parser.add_argument("--precision", default="fp32", choices=("fast", "fp32", "fp64"), help="default fp32; fast may be bf16")
    parser.add_argument("--output", type=Path, default=Path("likelihood.json"), help="where the table is saved, as JSON")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> None:
    from ddim_app.commands.engines import local_engine
    from ddim_app.errors import FieldError, whole
    from ddim_app.media.files import write_json
    from ddim_app.runs.likelihood import LikelihoodRecipe
    from ddim_app.studies import bound_table  # here, since it brings torch and the engine along

    if arguments.limit is not None:
        whole("limit", arguments.limit, 1)
    folder = arguments.output.parent
    if not folder.is_dir():
        raise FieldError("output", f"must be a file in a folder that exists; there is no {folder}")
    names = ("model", "evaluations", "draws", "clip", "seed", "precision", "class_label")
    settings = {name: getattr(arguments, name) for name in names}
    recipe = LikelihoodRecipe(mode="full" if arguments.full else "quick", **settings)
    engine = local_engine(recipe.model)
    wanted = [path for path in (arguments.images, arguments.against) if path is not None]
    folders = [bound_table.measure(engine, path, recipe, arguments.limit, print_now) for path in wanted]
    variances = ("small", "large") if arguments.variance == "both" else (arguments.variance,)
    print("", *bound_table.lines(folders, variances), sep="\n")
    for measured in folders:
        for name, reason in measured.refused.items():
            print(f"left out {measured.name}/{name}: {reason}")
    write_json(arguments.output, bound_table.as_json(folders, variances, recipe))
    print(f"saved as {arguments.output}")


def print_now(line: str) -> None:
    print(line, flush=True)
