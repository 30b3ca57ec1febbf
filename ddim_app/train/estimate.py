"""How long a run will take, measured before it starts."""

import math
import time
from typing import NamedTuple

import torch

from ddim_app.train.evaluate import PREVIEW_STEPS
from ddim_app.train.looks import PICTURES
from ddim_app.train.loop import Trainer

WARM_UP, MEASURED = 2, 4
LOOK_EVALUATIONS = PICTURES * PREVIEW_STEPS + 250
"""Forward passes of a preview with held-out loss; one costs about a third of training on a picture."""


class Estimate(NamedTuple):
    """Seconds of one step and of one look."""

    step: float
    look: float

    def seconds(self, steps: int, preview_every: int) -> float:
        return steps * self.step + self._looks(steps, preview_every) * self.look

    def steps(self, seconds: float, preview_every: int) -> int:
        """As many steps as fit, at least 10."""
        per_step = self.step + (self.look / preview_every if preview_every else 0)
        return max(10, math.floor((seconds - 3 * self.look) / per_step))

    @staticmethod
    def _looks(steps: int, preview_every: int) -> float:
        return 3 + (steps / preview_every if preview_every else 0)


def measure(trainer: Trainer) -> Estimate:
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
    seconds = torch.tensor(sorted(times[WARM_UP:])[MEASURED // 2], device=trainer.accelerator.device, dtype=torch.float32)
    step = float(trainer.accelerator.reduce(seconds, "mean"))
    look = step / 3 * LOOK_EVALUATIONS / trainer.batches.global_batch * trainer.accelerator.num_processes
    return Estimate(step, look)


def clock(seconds: float) -> str:
    """Seconds in words: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
