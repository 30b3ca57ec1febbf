"""Runs all tests of one kind: `python -m tests fast`, `browser` or `long`, with pytest's own options behind."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
KINDS = {"fast": "not long and not browser", "browser": "browser and not long", "long": "long"}
SLOW = {
    "backends": "backends class_labels single_row",
    "browser": "*",
    "commands": "disk models",
    "engine": "cores engine run_handle zero_gpu",
    "golden": "*",
    "gpu": "*",
    "models": "hub hub_rows_networks hub_table",
    "runs": "schedules snippets",
    "studies": "quality same_picture set_drawing sharing",
    "train": "judge labelling options places processes resume run train_hub",
    "ui": "chaos class_ladders classes disasters examples field_names front_page hostile interpolate interpolate_stored invert "
    "invert_ways ladder ladder_endpoint learn links live load page page_faults refused_models run_history server stage starting "
    "visitors workers",
}
"""By folder the files that `fast` leaves out, since they start servers, browsers or trainings, or take four seconds and more."""


def slow() -> list[Path]:
    """The files that `fast` leaves out."""
    return sorted(
        {file for folder, names in SLOW.items() for name in names.split() for file in TESTS.glob(f"{folder}/test_{name}.py")}
    )


def main(words: Sequence[str]) -> int:
    kind = words[0] if words else ""
    if kind not in KINDS:
        sys.exit(f"usage: python -m tests {'|'.join(KINDS)} [pytest's options]")
    left_out = [f"--ignore={file}" for file in slow()] if kind == "fast" else []
    return pytest.main(["-m", KINDS[kind], *left_out, *words[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
