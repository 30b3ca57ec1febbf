"""Beginning a run, or continuing one, from the options that were given."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from ddim_app.errors import refused_by_disk
from ddim_app.media.files import remove_partial, write_file
from ddim_app.models.model_files import unet_folder
from ddim_app.train import averages, bundle, config, data, labelling, setup, state
from ddim_app.train.closing import how_to_see
from ddim_app.train.config import Settings, TrainError
from ddim_app.train.evaluate import LookSize
from ddim_app.train.looks import RunPreviews
from ddim_app.train.pace import FEWEST_STEPS, clock, measure, measure_threads
from ddim_app.train.picture_cache import PictureForm
from ddim_app.train.run import TrainingRun
from ddim_app.train.run_folder import RunFolder, continued, stored_settings, versions
from ddim_app.train.stop import Stopper
from ddim_app.train.trackers import check_tracker


def run(given: Mapping[str, Any], stopper: Stopper, began: float) -> None:
    """The whole of a run; raises TrainError or Stopped. `began` is when the program did, by time.monotonic()."""
    home = RunFolder(Path(config.output(given)))
    stored = home.stored()
    settings = continued(stored, given) if stored else config.resolve(given)
    if Path(settings.data).expanduser().resolve() == home.path.resolve():
        raise TrainError(
            f"--output must be another folder than --data, whose pictures would be mixed with its previews; got {home.path}"
        )
    check_tracker(settings.tracker)
    with stopper.interruptible():
        accelerator, precision = setup.accelerator(settings)
    writes = accelerator.is_main_process and not settings.dry_run
    with home.locked() if writes else contextlib.nullcontext():
        try:
            _run(settings, given, home, home.stored() if writes else stored, accelerator, precision, stopper, began)
            # A process that ended at once would be aborted where gloo's thread still lets go of the last exchange's tensors.
            accelerator.wait_for_everyone()
        except OSError as error:
            raise TrainError(
                f"{refused_by_disk(error)}: {state.last_good(home.checkpoints)}; make room or allow it, and start the "
                "same command again"
            ) from error


def _run(
    settings: Settings, given: Mapping[str, Any], home: RunFolder, stored: dict[str, Any] | None, accelerator: Accelerator,
    precision: str, stopper: Stopper, began: float,
) -> None:  # fmt: skip
    if threads := settings.threads or (stored or {}).get("threads"):
        torch.set_num_threads(threads)
    with stopper.interruptible():
        begin = _start(settings, given, home, stored)
        pictures = _data(settings, home, begin, stored, accelerator)
        begin = labelling.with_classes(begin, pictures, settings)
    now = _facts(settings, home, begin, pictures, accelerator, (stored or {}).get("precision", precision))
    facts = stored or now
    if stored:
        _check_same(stored, now, settings, accelerator)
    tell = print if accelerator.is_main_process else _silent
    tell(f"\n{data.report(pictures)}\n")
    facts |= _longer(facts, settings, begin)
    if facts["finished"]:
        tell(f"This run is finished: {facts['steps']} steps; its model is {home.path}; a larger --steps goes on from there")
        return _push(settings, home, accelerator)
    with stopper.interruptible():
        trainer = setup.trainer(begin, pictures, replace(settings, steps=facts["steps"]), accelerator, stopper)
        trainer.begun = facts.get("begun", 0)
        looks = RunPreviews(home, begin, pictures, trainer, precision, stopper)
        looks.size = LookSize(*facts.get("look_size", looks.size))
    stopper.together = accelerator.num_processes > 1
    running = TrainingRun(settings, home, begin, pictures, trainer, facts, stopper, looks, tell, began)
    if _prepare(running, stored is not None):
        try:
            running.train()
            _finish(running)
        finally:
            if running.main:
                looks.close()
        _push(settings, home, accelerator)


def _longer(facts: Mapping[str, Any], settings: Settings, begin: setup.StartModel) -> dict[str, Any]:
    """What changes in run.json of a finished run that is given more steps: its learning rate rises anew where it was finished."""
    if not facts["finished"] or settings.steps <= facts["steps"]:
        return {}
    more = {"finished": False, "begun": facts["steps"], "steps": settings.steps}
    return more | {"settings": stored_settings(settings, begin.init)}


def _start(settings: Settings, given: Mapping[str, Any], home: RunFolder, stored: dict[str, Any] | None) -> setup.StartModel:
    """The network that the run begins with; of one that goes on, the run's own unless the command names the start again."""
    named = given.get("init") or given.get("preset")
    goes_on = stored is not None and state.checkpoints(home.checkpoints) and unet_folder(home.path) is not None
    if goes_on and not named:
        return setup.published(home.path, (stored or {})["init"])
    try:
        return setup.start(settings)
    except TrainError as error:
        hint = "; this run goes on without it: leave --init or --preset out" if goes_on else ""
        raise TrainError(f"{error}{hint}") from error


