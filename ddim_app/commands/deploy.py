"""`python -m ddim_app deploy`: the folder of a Hugging Face Space, ready to be uploaded."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ddim_app.engine import space


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
    files = [path for path in arguments.folder.rglob("*") if path.is_file()]
    flavor = "zero-a10g" if arguments.zero_gpu else "cpu-basic"
    print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB. Next, with your name in place of ME:")
    print(f"hf repos create ME/ddim-explorer --type space --sdk gradio --flavor {flavor}")
    print(f"hf upload ME/ddim-explorer {arguments.folder} . --type space")
