"""The looks at a run: preview pictures and held-out loss by the averaged weights, and the closing measurements."""

import math
import time
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from ddim_app import backends
from ddim_app.diffusion.sampler import Predict
from ddim_app.media.files import write_file
from ddim_app.media.images import contact_sheet, enlargement, png_bytes
from ddim_app.models.loading import Model
from ddim_app.train import averages, held_out_words
from ddim_app.train.config import TrainError
from ddim_app.train.data import TrainingData, middle
from ddim_app.train.evaluate import LOOK_SIZES, Check, HeldOut, LookSize, Share, beside, held_out, peak_memory_mb, preview
from ddim_app.train.loop import Trainer
from ddim_app.train.run_folder import RunFolder
from ddim_app.train.sample_check import SampleCheck, check_samples
from ddim_app.train.setup import StartModel
from ddim_app.train.stop import Stopper
from ddim_app.train.trackers import figures, open_tracker


class RunPreviews:
    """Preview pictures and held-out loss of a run, by the averaged weights of that moment.

    Every process must ask for them, since each evaluates a part of the rows; the main one writes.
    """

    def __init__(
        self, home: RunFolder, begin: StartModel, data: TrainingData, trainer: Trainer, precision: str, stopper: Stopper
    ) -> None:
        self._home, self._begin, self._data, self._trainer, self._stopper = home, begin, data, trainer, stopper
        self._device = trainer.accelerator.device
        self._format = "bf16" if precision == "bf16" else "fp32"
        self._last: tuple[int, np.ndarray] | None = None
        """The step of the last look and its samples."""
        # Of several processes none may leave alone, so they look to the end and stop with the agreement that follows.
        self._check: Check = stopper.check if trainer.accelerator.num_processes == 1 else _go_on
        self._share = Share.of(trainer.accelerator)
        self._warnings: list[str] = []
        self.size: LookSize = LOOK_SIZES[0]
        """The same at all looks of a run, whose losses could not be compared else."""
        self.seconds: float | None = None
        """How long the last look took."""

    @cached_property
    def _tracker(self) -> Any:
        return open_tracker(self._trainer.settings.tracker, self._home)

    def _model(self, average: str = "") -> Model:
        """One of the averages; only its network and the classes matter to the predictor."""
        begin = self._begin
        return Model("run", self._trainer.state.averages[average], begin.schedule, begin.shape, "", classes=begin.classes)

    def _predict(self, average: str = "") -> Predict:
        """The average's network as its weights are now, which are rounded once."""
        return backends.predictor(self._model(average), self._device, self._format)

    def _held_out(self, average: str = "") -> HeldOut | None:
        return held_out(
            self._predict(average), self._data.held_out, self._begin.schedule, self._device, self._check,
            self.size.evaluations, self._data.held_labels, self._share,
        )  # fmt: skip

    def has(self, step: int) -> bool:
        """Whether the run was looked at after this step already, as the main process finds it."""
        return bool(self._share.of_main(any(line["kind"] == "preview" and line["step"] == step for line in self._home.logged())))

    def look(self, step: int) -> None:
        """Writes previews/step-N.png, left the starting model and right this one at equal seeds, and logs the held-out loss."""
        started = time.perf_counter()
        with self._stopper.interruptible():
            pictures = self.samples()
            held = self._held_out()
            samples = check_samples(pictures, self._data, self._check) if self._share.is_main else None
        self._last, self.seconds = (step, pictures), time.perf_counter() - started
        if held is not None and not math.isfinite(held.loss):
            raise TrainError(f"the held-out loss is no finite number at step {step}: start a new run with a smaller --lr")
        if samples is not None:
            self._write(step, pictures, held, samples)

    def _write(self, step: int, pictures: np.ndarray, held: HeldOut | None, samples: SampleCheck) -> None:
        self._home.previews.mkdir(exist_ok=True)
        grid = contact_sheet(pictures, columns=4, scale=enlargement(pictures.shape[1], pictures.shape[2], 64), gap=2)
        start = self._home.preview(0)
        if step and self._begin.init and start.is_file():
            grid = beside(Image.open(start).convert("RGB"), grid.convert("RGB"))
        write_file(self._home.preview(step), png_bytes(grid))
        if held is not None:
            self._keep_if_best(step, held.loss)
            self.log({"kind": "held_out", "step": step, **held._asdict()})
        self._warnings = samples.warnings if step else []
        self.log({"step": step, **samples.facts})
        self.log({"kind": "preview", "step": step, "file": self._home.preview(step).name, "words": self.words()})

    def words(self) -> str:
        """What the last look showed, in a sentence."""
        return "; ".join([self.loss_words(), *self._warnings])

    def loss_words(self) -> str:
        """What the held-out losses so far say."""
        held = [line for line in self._home.logged() if line["kind"] == "held_out"]
        return held_out_words.words(held) if held else "no pictures are held out, so that there is no loss to tell by"

    @property
    def is_learning(self) -> bool:
        """Whether the last look had a lower loss, by more than chance, than all before."""
        held = [line for line in self._home.logged() if line["kind"] == "held_out"]
        return len(held) > 1 and held_out_words.change(held[-1], held_out_words.best(held[:-1])).is_lower

    def _keep_if_best(self, step: int, loss: float) -> None:
        """Keeps the average beside the checkpoints when no look before has had a lower loss."""
        kept = averages.kept_best(self._home)
        if kept is None or kept.step >= step or loss < kept.loss:
            averages.keep_best(self._home, self._trainer.state.average, step, loss)

    def samples(self) -> np.ndarray:
        seed = self._trainer.settings.seed
        return preview(self._predict(), self._model(), self.size, seed, self._device, self._check, self._share)

    def log(self, line: dict[str, Any]) -> None:
        """Adds a line to the run's measurements, and its numbers to its tracker."""
        self._home.log(line)
        if self._tracker is not None:
            self._tracker.log(figures(line), step=line["step"])

    def close(self) -> None:
        """Ends the tracker, which may still have figures to send."""
        if self._tracker is not None:
            self._tracker.finish()

    def final(self) -> dict[str, Any]:
        """The closing measurements: what the samples are, and the peak of memory; nothing but for the main process."""
        with self._stopper.interruptible():
            step, samples = self._last or (-1, None)
            if samples is None or step != self._trainer.state.step:
                samples = self.samples()
            others = {name: self._held_out(name) for name in self._trainer.state.averages if name}
            if not self._share.is_main:
                return {}
            found = check_samples(samples, self._data, self._check, most=None)
        for name, held in others.items():
            if held is not None:
                self.log({"kind": "average", "name": name, "step": self._trainer.state.step, **held._asdict()})
        rows = np.concatenate([samples, middle(self._data.pixels[np.array(found.nearest.which)], *samples.shape[1:3])])
        sheet = contact_sheet(rows, columns=len(samples), scale=enlargement(rows.shape[1], rows.shape[2], 64), gap=2)
        write_file(self._home.previews / "nearest.png", png_bytes(sheet))
        return {"samples": found.words, "peak_memory_mb": peak_memory_mb(self._device)}


def _go_on() -> None:
    """What is asked between network calls where nothing may stop them."""
