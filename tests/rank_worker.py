"""Runs `python -m ddim_app sample` in forked children of one interpreter, alone or as the ranks of one command.

Each line of standard input is a job (JSON): `args` for all processes, `more` for single ranks, `env`, `processes`, and `die`: the
rank that is killed (signal 9 unless `signal` says otherwise) when it comes to that `function` for the `times`-th time. The
answer is a line with the exit codes, what was printed, and the shards that were drawn.
"""

import json
import os
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import torch

torch.set_num_threads(1)

import diffusers.models.unets.unet_2d  # noqa: E402, F401  (so that a child need not import it)

from ddim_app import __main__ as cli  # noqa: E402
from ddim_app.engine import engine  # noqa: E402, F401
from ddim_app.studies import picture_sets, ranks, set_drawing  # noqa: E402

picture_sets.SHARD = 4
ranks.SILENT_SECONDS = 3.0
PLACES = {
    "drawing": (set_drawing._Progress, "add"),
    "save": (picture_sets.PictureSet, "save"),
    "half a shard": (picture_sets, "write_json"),
    "renamed": (picture_sets, "flush"),
    "joining": (picture_sets, "put_in_place"),
}


def dies(function, times=1, number=signal.SIGKILL, **_):
    owner, name = PLACES[function]
    original, left = getattr(owner, name), [times]

    def wrapped(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def child(job, rank, port, output):
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 99
    try:
        os.environ.update(job.get("env", {}))
        if job["processes"] > 1:
            world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["processes"], "MASTER_PORT": port}
            os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in world.items()}})
        if job.get("die", {}).get("rank", 0) == rank and "die" in job:
            dies(**job["die"])
        sys.argv = ["ddim_app", "sample", *job["args"], *job.get("more", {}).get(str(rank), [])]
        cli.main()
        code = 0
    except SystemExit as error:
        print(error.code)
        code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def perform(job):
    job.setdefault("processes", 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(rank) for rank in range(job["processes"])]
        children = []
        for rank, output in enumerate(outputs):
            pid = os.fork()
            if pid == 0:
                child(job, rank, port, output)
            children.append(pid)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        return {"codes": codes, "output": [output.read_text("utf-8", "replace") for output in outputs]}


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(perform(json.loads(line))) + "\n")
        answers.flush()
