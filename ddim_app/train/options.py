"""The command line: one option per field of Settings, checked with the same words."""

import argparse
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ddim_app.train import config
from ddim_app.train.config import TrainError


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise TrainError(f"{message}; --help lists all options")


def parser() -> argparse.ArgumentParser:
    top = Parser(
        prog="python -m ddim_app.train", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.dedent("""\
            Turns a folder of pictures into a model that the app shows.

              python -m ddim_app.train --data my_photos                      fine-tunes the bundled model
              python -m ddim_app.train --data my_photos --minutes 30         the same, in about half an hour
              python -m ddim_app.train --data my_photos --preset tiny-32     a small model from scratch
              torchrun --nproc_per_node 4 -m ddim_app.train --data my_photos on four GPUs

            A run that was stopped, in whatever way, goes on when it is started again with the same command."""),
    )  # fmt: skip
    for name, field in config.FIELDS.items():
        rule = field.metadata
        default = "" if field.default in (None, "", False) or "[" in rule["text"] else f" [{field.default}]"
        text = (rule["text"] + default).replace("%", "%%")
        if config.kind(field) is bool:
            top.add_argument(config.flag(name), action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            metavar = rule["name"] or ("|".join(rule["choices"]) if rule["choices"] else config.kind(field).__name__.upper())
            top.add_argument(config.flag(name), type=_converter(name), default=argparse.SUPPRESS, metavar=metavar, help=text)
    return top


def parse(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """The options that were given, by field name; raises TrainError, or prints the help and exits."""
    return vars(parser().parse_args(arguments))


def _converter(name: str) -> Callable[[str], Any]:
    field = config.FIELDS[name]

    def convert(text: str) -> Any:
        try:
            return config.kind(field)(text)
        except ValueError:
            return text  # which Settings refuses, naming the range

    return convert
