"""The running of a run: train, watch, look, save, publish, stop."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from ddim_app.train import data, setup, state
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.evaluate import RunPreviews
from ddim_app.train.loop import OptimizerStep, Trainer, is_broken
from ddim_app.train.run_folder import RunFolder, card
from ddim_app.train.stop import Stopped, Stopper

LOG_EVERY = 10


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

    @property
    def main(self) -> bool:
        return bool(self.trainer.accelerator.is_main_process)

    def train(self) -> None:
        """Trains to the end; when a signal comes, saves and raises Stopped."""
        saved = self.trainer.state.step
        meter = SpeedMeter(self.trainer, self.facts["global_batch"])
        bar = tqdm(total=self.trainer.steps, initial=saved, unit="step", disable=not self.main, dynamic_ncols=True)
        steps = self.trainer.train()
        try:
            with bar:
                self._look(resumed=True)
                self._stop_together()
                meter.resume()
                for done in steps:
                    bar.update()
                    self._watch(done, meter, bar)
                    self._look()
                    if done.step % self.settings.checkpoint_every == 0 or done.step == self.trainer.steps:
                        self._save()
                        saved = done.step
                    self._stop_together()
                    meter.resume()
        except Stopped:
            if self.trainer.state.step != saved:
                self._save()
            raise
        finally:
            steps.close()

    def _watch(self, done: OptimizerStep, meter: "SpeedMeter", bar: "tqdm[Any]") -> None:
        """Notices divergence, and logs every few steps."""
        logs = done.step % LOG_EVERY == 0 or done.step == self.trainer.steps
        saves = done.step % self.settings.checkpoint_every == 0
        meter.add(done)
        # Reading a number makes a GPU wait, so there it is done only when one is needed.
        if (logs or saves or self.trainer.accelerator.device.type == "cpu") and is_broken(done, self.facts["precision"]):
            good = state.checkpoints(self.home.checkpoints)
            raise TrainError(
                f"the loss is no longer a finite number at step {done.step}; the last good checkpoint is "
                f"{good[-1] if good else 'none'}, and {self.home.path} holds its model: start a new run with a smaller --lr, "
                f"if you like with --init {self.home.path}"
            )
        if logs:
            line = meter.line(done)
            bar.set_postfix_str(f"loss {line['loss']:.4f}, {line['pictures_per_second']:.1f} pictures/s")
            if self.main:
                self.home.log(line)
                self.looks.scalars(line)

    def _look(self, resumed: bool = False) -> None:
        """A preview grid and the held-out loss, every preview_every steps, on the main process while the others wait."""
        step, every = self.trainer.state.step, self.settings.preview_every
        due = every and step % every == 0 and step
        if self.main and (step == 0 or due or step == self.trainer.steps) and not (resumed and self.looks.has(step)):
            try:
                self.looks.look(step)
            except Stopped:
                if not self.stopper.together:
                    raise  # else all processes end with the agreement that follows, and the look is made when the run goes on

    def _save(self) -> None:
        if self.main:
            state.save(self.home.checkpoints, self.trainer.state, self.settings.keep)
            self.publish()

    def publish(self, final: Mapping[str, Any] | None = None) -> None:
        text = card(self.facts, self.trainer.state.step, self.home.logged(), data.report(self.data), final)
        self.home.publish(self.trainer.state.average, self.begin.unet, self.begin.scheduler, text)

    def _stop_together(self) -> None:
        """Raises Stopped in all processes at the same step, or in none."""
        accelerator = self.trainer.accelerator
        if accelerator.num_processes > 1:
            asked = torch.tensor(float(self.stopper.requested), device=accelerator.device)
            if float(accelerator.reduce(asked, "sum")) > 0:
                raise Stopped
        else:
            self.stopper.check()


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
            "kind": "train", "step": done.step, "loss": float(loss), "grad_norm": float(done.grad_norm), "lr": done.lr,
            "pictures": pictures, "seconds": round(seconds, 3), "pictures_per_second": round(pictures / seconds, 2),
            "data_wait": round((waited - self._waited) / seconds, 5),
        }  # fmt: skip
        self._losses, self._seconds, self._waited = [], 0.0, waited
        return line
