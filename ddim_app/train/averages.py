"""The averages of a run's weights that are kept, and which of them its model is: `python -m ddim_app.train.averages RUN`.

The last average is published while the run goes. The one with the lowest held-out loss of all looks is kept beside the
checkpoints, and averages a third and three times as long are compared with it at the end: whichever is better by more than
chance is offered.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ddim_app.errors import refused_by_disk
from ddim_app.media.files import write_tensors
from ddim_app.train import held_out_words, setup, state
from ddim_app.train.config import TrainError
from ddim_app.train.held_out_words import Line
from ddim_app.train.run_folder import RunFolder, weights_of, weights_words

WORTH_TAKING = 0.01
"""How much lower a loss must be, besides more than chance, for its average to be offered."""
LAST, BEST, OTHERS = "last", "best", ("short", "long")
OFFERED = {BEST: "What the model was at step {}", "short": "An average over fewer steps", "long": "An average over more steps"}


class KeptBest(NamedTuple):
    """After which step the best average was kept, and its held-out loss then."""

    step: int
    loss: float


def best_file(home: RunFolder) -> Path:
    return home.checkpoints / "best.safetensors"


def kept_best(home: RunFolder) -> KeptBest | None:
    """The best average that is kept; None where there is none, or its file is damaged."""
    try:
        with safe_open(best_file(home), "pt") as file:
            metadata = file.metadata()
        return KeptBest(int(metadata["step"]), float(metadata["loss"]))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def keep_best(home: RunFolder, average: torch.nn.Module, step: int, loss: float) -> None:
    """Writes the average as the best one; raises OSError."""
    home.checkpoints.mkdir(parents=True, exist_ok=True)
    write_tensors(best_file(home), weights_of(average), {"step": str(step), "loss": repr(loss)})


def measured(lines: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    """The held-out line of each average that is kept, by the names that --take knows; `lines` are those of metrics.jsonl."""
    held = [line for line in lines if line["kind"] == "held_out"]
    others = [line for line in lines if line["kind"] == "average" and line["step"] == held[-1]["step"]]
    return {LAST: held[-1], BEST: held_out_words.best(held), **{line["name"]: line for line in others}} if held else {}


def offer(home: RunFolder) -> str | None:
    """A sentence on the average that is better than the last by more than chance; None where none is."""
    lines = measured(home.logged())
    if not lines:
        return None
    name = min(lines, key=lambda each: lines[each]["loss"])
    change = held_out_words.change(lines[name], lines[LAST])
    if not change.is_lower or change.part > -WORTH_TAKING:
        return None
    return (
        f"{OFFERED[name].format(lines[name]['step'])} (`{name}`) has a held-out loss {change} than the model has now. To take it: "
        f"python -m ddim_app.train.averages {shlex.quote(str(home.path))} --take {name}"
    )


def table(lines: Mapping[str, Line]) -> str:
    """The averages with their held-out losses, and how these differ from that of the last."""
    rows = [
        f"{name:6} step {line['step']:<9} held-out loss {line['loss']:.5f}"
        + ("" if name == LAST else f"  {held_out_words.change(line, lines[LAST])} than that of the last")
        for name, line in lines.items()
    ]
    return "\n".join(rows)


def take(home: RunFolder, name: str) -> None:
    """Makes an average the model of the run; raises TrainError or OSError."""
    facts = home.stored()
    if facts is None:
        raise TrainError(f"RUN must be the folder of a training run; got {home.path}")
    with home.locked():
        tensors, step = _read(home, name)
        begin = setup.published(home.path, facts["init"])
        try:
            begin.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise TrainError(f"--take {name}: it belongs to a network of another architecture than {home.path} has") from error
        card = (home.path / "README.md").read_text("utf-8")
        card = re.sub("^The weights are .*$", lambda _: weights_words(facts, step, name), card, count=1, flags=re.MULTILINE)
        home.publish(tensors, begin.unet, begin.scheduler, card, begin.classes.names)


def _read(home: RunFolder, name: str) -> tuple[dict[str, Tensor], int]:
    """(weights, step) of an average; raises TrainError when it is not kept, or damaged."""
    try:
        if name == BEST:
            with safe_open(best_file(home), "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, int(file.metadata()["step"])  # noqa: SIM118
        tensors, facts = state.read(state.checkpoints(home.checkpoints)[-1])
        start = state.average_key("" if name == LAST else name)
        found = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        if not found:
            raise KeyError("it was not kept")
        return found, facts["step"]
    except (OSError, ValueError, KeyError, IndexError, SafetensorError) as error:
        raise TrainError(f"--take {name}: it cannot be read from {home.checkpoints} ({str(error)[:100]})") from error


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m ddim_app.train.averages", description="Lists the averages that a run has kept, or makes one its model."
    )
    parser.add_argument("run", type=Path, help="folder of a run, such as runs/NAME")
    parser.add_argument("--take", choices=(LAST, BEST, *OTHERS), help="the average that becomes the model")
    options = parser.parse_args(arguments)
    home = RunFolder(options.run)
    try:
        if options.take:
            take(home, options.take)
            print(f"{home.path} is now the average `{options.take}`")
        else:
            print(table(measured(home.logged())) or f"{home.path} has no held-out losses to compare its averages by")
    except TrainError as error:
        sys.exit(f"{parser.prog}: {error}")
    except OSError as error:
        sys.exit(f"{parser.prog}: {refused_by_disk(error)}")


if __name__ == "__main__":
    main()
