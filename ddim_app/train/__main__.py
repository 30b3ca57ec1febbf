"""The command `python -m ddim_app.train`."""

import os
import sys
import warnings
from collections.abc import Sequence

from ddim_app.train.stop import Stopped, Stopper


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 finished, 2 refused or failed, 130 or 143 stopped by Ctrl+C or SIGTERM."""
    stopper = Stopper()
    stopper.install()
    try:
        return _main(arguments, stopper)
    except Stopped:
        if _speaks():
            print("\nStopped. Start the same command again to go on.", file=sys.stderr)
        return stopper.exit_code


def _main(arguments: Sequence[str] | None, stopper: Stopper) -> int:
    with stopper.interruptible():
        from ddim_app.train import config  # here, so that a signal during the imports is answered like any other
        from ddim_app.train.config import TrainError

        try:
            given = config.parse(arguments)
        except TrainError as error:
            return _fail(error)
        from ddim_app.train import begin
    # Pillow's remarks on broken files: the report names every file with its reason.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        begin.run(given, stopper)
    except TrainError as error:
        return _fail(error)
    return 0


def _fail(error: Exception) -> int:
    if _speaks():
        print(f"error: {error}", file=sys.stderr)
    return 2


def _speaks() -> bool:
    return os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    sys.exit(main())
