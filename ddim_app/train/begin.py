"""Beginning a run, or continuing one, from the options that were given."""

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from ddim_app.train import bundle, config, data, setup, state
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.evaluate import PICTURES, PREVIEW_STEPS, RunPreviews
from ddim_app.train.loop import Trainer
from ddim_app.train.run import TrainingRun
from ddim_app.train.run_folder import RunFolder, continued, remove_partial, versions, write_file
from ddim_app.train.stop import Stopper


def run(given: Mapping[str, Any], stopper: Stopper) -> None:
    """The whole of a run; raises TrainError or Stopped."""
    given = dict(given)
    home = RunFolder(Path(config.output(given)))
    stored = home.stored()
    settings = continued(stored, given) if stored else config.resolve(given)
    with stopper.interruptible():
        accelerator, precision = setup.accelerator(settings)
    if not accelerator.is_main_process:
        return _run(settings, home, stored, accelerator, precision, stopper)
    if settings.dry_run:
        return _run(settings, home, stored, accelerator, precision, stopper)
    with home.locked():
        _run(settings, home, home.stored(), accelerator, precision, stopper)


def _run(
    settings: Settings, home: RunFolder, stored: dict[str, Any] | None, accelerator: Accelerator, precision: str, stopper: Stopper
) -> None:
    with stopper.interruptible():
        begin = setup.start(settings)
        pictures = _data(settings, home, begin, accelerator)
    facts = stored or _facts(settings, home, begin, pictures, accelerator, precision)
    if stored:
        _check_same(stored, _facts(settings, home, begin, pictures, accelerator, stored["precision"]), accelerator)
    tell = print if accelerator.is_main_process else _silent
    tell(f"\n{data.report(pictures)}\n")
    if facts["finished"]:
        tell(f"This run is finished: {facts['steps']} steps; its model is {home.path}")
        return _push(settings, home, accelerator)
    with stopper.interruptible():
        trainer = setup.trainer(begin, pictures, replace(settings, steps=facts["steps"]), accelerator, stopper)
        looks = RunPreviews(home, begin, pictures, trainer, precision, stopper)
    stopper.together = accelerator.num_processes > 1
    running = TrainingRun(settings, home, begin, pictures, trainer, facts, stopper, looks)
    if _prepare(running, stored is not None, tell):
        running.train()
        _finish(running, tell)
        _push(settings, home, accelerator)


def _data(settings: Settings, home: RunFolder, begin: setup.StartModel, accelerator: Accelerator) -> data.TrainingData:
    """The pictures; one process decodes them, and the others open what it has written."""
    form = data.PictureForm(setup.cached_side(begin.shape[1], settings.crop), begin.shape[0], settings.background)
    cache = Path(settings.cache) if settings.cache else home.path.parent / ".cache"
    bar = tqdm(unit="file", disable=not accelerator.is_main_process, dynamic_ncols=True, leave=False)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    with bar:
        if not accelerator.is_main_process:
            accelerator.wait_for_everyone()
        pictures = data.prepare(settings.data, settings.holdout, form, cache, progress)
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()
    return pictures


def _facts(
    settings: Settings,
    home: RunFolder,
    begin: setup.StartModel,
    pictures: data.TrainingData,
    accelerator: Accelerator,
    precision: str,
) -> dict[str, Any]:
    """run.json of a run that begins now."""
    return {
        "name": home.path.name, "settings": asdict(settings), "steps": settings.steps, "finished": False,
        "init": begin.init, "unet": begin.unet, "shape": list(begin.shape), "prediction_type": begin.schedule.prediction_type,
        "parameters": sum(p.numel() for p in begin.network.parameters()), "data": pictures.key,
        "global_batch": settings.batch_size * settings.accumulate * accelerator.num_processes,
        "processes": accelerator.num_processes, "precision": precision, "threads": torch.get_num_threads(),
        "versions": versions(),
    }  # fmt: skip


