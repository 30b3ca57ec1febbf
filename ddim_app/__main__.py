"""The command line: `python -m ddim_app COMMAND`."""

import argparse
import sys

from ddim_app import __version__
from ddim_app.backends import spare_cores
from ddim_app.commands import benchmark, deploy, generate, interpolate, invert, likelihood, models, quality, sample, variance
from ddim_app.errors import FieldError, RunError, refused_by_disk

COMMANDS = (benchmark, deploy, generate, interpolate, invert, likelihood, models, quality, sample, variance)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_app", description="DDPM and DDIM side by side.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands)
    arguments = parser.parse_args()
    spare_cores()
    try:
        arguments.run(arguments)
    except (FieldError, RunError) as error:
        sys.exit(f"{parser.prog} {arguments.command}: {error}")
    except OSError as error:
        sys.exit(f"{parser.prog} {arguments.command}: {refused_by_disk(error)}: make room or allow it, or name another place")


if __name__ == "__main__":
    main()
