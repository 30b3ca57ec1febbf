"""`python -m ddim_app variance`: a model's analytic variance, estimated on pictures that it was not trained on."""

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    parser = commands.add_parser("variance", help="estimate a model's analytic variance", description=__doc__)
    parser.add_argument("model", help="a model here, a folder, or an id on the Hub")
    parser.add_argument("--images", type=Path, required=True, help="folder of held-out pictures, with its subfolders")
    parser.add_argument("--evaluations", type=int, default=32, help="of each timestep, of different pictures (default 32)")
    parser.add_argument("--limit", type=int, help="use at most this many pictures")
    parser.add_argument(
        "--clip", choices=("clip", "off", "dynamic"), help="what is done to predicted pictures (default: as the model)"
    )
    parser.add_argument("--class-label", help="class of the pictures, for a model that has some (default: the null class)")
    parser.add_argument("--precision", default="fp32", choices=("fast", "fp32"), help="default fp32; fast may be bf16")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> None:
    from ddim_app.commands.engines import local_engine
    from ddim_app.errors import whole
    from ddim_app.models import variance_files
    from ddim_app.models.hub import say
    from ddim_app.runs.likelihood import LikelihoodRecipe
    from ddim_app.studies import variance_table  # here, since it brings torch and the engine along

    if arguments.limit is not None:
        whole("limit", arguments.limit, 1)
    engine = local_engine(arguments.model)
    model = engine.model(arguments.model)
    recipe = LikelihoodRecipe(
        model=arguments.model, clip=arguments.clip or model.schedule.clip, precision=arguments.precision,
        class_label=arguments.class_label,
    )  # fmt: skip
    found = variance_table.estimate(engine, arguments.images, recipe, arguments.evaluations, arguments.limit, say)
    print("", *variance_table.lines(found), sep="\n")
    for name, reason in found.refused.items():
        print(f"left out {name}: {reason}")
    print(f"saved as {variance_files.keep(engine.catalogue.find(arguments.model), found.residuals)}")
