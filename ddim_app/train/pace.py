"""How long a run takes: measured before its first step, corrected while it goes, and when it is looked at on the way."""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ddim_app import backends
from ddim_app.train.evaluate import LOOK_SIZES, LookSize
from ddim_app.train.loop import OptimizerStep, Trainer

WARM_UP, MEASURED = 2, 4
FIRST_LOOK = 60.0
"""Seconds of training after which a run is first looked at."""
FEWEST_LOOKS = 4
FEWEST_STEPS = 10
"""Of a run that is given a time."""
WORTH = 1.03
"""How much faster all cores must be than half of them to be taken."""


@dataclass(frozen=True)
class LookPlan:
    """After which steps, or seconds, a run is looked at: the multiples of `every`, none where it is 0; where it is None, from
    `first` on at intervals that double up to a quarter of the run, the last one longer by up to half. The end is always among
    them."""

    first: int
    every: int | None = None

    def has(self, step: int, steps: int) -> bool:
        if self.every is None:
            return step in self._growing(steps)
        return step == steps or bool(self.every and step and step % self.every == 0)

    def count(self, done: float, steps: int) -> int:
        """How many looks there are after step `done` of a run of `steps`."""
        if self.every is None:
            return sum(step > done for step in self._growing(steps))
        return (steps - 1) // self.every - int(done) // self.every + 1 if self.every else 1

    def _growing(self, steps: int) -> Iterator[int]:
        widest = max(1, steps // FEWEST_LOOKS)
        step = gap = min(self.first, widest)
        while steps - step > gap / 2:
            yield step
            gap = min(2 * gap, widest)
            step += gap
        yield steps


class SpeedEstimate(NamedTuple):
    """Seconds of one step and of one look."""

    step: float
    look: float

    @property
    def first_look(self) -> int:
        """The step of the first look of a run that is not told when to look."""
        return max(1, round(FIRST_LOOK / self.step))

    def seconds(self, steps: int, looks: LookPlan, done: int = 0) -> float:
        """Seconds from step `done` to the end of a run of `steps`, with the looks on the way, the one at the start among them."""
        return (steps - done) * self.step + (looks.count(done, steps) + (done == 0)) * self.look

    def steps(self, seconds: float, looks: LookPlan, done: int = 0, fewest: int = FEWEST_STEPS) -> int:
        """How many steps a run must have that ends so many seconds after step `done`; at least `fewest` more."""
        low, high = fewest, max(fewest, math.floor(seconds / self.step))
        while low < high:
            middle = (low + high + 1) // 2
            if self.seconds(done + middle, looks, done) <= seconds:
                low = middle
            else:
                high = middle - 1
        return done + low


def measure(trainer: Trainer) -> SpeedEstimate:
    """Times a few real steps and puts the state back bit by bit; in all processes alike."""
    before, facts, steps = trainer.state.tensors(), trainer.state.facts(), trainer.steps
    trainer.steps = trainer.state.step + WARM_UP + MEASURED
    times = []
    loop = trainer.train()
    try:
        for _ in range(WARM_UP + MEASURED):
            started = time.perf_counter()
            float(next(loop).loss)
            times.append(time.perf_counter() - started)
    finally:
        loop.close()
        trainer.steps = steps
        trainer.state.restore(before, facts)
    seconds = torch.tensor(statistics.median(times[WARM_UP:]), device=trainer.accelerator.device, dtype=torch.float32)
    step = float(trainer.accelerator.reduce(seconds, "mean"))
    return SpeedEstimate(step, look_seconds(trainer, step, LOOK_SIZES[0]))


def look_seconds(trainer: Trainer, step: float, size: LookSize) -> float:
    """Seconds that a look should take where a step takes so many: a forward pass costs about a third of training on a picture."""
    processes: int = trainer.accelerator.num_processes
    return step / 3 * size.cost / trainer.batches.global_batch * processes


def measure_threads(trainer: Trainer) -> SpeedEstimate:
    """Gives torch all cores, or half of them where steps are as fast with those: on a busy machine, or one that counts each core
    twice. Returns the speed then. A number that was asked for stays, and so does what a launcher of several processes gave."""
    most = backends.threads()
    asked = trainer.settings.threads is not None or trainer.accelerator.num_processes > 1
    if asked or trainer.accelerator.device.type != "cpu" or most == 1:
        return measure(trainer)
    half = -(-most // 2)
    speeds = {}
    for threads in (half, most):
        torch.set_num_threads(threads)
        speeds[threads] = measure(trainer)
    best = most if speeds[most].step * WORTH < speeds[half].step else half
    torch.set_num_threads(best)
    return speeds[best]


class SpeedMeter:
    """Mean loss and speed between two log lines, of the steps alone: saving and looking are not counted."""

    def __init__(self, trainer: Trainer, global_batch: int) -> None:
        self._trainer, self._batch = trainer, global_batch
        self._losses: list[torch.Tensor] = []
        self._seconds, self._waited = 0.0, 0.0
        self.resume()

    def resume(self) -> None:
        self._since = time.perf_counter()

    def add(self, done: OptimizerStep) -> None:
        self._losses.append(done.loss)
        self._seconds += time.perf_counter() - self._since
        self.resume()

    def line(self, done: OptimizerStep) -> dict[str, Any]:
        """The measurements since the last line; every process must ask for it."""
        loss = self._trainer.accelerator.reduce(torch.stack(self._losses).mean(), "mean")
        waited = self._trainer.ahead.waited
        seconds, pictures = max(self._seconds, 1e-9), self._batch * len(self._losses)
        line = {
            "kind": "train", "step": done.step, "steps": len(self._losses),
            "loss": float(loss), "grad_norm": float(done.grad_norm), "lr": done.lr,
            "pictures": pictures, "seconds": round(seconds, 3), "pictures_per_second": round(pictures / seconds, 2),
            "data_wait": round((waited - self._waited) / seconds, 5),
        }  # fmt: skip
        self._losses, self._seconds, self._waited = [], 0.0, waited
        return line


def clock(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
