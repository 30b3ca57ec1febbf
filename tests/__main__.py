"""Runs all tests of one kind: `python -m tests fast`, `browser` or `long`, with pytest's own options behind."""

import sys

import pytest

KINDS = {"fast": "not long and not browser", "browser": "browser and not long", "long": "long"}

if __name__ == "__main__":
    kind = sys.argv[1] if len(sys.argv) > 1 else ""
    if kind not in KINDS:
        sys.exit(f"usage: python -m tests {'|'.join(KINDS)} [pytest's options]")
    sys.exit(pytest.main(["-m", KINDS[kind], *sys.argv[2:]]))
