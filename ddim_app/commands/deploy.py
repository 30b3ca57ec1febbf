"""`python -m ddim_app deploy`: the folder of a Hugging Face Space, ready to be uploaded."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from ddim_app.commands import models
from ddim_app.engine import space
from ddim_app.errors import FieldError


def add(commands: Any) -> None:
    deploy = commands.add_parser("deploy", help="write the folder of a Hugging Face Space, or check one")
    deploy.add_argument("folder", type=Path, help="a new folder")
    deploy.add_argument("--zero-gpu", action="store_true", help="for a Space on ZeroGPU instead of CPU")
    deploy.add_argument("--check", action="store_true", help="write nothing, and say what is wrong in the folder as it is")
    deploy.set_defaults(run=run, parser=deploy)


def run(arguments: argparse.Namespace) -> None:
    if arguments.check:
        wrong = space.problems(arguments.folder)
        sys.exit("\n".join(wrong) if wrong else 0)
    try:
        space.write(arguments.folder, arguments.zero_gpu)
    except (OSError, ValueError) as error:
        arguments.parser.error(str(error))
    for name in space.models():
        print(shipped(name, arguments.folder), file=sys.stderr)
    files = [path for path in arguments.folder.rglob("*") if path.is_file()]
    flavor = "zero-a10g" if arguments.zero_gpu else "cpu-basic"
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB. Next, with your name in place of ME:")
    print(f"hf repos create ME/ddim-explorer --type space --sdk gradio --flavor {flavor}")
    print(f"hf upload ME/ddim-explorer {arguments.folder} . --type space")


def shipped(name: str, space_folder: Path) -> str:
    """Puts a model of the Hub whose weights are a pickle into the Space as safetensors; says what became of it.

    A Space forgets at each of its starts what it has fetched and converted; what lies in its folder it need not fetch.
    """
    from ddim_app.models import hub
    from ddim_app.models.catalogue import local
    from ddim_app.models.loading import ModelError
    from ddim_app.models.model_files import CARD

    catalogue, place = local(), space_folder / "weights" / name.replace("/", "--")
    if place.exists():
        return f"{name} lies in weights/ as safetensors"
    try:
        if not hub.check(*catalogue.hub_name(name)).weights.is_pickled:
            return f"{name} is safetensors on the Hub, and fetched by the Space when it starts"
        said = models.converted(name, place)
        card = catalogue.find(name) / CARD
        if card.is_file():  # which names its licence
            shutil.copy(card, place / CARD)
    except (FieldError, ModelError) as error:
        return f"{error}. The Space fetches and converts it at each of its starts"
    return f"{name} is a pickle, so the Space has it as safetensors: {said}"
