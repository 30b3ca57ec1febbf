"""The folder of a run: its settings, its measurements, and the model that it publishes there."""

import json
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ddim_app.media.files import json_lines, write_file, write_json, write_tensors
from ddim_app.models.model_files import WEIGHTS
from ddim_app.train.config import FIELDS, Settings, TrainError, flag

BY_CONTENT = ("data", "holdout", "init", "output", "preset")
"""Options whose value is a place: what is there is compared, not the words."""
MODEL_FILES = [
    "README.md",
    "model_index.json",
    "preview.png",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    f"unet/{WEIGHTS}",
]
"""The files of a run that are the model, one by one: a pattern such as *.png would take previews/, where training pictures are."""


class RunFolder:
    """runs/NAME: run.json, metrics.jsonl, checkpoints/, previews/, and the model in diffusers' pipeline layout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.previews = path / "previews"
        self.metrics = path / "metrics.jsonl"

    def stored(self) -> dict[str, Any] | None:
        """run.json of a run that was begun here; None when there is none."""
        try:
            stored = json.loads((self.path / "run.json").read_text("utf-8"))
        except FileNotFoundError:
            if (self.path / "model_index.json").exists() or (self.path / "unet").exists():
                raise TrainError(
                    f"--output {self.path} holds a model that is no run of this program: name another folder"
                ) from None
            return None
        except (OSError, ValueError) as error:
            raise TrainError(f"--output {self.path}: its run.json cannot be read ({error})") from error
        if not isinstance(stored, dict) or "settings" not in stored:
            raise TrainError(f"--output {self.path}: its run.json is not one of this program")
        return stored

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; the system frees it when the process ends, however it ends."""
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise TrainError(f"another process is training in {self.path}: wait for it, or name another --output") from None
        except OSError as error:
            raise TrainError(f"--output {self.path} cannot be used as a folder ({error.strerror}): name another one") from error
        try:
            yield
        finally:
            lock.release()

    def preview(self, step: int) -> Path:
        return self.previews / f"step-{step:09d}.png"

    def write_run(self, facts: Mapping[str, Any]) -> None:
        write_json(self.path / "run.json", facts)

    def log(self, line: Mapping[str, Any]) -> None:
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.metrics)) from error

    def logged(self) -> list[dict[str, Any]]:
        """The measurements so far; a last line that was cut short is left out."""
        return json_lines(self.metrics)

    def rewind(self, step: int) -> None:
        """Forgets measurements of steps that a resumed run makes again."""
        kept = [line for line in self.logged() if line["step"] <= step]
        write_file(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def publish(
        self, weights: dict[str, torch.Tensor], unet: Mapping[str, Any], scheduler: Mapping[str, Any], card: str,
        classes: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Makes the folder the model of these weights. A reader finds the old ones or the new, whole, at any moment."""
        for name in ("unet", "scheduler"):
            (self.path / name).mkdir(exist_ok=True)
        write_tensors(self.path / "unet" / WEIGHTS, weights)
        write_file(self.path / "README.md", card.encode())
        if not (self.path / "unet" / "config.json").exists():
            index: dict[str, Any] = {
                "_class_name": "DDPMPipeline",
                "scheduler": ["diffusers", "DDPMScheduler"],
                "unet": ["diffusers", "UNet2DModel"],
            }
            if classes:
                index["id2label"] = dict(enumerate(classes))
            write_json(self.path / "scheduler" / "scheduler_config.json", scheduler)
            write_json(self.path / "model_index.json", index)
            # Last, since it is by this file that the app knows a model.
            write_json(self.path / "unet" / "config.json", unet)


def continued(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """The settings of a run that was begun with `stored` ones and is started again; raises TrainError when they disagree."""
    # What runs that know nothing of an option were begun with is not always its default.
    settings = {"several_averages": False} | {name: value for name, value in stored["settings"].items() if name in FIELDS}
    for name, value in given.items():
        before = settings.get(name, FIELDS[name].default)
        if name == "steps" and stored.get("finished") and type(value) is int and value > before:
            continue  # a finished run is gone on with
        if name not in BY_CONTENT and not FIELDS[name].metadata["free"] and value != before:
            raise TrainError(
                f"{flag(name)} was {before} when this run was begun, and is {value} now: keep it, or name another "
                f"--output (with --init {given.get('output', 'THIS RUN')} that goes on from this run's model)"
            )
    for start, other in (("init", "preset"), ("preset", "init")):
        if given.get(start) and settings.get(other) and not settings.get(start):
            raise TrainError(
                f"--{start} {given[start]}: this run was begun with --{other} {settings[other]}; name another --output"
            )
    return Settings(**{**settings, **given})


def stored_settings(settings: Settings, init: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings as run.json has them: the starting model by its name, since its place is another on another machine."""
    return {**asdict(settings), "init": init and init["name"], "output": "", "dry_run": False, "keep_data": False}


def versions() -> dict[str, str]:
    """The versions of everything that decides the bits of a result."""
    known = {"python": platform.python_version()}
    for name in ("torch", "diffusers", "accelerate", "numpy", "pillow"):
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            continue
    return known


def card(
    facts: Mapping[str, Any], step: int, lines: Sequence[Mapping[str, Any]], report: str, final: Mapping[str, Any] | None
) -> str:
    """Markdown with the Hub's front matter. `facts` is run.json, `lines` are the metrics, `final` the closing measurements."""
    settings = facts["settings"]
    base = facts["init"]
    front = ["---", "library_name: diffusers", "pipeline_tag: unconditional-image-generation", "tags:", "- ddpm", "- ddim"]
    if base and "/" in base["name"] and not base["name"].startswith(("/", ".")):
        front.append(f"base_model: {base['name']}")
    state = "finished" if final else "still training, or stopped"
    begun = (
        f"fine-tuned from `{base['name']}` (sha256 {base['sha256'][:16]})"
        if base
        else f"trained from scratch by preset `{Path(settings['preset']).stem}`"
    )
    kind, use = "Unconditional `UNet2DModel`", ["```python", "from diffusers import DDIMPipeline", "",
        'picture = DDIMPipeline.from_pretrained("THIS FOLDER")(num_inference_steps=50).images[0]']  # fmt: skip
    if classes := facts.get("classes"):
        kind = f"`UNet2DModel` of {len(classes)} classes ({', '.join(classes)[:400]}; their indices are in model_index.json)"
        use = ["```", f"python -m ddim_app generate --model THIS_RUN --class-label {shlex.quote(classes[0])} --guidance 2"]
    text = [
        *front, "---", "", f"# {facts['name']}", "",
        f"{kind}, {facts['parameters'] / 1e6:.1f} million parameters, pictures of "
        f"{facts['shape'][2]}x{facts['shape'][1]}, predicts {facts['prediction_type']}; {begun}.",
        weights_words(facts, step, state), "",
        *_results(final, lines), "## Data", "", "```", report, "```", "",
        "The pictures' own licence decides what may be done with this model: name it here before you share it.", "",
        "## Settings", "", *_markdown_table(["setting", "value"], _setting_rows(settings)), "",
        f"Global batch {facts['global_batch']}, {facts['processes']} process(es), {facts['precision']}, "
        f"{facts['threads']} threads; " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + ".", "",
        "## Use", "", *use, "```", "",
    ]  # fmt: skip
    return "\n".join(text)


def weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The network's weights as a model's file has them."""
    return {name: p.detach().to("cpu", torch.float32).contiguous().clone() for name, p in network.named_parameters()}


def weights_words(facts: Mapping[str, Any], step: int, state: str) -> str:
    """The line of the card that says which weights the model has; `state` is that of the run, or the average's name."""
    seen = step * facts["global_batch"]
    return f"The weights are the running average after step {step} of {facts['steps']} ({state}), {seen} pictures seen."


def _setting_rows(settings: Mapping[str, Any]) -> list[list[str]]:
    private = ("data", "holdout", "output", "cache", "init", "preset", "push_to_hub", "dry_run")  # places on the trainer's machine
    return [[name, str(value)] for name, value in settings.items() if name not in private]


def _results(final: Mapping[str, Any] | None, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    speeds = [line for line in lines if line["kind"] == "train"]
    seconds = sum(line["seconds"] for line in speeds)
    text = ["## Result", ""]
    if speeds:
        done = sum(line["pictures"] for line in speeds)
        text += [f"{seconds / 60:.1f} minutes of training at {done / max(seconds, 1e-9):.1f} pictures per second.", ""]
    held = [line for line in lines if line["kind"] == "held_out"]
    if held:
        first, last = held[0], held[-1]
        head = ["held-out loss", *(f"t {i * 10}-{i * 10 + 10} %" for i in range(len(first["buckets"]))), "mean"]
        text += [*_markdown_table(head, [_held_out_row(line) for line in (first, last)]), ""]
    if final:
        text += [final["samples"].replace("\n", "  \n"), "", f"Peak memory {final['peak_memory_mb']:.0f} MB.", ""]
    return text


def _held_out_row(line: Mapping[str, Any]) -> list[str]:
    return [f"step {line['step']}", *(f"{value:.4f}" for value in line["buckets"]), f"{line['loss']:.5f}"]


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