def _check_same(stored: Mapping[str, Any], now: Mapping[str, Any], accelerator: Accelerator) -> None:
    """Raises TrainError unless what is given now is what the run was begun with; tells of what costs the exactness only."""
    if stored["unet"] != now["unet"]:
        raise TrainError("--init is a network of another architecture than the one this run was begun with: name another --output")
    if stored["init"] and stored["init"]["sha256"] != now["init"]["sha256"]:
        raise TrainError(
            f"--init was {stored['init']['name']} (sha256 {stored['init']['sha256'][:12]}) when this run was begun, and is "
            "another model now: name another --output"
        )
    if stored["data"] != now["data"]:
        raise TrainError(
            "--data has changed since this run was begun (pictures were added, removed or edited, or --holdout's were): put them "
            "back, or name another --output"
        )
    if stored["global_batch"] != now["global_batch"]:
        raise TrainError(
            f"the run was begun with {stored['global_batch']} pictures per step and would go on with {now['global_batch']}: choose "
            "--batch-size times --accumulate times the number of processes as before, or name another --output"
        )
    changed = [name for name in ("processes", "threads", "versions") if stored[name] != now[name]]
    if changed and accelerator.is_main_process:
        print(f"Note: {', '.join(changed)} changed since this run was begun; it goes on, but not to the very bits it would have.")


def _prepare(running: TrainingRun, continues: bool, tell: Any) -> bool:
    """Restores the last checkpoint, or publishes the starting model and fixes the number of steps; False after a dry run."""
    settings, trainer, home = running.settings, running.trainer, running.home
    restored = None
    if continues:
        restored = state.load_last(home.checkpoints, trainer.state, tell)
        if restored:
            tell(f"Going on after step {trainer.state.step} of {trainer.steps} ({restored.name})")
    if running.main and not settings.dry_run:
        for place in (home.path, home.path / "unet", home.path / "scheduler", home.previews):
            if place.is_dir():
                remove_partial(place)
        home.write_run(running.facts)
        home.rewind(trainer.state.step)
        running.publish()  # the app lists it from now on
    if restored is None:
        _fix_steps(running, tell)
    return not settings.dry_run


def _fix_steps(running: TrainingRun, tell: Any) -> None:
    settings, trainer = running.settings, running.trainer
    with running.stopper.interruptible():
        estimate = measure(trainer)
    # A run that was stopped before its first checkpoint keeps the number that was fixed.
    if settings.minutes is not None and not running.facts.get("fixed"):
        trainer.steps = estimate.steps(settings.minutes * 60, settings.preview_every)
    batch = trainer.batches.global_batch
    seconds = estimate.seconds(trainer.steps, settings.preview_every)
    tell(f"{trainer.steps} steps of {batch} pictures, {batch / estimate.step:.1f} pictures per second: about {clock(seconds)}")
    fixed = replace(settings, steps=trainer.steps, output="", dry_run=False)
    running.facts |= {"steps": trainer.steps, "fixed": True, "settings": asdict(fixed)}
    if running.main and not settings.dry_run:
        running.home.write_run(running.facts)


def _finish(running: TrainingRun, tell: Any) -> None:
    """The closing report, once; the run is marked as finished last."""
    if running.main:
        final = running.looks.final()
        running.publish(final)
        preview = running.home.previews / f"step-{running.trainer.steps:09d}.png"
        write_file(running.home.path / "preview.png", preview.read_bytes())
        running.facts["finished"] = True
        running.home.write_run(running.facts)
        held = [line for line in running.home.logged() if line["kind"] == "held_out"]
        if held:
            tell(f"Held-out loss: {held[0]['loss']:.5f} at the start, {held[-1]['loss']:.5f} now")
        tell(f"{final['memorisation']}\nPeak memory {final['peak_memory_mb']:.0f} MB")
        tell(f"Done: {running.home.path} is the model; README.md there is its card, previews/ its pictures")


def _push(settings: Settings, home: RunFolder, accelerator: Accelerator) -> None:
    if settings.push_to_hub and accelerator.is_main_process:
        print(f"Uploaded: {bundle.push(home.path, settings.push_to_hub)}")


def _silent(text: str) -> None:
    """What the processes that are not the main one say."""


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
        """The number of steps that fit into so many seconds, at least 10."""
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
