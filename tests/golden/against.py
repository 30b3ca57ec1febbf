"""Compares this tree with another commit on the same machine, bit by bit: `python tests/golden/against.py BASE`.

The commit is checked out into a worktree of its own for the while. Both trees run the recipes of this one; the table names
whatever differs, and the exit status is 1 then.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent


def measured(tree: Path, file: Path) -> dict[str, str]:
    """The hashes of a tree."""
    subprocess.run([sys.executable, str(FOLDER / "measure.py"), str(file)], cwd=tree, check=True, stderr=subprocess.DEVNULL)
    hashes: dict[str, str] = json.loads(file.read_text("utf-8"))
    return hashes


def at(base: str) -> dict[str, str]:
    """The hashes of a commit."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git("worktree", "add", "--detach", str(tree), base)
        try:
            return measured(tree, Path(folder) / "hashes.json")
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*words: str) -> None:
    subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/golden/against.py BASE")
    before = at(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        now = measured(ROOT, Path(folder) / "hashes.json")
    different = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    print(f"{'what':48}{sys.argv[1][:16]:20}{'here':20}")
    for name in {**before, **now}:
        mark = "" if name not in different else "DIFFERENT"
        print(f"{name:48}{before.get(name, '-'):20}{now.get(name, '-'):20}{mark}")
    print(f"{len(now)} compared, {len(different)} different")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