def _data(
    settings: Settings, home: RunFolder, begin: setup.StartModel, stored: dict[str, Any] | None, accelerator: Accelerator
) -> data.TrainingData:
    """The pictures; one process decodes them, and the others open what it has written."""
    channels, height, width = begin.shape
    form = PictureForm(setup.cached_side(height, settings.crop), channels, settings.background)
    cache = Path(settings.cache) if settings.cache else home.path.parent / ".cache"
    bar = tqdm(unit="file", disable=not accelerator.is_main_process, dynamic_ncols=True, leave=False)

    def progress(done: int, total: int) -> None:
        bar.total = total or None
        bar.update(done - bar.n)

    with bar:
        told: list[Any] = [None, None]
        if not accelerator.is_main_process:
            broadcast_object_list(told)
        if told[0] and (cache / told[0].partition("-")[0]).is_dir():
            pictures = replace(data.kept(told[0], form, cache), content=told[1])  # no file is hashed twice
        elif settings.keep_data and stored:
            pictures = data.kept(stored["data"], form, cache)
        else:
            holdout = settings.holdout or (data.held_out_count(stored["data"]) if stored else None)
            pictures = data.prepare(settings.data, holdout, form, cache, progress, (home.path, cache))
        if accelerator.is_main_process:
            broadcast_object_list([pictures.key, pictures.content])
    if accelerator.is_main_process and not stored:
        print(data.cache_words(pictures, form, cache))
    pictures = replace(pictures, held_out=data.middle(pictures.held_out, height, width))
    return labelling.labelled(pictures) if settings.classes else pictures


def _facts(
    settings: Settings,
    home: RunFolder,
    begin: setup.StartModel,
    pictures: data.TrainingData,
    accelerator: Accelerator,
    precision: str,
) -> dict[str, Any]:
    """run.json of a run that begins now."""
    facts = {
        "name": home.path.name, "settings": stored_settings(settings, begin.init), "steps": settings.steps, "finished": False,
        "init": begin.init, "unet": begin.unet, "scheduler": begin.scheduler, "shape": list(begin.shape),
        "prediction_type": begin.schedule.prediction_type, "parameters": sum(p.numel() for p in begin.network.parameters()),
        "data": pictures.key, "content": pictures.content,
        "global_batch": settings.batch_size * settings.accumulate * accelerator.num_processes,
        "processes": accelerator.num_processes, "precision": precision, "threads": torch.get_num_threads(),
        "versions": versions(),
        **({"classes": pictures.classes} if pictures.classes else {}),
    }  # fmt: skip
    return dict(json.loads(json.dumps(facts)))  # tuples are lists there


def _check_same(stored: Mapping[str, Any], now: Mapping[str, Any], settings: Settings, accelerator: Accelerator) -> None:
    """Raises TrainError unless what is given now is what the run was begun with; tells of what costs the exactness only."""
    if stored["unet"] != now["unet"] or stored.get("scheduler", now["scheduler"]) != now["scheduler"]:
        raise TrainError(
            f"{'--preset' if settings.preset else '--init'} is a network of another architecture or schedule than the one this run "
            "was begun with: name another --output"
        )
    if stored["init"] and stored["init"]["sha256"] not in now["init"].values():
        raise TrainError(
            f"--init was {stored['init']['name']} (sha256 {stored['init']['sha256'][:12]}) when this run was begun, and is "
            "another model now: name another --output"
        )
    if not settings.keep_data and stored["data"] != now["data"] and stored.get("content") != now["content"]:
        raise TrainError(
            "--data has changed since this run was begun (pictures were added, removed or edited, or --holdout's were): put them "
            "back, go on with those that it had by --keep-data, or name another --output"
        )
    if stored["global_batch"] != now["global_batch"]:
        raise TrainError(
            f"the run was begun with {stored['global_batch']} pictures per step and would go on with {now['global_batch']}: choose "
            "--batch-size times --accumulate times the number of processes as before, or name another --output"
        )
    changed = [name for name in ("processes", "threads", "versions") if stored[name] != now[name]]
    if changed and accelerator.is_main_process:
        print(f"Note: {', '.join(changed)} changed since this run was begun; it goes on, but not to the very bits it would have.")


