"""The command line: `python -m ddim_app benchmark`."""

import argparse
from pathlib import Path

from ddim_app import benchmark, sharing


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_app", description="DDPM and DDIM side by side.")
    commands = parser.add_subparsers(dest="command", required=True)
    bench = commands.add_parser("benchmark", help="time this machine beside the bare network and diffusers")
    bench.add_argument("--repeats", type=int, default=5, help="timed rounds per row (default 5)")
    bench.add_argument("--quick", action="store_true", help="two rows only")
    bench.add_argument("--sharing", action="store_true", help="time many requests at once instead, and cancelled ones")
    bench.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if arguments.repeats < 1:
        parser.error(f"--repeats must be 1 or more; got {arguments.repeats}")
    if arguments.sharing:
        sharing.main(arguments.repeats)
        return
    benchmark.main(arguments.repeats, arguments.quick, arguments.json)


if __name__ == "__main__":
    main()
