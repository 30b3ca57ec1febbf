"""The command `python -m ddim_app.train`."""

import os
import sys
import time
import warnings
from collections.abc import Sequence

from ddim_app.errors import RunError
from ddim_app.train.stop import Stopped, Stopper


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 finished, 2 refused or failed, 130 or 143 stopped by Ctrl+C or SIGTERM."""
    began, stopper = time.monotonic(), Stopper()
    stopper.install()
    try:
        return _main(arguments, stopper, began)
    except Stopped:
        if _speaks():
            print("\nStopped. Start the same command again to go on.", file=sys.stderr)
        return stopper.exit_code


def _main(arguments: Sequence[str] | None, stopper: Stopper, began: float) -> int:
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
        begin.run(given, stopper, began)
    except (TrainError, RunError) as error:
        return _fail(error)
    return 0


def _fail(error: Exception) -> int:
    if _speaks():
        print(f"error: {error}", file=sys.stderr)
    return 2


def _speaks() -> bool:
    """Whether this is the first of the processes, of whichever launcher."""
    names = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


if __name__ == "__main__":
    sys.exit(main())