def _prepare(running: TrainingRun, continues: bool) -> bool:
    """Restores the last checkpoint, or publishes the starting model and fixes the number of steps; False after a dry run."""
    settings, trainer, home, tell = running.settings, running.trainer, running.home, running.tell
    restored = None
    if continues:
        restored = state.load_last(home.checkpoints, trainer.state, tell)
        if restored is None and running.begin.is_published:
            raise TrainError(
                f"no checkpoint of {home.path} can be used: name what the run was begun with by --init or --preset, to start over, "
                "or another --output"
            )
        if restored:
            tell(f"Going on after step {trainer.state.step} of {trainer.steps} ({restored.name})")
    if running.main and not settings.dry_run:
        for place in (home.path, home.path / "unet", home.path / "scheduler", home.previews):
            if place.is_dir():
                remove_partial(place)
        home.write_run(running.facts)
        home.rewind(trainer.state.step)
        running.publish(trainer.state.step, trainer.state.tensors())  # the app lists it from now on
    if restored is None:
        _fix_steps(running)
    return not settings.dry_run


def _fix_steps(running: TrainingRun) -> None:
    """Decides what the speed decides: threads, number of steps, and when and how closely to look. A run that was stopped before
    its first checkpoint keeps what was decided."""
    settings, trainer, facts = running.settings, running.trainer, running.facts
    running.tell("Measuring how fast this machine trains: some seconds, on a busy one a minute or two.")
    with running.stopper.interruptible():
        running.estimate = estimate = measure(trainer) if facts.get("fixed") else measure_threads(trainer)
    if not facts.get("fixed"):
        facts |= {"threads": torch.get_num_threads(), "first_look": estimate.first_look}
        running.plan()
    running.fix(trainer.steps)
    batch, threads = (
        trainer.batches.global_batch,
        f" with {facts['threads']} thread{'s' * (facts['threads'] > 1)}" * (trainer.accelerator.device.type == "cpu"),
    )
    about = "About " * running.by_clock
    running.tell(
        f"{about}{trainer.steps} steps of {batch} pictures, that is {running.epochs(trainer.steps)}; {batch / estimate.step:.1f} "
        f"pictures per second{threads}: about {clock(running.seconds_to_end())} from now on"
    )
    if settings.minutes and trainer.steps == FEWEST_STEPS and running.seconds_to_end() > running.seconds:
        running.tell(f"That is more than --minutes {settings.minutes:g}: a run has at least {FEWEST_STEPS} steps.")
    elif settings.minutes is not None and not settings.by_clock:
        running.tell("On a machine that does other work too this may take longer; with --by-clock it ends on time.")


def _finish(running: TrainingRun) -> None:
    """The closing report, once; the run is marked as finished last."""
    final = running.looks.final()
    if running.main:
        tell, state_ = running.tell, running.trainer.state
        running.publish(state_.step, state_.tensors(), final)
        preview = running.home.preview(running.trainer.steps)
        write_file(running.home.path / "preview.png", preview.read_bytes())
        running.facts["finished"] = True
        running.home.write_run(running.facts)
        tell(f"At the end, {running.looks.loss_words()}")
        if running.looks.is_learning:
            tell(f"It was learning to the end: the same command with --steps {2 * running.trainer.steps} goes on from here.")
        if better := averages.offer(running.home):
            tell(better)
        tell(f"{final['samples']}\nPeak memory {final['peak_memory_mb']:.0f} MB")
        tell(f"Done: {running.home.path} is the model; README.md there is its card, previews/ its pictures")
        tell(how_to_see(running.home.path, running.begin, running.settings))


def _push(settings: Settings, home: RunFolder, accelerator: Accelerator) -> None:
    if settings.push_to_hub and accelerator.is_main_process:
        print(f"Uploaded: {bundle.push(home.path, settings.push_to_hub)}")


def _silent(text: str) -> None:
    """What the processes that are not the main one say."""
