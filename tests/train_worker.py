"""Runs the training command in forked children of one interpreter, so that a test pays for the imports once.

Each line of standard input is a job (JSON): `args` of the command; `env`; `umask`; `processes`; and optionally `event`, which sends
the child a signal at a named point of its work. The answer is a line with the exit codes and what was printed.
"""

import json
import os
import resource
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import torch

torch.set_num_threads(1)

import torch._dynamo  # noqa: E402 - AdamW would import it in every child

from ddim_app.media import files  # noqa: E402
from ddim_app.models.network_config import network_class  # noqa: E402
from ddim_app.train import begin, evaluate, looks, loop, run, setup, state  # noqa: E402
from ddim_app.train.__main__ import main  # noqa: E402
from ddim_app.train.evaluate import LookSize  # noqa: E402

network_class()  # half of what a run of a toy takes would be this import
run.LOOK_SIZES = looks.LOOK_SIZES = (LookSize(50, 16, 3),)  # likewise the looks at it


def before(module, name, act):
    """Makes `module.name` call `act(*args)` first."""
    original = getattr(module, name)

    def wrapped(*args, **kwargs):
        act(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(module, name, wrapped)


def after(module, name, act):
    original = getattr(module, name)

    def wrapped(*args, **kwargs):
        result = original(*args, **kwargs)
        act(*args, **kwargs)
        return result

    setattr(module, name, wrapped)


def arm(event):
    """Arranges for the signal at its point: {"signal": 9, "where": ..., "step": ...}."""
    where, step, inside = event["where"], event.get("step"), {"checkpoint": False, "publish": False}

    def fire(*args, **kwargs):
        if not armed[-1]:
            return
        os.kill(os.getpid(), event["signal"])

    def at_step(average, network, now, *lengths):
        if now == step:
            fire()

    def write_half(tensors, path, metadata):
        if inside[kind]:
            save_whole(tensors, path, metadata)
            os.truncate(path, os.path.getsize(path) // 2)
            fire()
        save_whole(tensors, path, metadata)

    def enter(name):
        def act(first, *args, **kwargs):
            now = args[1]["step"] if name == "checkpoint" else args[0]
            inside[name] = now == step

        return act

    def not_measuring(measure):
        """The measurement of the speed makes steps too, but they are not the run's."""

        def quiet(trainer):
            armed.append(False)
            result = measure(trainer)
            armed.pop()
            return result

        return quiet

    armed, save_whole = [True], files.safetensors_torch.save_file
    begin.measure, begin.measure_threads = not_measuring(begin.measure), not_measuring(begin.measure_threads)
    before(state, "save", enter("checkpoint"))
    before(run.TrainingRun, "publish", enter("publish"))
    kind, _, moment = where.partition(" ")
    if where == "mid-step":
        before(loop, "update_average", at_step)
    elif where == "step end":
        after(loop, "update_average", at_step)
    elif where == "backward":
        before(
            loop.Trainer,
            "_backward",
            lambda self, batch, last: fire() if batch.step == step and batch.first == 4 * event.get("rank", 0) else None,
        )
    elif moment == "half written":
        files.safetensors_torch.save_file = write_half
    elif moment == "not flushed":
        before(files, "put_in_place", lambda partial, path: fire() if inside[kind] else None)
    elif moment == "not renamed":
        after(files, "flush", lambda path: fire() if inside[kind] and path.name.endswith(files.PARTIAL) else None)
    elif moment == "renamed":
        after(files, "put_in_place", lambda partial, path: fire() if inside[kind] else None)
    else:
        module, name = POINTS[where]
        before(module, name, fire)


POINTS = {
    "loading": (setup.loading, "load"), "building": (setup.loading, "build"), "reading pictures": (begin.data, "load"),
    "measuring": (begin, "clock"), "first measurement": (begin, "measure_threads"), "preview": (evaluate, "to_pixels"),
    "closing report": (looks.RunPreviews, "final"), "held-out loss": (evaluate, "bucket_means"),
}  # fmt: skip


def poison(step):
    """Makes the loss of a step not a number."""
    original = loop.loss

    def broken(*args, **kwargs):
        minimised, shown = original(*args, **kwargs)
        return (minimised * float("nan"), shown * float("nan")) if poison.trainer.state.step == step else (minimised, shown)

    before(loop.Trainer, "train", lambda self: setattr(poison, "trainer", self))
    loop.loss = broken


def fill_disk(step):
    """Makes the checkpoint of a step fail as on a full disk, after half of it."""
    original = files.safetensors_torch.save_file

    def full(tensors, path, metadata):
        original(tensors, path, metadata)
        if f"step-{step:09d}" in str(path):
            os.truncate(path, os.path.getsize(path) // 2)
            raise OSError(28, "No space left on device")

    files.safetensors_torch.save_file = full


def limit_files(size):
    """A disk on which no file can become larger: writing fails as on a full one, whatever library writes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def shift_noise(rank):
    """Makes one process draw its rows as if they were others."""
    original = loop.Batches.rows

    def rows(self, step, first, count):
        batch = original(self, step, first, count)
        return batch._replace(noise=original(self, step, first + 1000, count).noise) if rank else batch

    loop.Batches.rows = rows


def child(job, rank, port, output):
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    code = 99
    try:
        os.environ.update(job.get("env", {}))
        os.umask(job.get("umask", os.umask(0)))
        if job["processes"] > 1:
            world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["processes"], "LOCAL_WORLD_SIZE": job["processes"]}
            os.environ.update({name: str(value) for name, value in world.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "1"})
        if job.get("event") and job["event"].get("rank", 0) == rank:
            arm(job["event"])
        for name in ("poison", "fill_disk"):
            if name in job:
                globals()[name](job[name])
        if "largest_file" in job:
            limit_files(job["largest_file"])
        if job.get("shift_noise"):
            shift_noise(rank)
        code = main(job["args"])
        if job["processes"] > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    except SystemExit as error:
        code = error.code or 0
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        answers.write(json.dumps(perform(json.loads(line))) + "\n")
        answers.flush()
