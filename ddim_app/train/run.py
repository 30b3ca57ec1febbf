"""The running of a run: train, watch, look, save, publish, stop."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate.utils import broadcast  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from ddim_app.train import data, setup, state
from ddim_app.train.background import BackgroundWriter
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.evaluate import LOOK_SIZES
from ddim_app.train.looks import RunPreviews
from ddim_app.train.loop import OptimizerStep, Trainer, is_broken
from ddim_app.train.pace import FEWEST_STEPS, FIRST_LOOK, LookPlan, SpeedEstimate, SpeedMeter, clock, look_seconds
from ddim_app.train.run_bar import RunBar
from ddim_app.train.run_folder import RunFolder, card, stored_settings
from ddim_app.train.stop import Stopped, Stopper

LOG_EVERY = 10
STOP_EVERY = 10
"""Steps after which several processes ask each other whether to stop, which makes GPUs wait."""
SAVE_EVERY = 120.0
"""Seconds between checkpoints where no number of steps is asked for."""
MEMORY = 30.0
"""Seconds of training by which the speed is known: of fewer the next ones may differ by half on a busy machine."""
LOOKS_PART = 1 / 6
"""The part of a run that its looks may take, where smaller ones keep them below it."""
CLOSING = 1.0
"""What the closing report costs, in looks."""
CLOCK_LOOKS = LookPlan(round(FIRST_LOOK))
"""After which seconds a run is looked at that ends by the clock."""
OLD_FIRST_LOOK = 500
"""Of runs that were begun before the first look was chosen by the speed."""


@dataclass
class TrainingRun:
    """A run that is ready to train; `home` is written by the main process alone."""

    settings: Settings
    home: RunFolder
    begin: setup.StartModel
    data: data.TrainingData
    trainer: Trainer
    facts: dict[str, Any]
    """run.json."""
    stopper: Stopper
    looks: RunPreviews
    tell: Callable[[str], None]
    began: float
    """When the program began, by time.monotonic()."""
    estimate: SpeedEstimate | None = None
    """The speed, once it is known."""
    checked: float = 0.0
    """The second up to which it is known whether a look was due by the clock."""
    is_due: bool = False
    """Whether one is now."""
    writer: BackgroundWriter = field(default_factory=BackgroundWriter)
    _figures: str = ""
    """Of the last steps, as the bar has them."""

    @property
    def main(self) -> bool:
        return bool(self.trainer.accelerator.is_main_process)

    @property
    def look_plan(self) -> LookPlan:
        return LookPlan(self.facts.get("first_look", OLD_FIRST_LOOK), self.settings.preview_every)

    @property
    def looks_by_clock(self) -> bool:
        """Whether the looks follow the clock too: the number of steps does not stay what it is, so none can be planned in it."""
        return self.by_clock and self.settings.preview_every is None

    @property
    def by_clock(self) -> bool:
        """Whether the run ends by the clock; a finished one that is gone on with ends after its steps."""
        return self.settings.by_clock and not self.trainer.begun

    def epochs(self, steps: int) -> str:
        """How often so many steps go through the pictures, in words."""
        count = steps * self.facts["global_batch"] / len(self.data.train)
        return f"{count:.{1 if count < 10 else 0}f} times through {len(self.data.train)} pictures"

    @property
    def spent(self) -> float:
        """Seconds since the run began, of all its processes one after another."""
        return self.trainer.state.spent + time.monotonic() - self.began

    @property
    def seconds(self) -> float:
        """How long the run is to take."""
        return (self.settings.minutes or 0) * 60

    def seconds_to_end(self) -> float:
        """Seconds that the rest of the run takes as far as is known, its closing report included."""
        left = max(0.0, self.seconds - self.spent) if self.by_clock else math.nan
        if self.estimate is None:
            return left
        if self.by_clock:  # the fewest steps may need more than was asked for
            return max(left, (self.trainer.steps - self.trainer.state.step) * self.estimate.step)
        return self.estimate.seconds(self.trainer.steps, self.look_plan, self.trainer.state.step) + CLOSING * self.estimate.look

    def plan(self) -> None:
        """Decides the size of the looks, and in a given time the number of steps."""
        assert self.estimate is not None
        step = self.estimate.step
        # Who says when to look, looks as closely as can be.
        for size in LOOK_SIZES if self.settings.preview_every is None else LOOK_SIZES[:1]:
            self.looks.size, self.estimate = size, SpeedEstimate(step, look_seconds(self.trainer, step, size))
            if self.settings.minutes is not None:
                self.trainer.steps = self.steps_in_time()
            steps = self.trainer.steps
            looks = (self._looks_to_come(steps, 0) + 1 + CLOSING) * self.estimate.look
            if looks <= LOOKS_PART * (looks + steps * step):
                break
        self.facts["look_size"] = list(self.looks.size)

    def _looks_to_come(self, steps: int, done: int) -> int:
        if self.looks_by_clock:
            return CLOCK_LOOKS.count(self.checked, round(self.seconds))
        return self.look_plan.count(done, steps)

    def steps_in_time(self, done: int = 0, fewest: int = FEWEST_STEPS) -> int:
        """How many steps the time that is left is enough for after `done` of them, by the clock of the first process."""
        assert self.estimate is not None
        left = self.seconds - self.spent - CLOSING * self.estimate.look
        if self.looks_by_clock:
            looks = self._looks_to_come(0, done) + (done == 0)
            steps = done + max(fewest, math.floor((left - looks * self.estimate.look) / self.estimate.step))
        else:
            steps = self.estimate.steps(left, self.look_plan, done, fewest)
        return self._agreed(steps)

    def _agreed(self, value: int) -> int:
        """What the first process says, whose clock is that of all."""
        return int(broadcast(torch.tensor(value, device=self.trainer.accelerator.device)))

    def fix(self, steps: int) -> None:
        """Makes the run one of so many steps, for whoever goes on with it too."""
        self.trainer.steps = steps
        fixed = stored_settings(replace(self.settings, steps=steps), self.begin.init)
        self.facts |= {"steps": steps, "fixed": True, "settings": fixed}
        if self.main and not self.settings.dry_run:
            self.home.write_run(self.facts)

    def train(self) -> None:
        """Trains to the end; when a signal comes, saves and raises Stopped."""
        saved, self._saved_at = self.trainer.state.step, time.monotonic()
        meter = SpeedMeter(self.trainer, self.facts["global_batch"])
        self.checked = self.trainer.state.spent
        self._look(resumed=True)
        self._stop_together()
        seconds = self.spent + self.seconds_to_end() if self.by_clock else None
        bar = RunBar(self.trainer.steps, saved, seconds, self.spent, not self.main)
        steps = self.trainer.train()
        try:
            with bar:
                meter.resume()
                for done in steps:
                    self._watch(done, meter)
                    bar.step(done.step, self.trainer.steps, self.spent, self._figures)
                    self._look()
                    if self._saves(done.step) or done.step == self.trainer.steps:
                        self._save()
                        saved = done.step
                    self.writer.look()
                    if self.trainer.accelerator.num_processes == 1 or done.step % STOP_EVERY == 0:
                        self._stop_together()
                    meter.resume()
                bar.end()
        except Stopped:
            if self.trainer.state.step != saved:
                self._save()
            raise
        finally:
            steps.close()
            self.writer.wait()

    def _saves(self, step: int) -> bool:
        """Whether a checkpoint is due, by steps or by time: then after a step whose loss was looked at."""
        if self.settings.checkpoint_every is None:
            return step % LOG_EVERY == 0 and time.monotonic() - self._saved_at > SAVE_EVERY
        return step % self.settings.checkpoint_every == 0

    def _watch(self, done: OptimizerStep, meter: SpeedMeter) -> None:
        """Notices divergence, and logs every few steps."""
        logs = done.step % LOG_EVERY == 0
        if self.by_clock and self.estimate and done.step == self.trainer.steps and not logs:
            self._follow_clock(done.step)
        logs = logs or done.step == self.trainer.steps
        saves = self._saves(done.step)
        meter.add(done)
        # Reading a number makes a GPU wait, so there it is done only when one is needed.
        if (logs or saves or self.trainer.accelerator.device.type == "cpu") and is_broken(done, self.facts["precision"]):
            self.writer.wait()
            go_on = f", if you like with --init {self.home.path}" if state.checkpoints(self.home.checkpoints) else ""
            raise TrainError(
                f"the loss is no longer a finite number at step {done.step}; {state.last_good(self.home.checkpoints)}: start a new "
                f"run with a smaller --lr{go_on}"
            )
        if logs:
            line = meter.line(done)
            self._correct(line)
            self._figures = f"loss {line['loss']:.4f}, {line['pictures_per_second']:.1f} pictures/s"
            if self.main:
                self.looks.log(line)
            if self.by_clock:
                self._follow_clock(done.step)

    def _correct(self, line: Mapping[str, Any]) -> None:
        """Takes over the speed of the last steps, the more of it the longer they took; looks become as much slower or faster."""
        new = line["seconds"] / line["steps"]
        before = self.estimate or SpeedEstimate(new, self.looks.seconds or look_seconds(self.trainer, new, self.looks.size))
        factor = 1 + min(0.5, line["seconds"] / MEMORY) * (new / before.step - 1)
        self.estimate = SpeedEstimate(before.step * factor, before.look * factor)

    def _follow_clock(self, step: int) -> None:
        """Takes over the number of steps that there is time for, and notices when a look is due."""
        self.trainer.steps = self.steps_in_time(step, fewest=0)
        if self.looks_by_clock:
            total, now = round(self.seconds), self.spent
            self.is_due = bool(self._agreed(CLOCK_LOOKS.count(self.checked, total) > CLOCK_LOOKS.count(now, total)))
            self.checked = now

    def _has_look(self, step: int) -> bool:
        if self.looks_by_clock:
            due, self.is_due = self.is_due, False
            return due or step == self.trainer.steps
        return self.look_plan.has(step, self.trainer.steps)

    def _look(self, resumed: bool = False) -> None:
        """A preview grid, the held-out loss and what it means; every process has its part of the rows."""
        step, steps = self.trainer.state.step, self.trainer.steps
        if (step == 0 or self._has_look(step)) and not (resumed and self.looks.has(step)):
            self.looks.look(step)
            if self.estimate and self.looks.seconds:
                self.estimate = self.estimate._replace(look=self.looks.seconds)
            if not self.main:
                return
            left = self.seconds_to_end()
            to_come = f", about {clock(left)} to go" if step < steps and math.isfinite(left) else ""
            of = f"about {steps}" if self.by_clock and step < steps else steps
            done = f"Step {step} of {of}, {self.epochs(step)}{to_come}" if step else "Before the first step"
            with tqdm.external_write_mode():
                self.tell(f"{done}: {self.looks.words()} ({self.home.preview(step).relative_to(self.home.path)})")

    def _save(self) -> None:
        if self.by_clock:
            now = time.monotonic()
            self.trainer.state.spent, self.began = self.trainer.state.spent + now - self.began, now
            self.fix(self.trainer.steps)
        self._saved_at = time.monotonic()
        if not self.main:
            return
        tensors, facts = self.trainer.state.tensors(), self.trainer.state.facts()

        def write() -> None:
            state.save(self.home.checkpoints, tensors, facts, self.settings.keep)
            self.publish(facts["step"], tensors)

        self.writer.start(write)

    def publish(self, step: int, tensors: Mapping[str, torch.Tensor], final: Mapping[str, Any] | None = None) -> None:
        """Makes the folder the model of the averaged weights among a state's `tensors` after so many steps."""
        text = card(self.facts, step, self.home.logged(), data.report(self.data), final)
        weights = {name.removeprefix("ema."): value for name, value in tensors.items() if name.startswith("ema.")}
        self.home.publish(weights, self.begin.unet, self.begin.scheduler, text, self.begin.classes.names)

    def _stop_together(self) -> None:
        """Raises Stopped in all processes at the same step, or in none."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1:
            asked = torch.tensor(float(self.stopper.requested), device=accelerator.device)
            if float(accelerator.reduce(asked, "sum")) > 0:
                raise Stopped
        else:
            self.stopper.check()
