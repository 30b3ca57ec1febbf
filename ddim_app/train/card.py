"""The model card of a run, README.md: what the model is, what it was trained on, and how it did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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
    text = [
        *front, "---", "", f"# {facts['name']}", "",
        f"Unconditional `UNet2DModel`, {facts['parameters'] / 1e6:.1f} million parameters, pictures of "
        f"{facts['shape'][2]}x{facts['shape'][1]}, predicts {facts['prediction_type']}; {begun}.",
        f"The weights are the running average after step {step} of {facts['steps']} ({state}), "
        f"{step * facts['global_batch']} pictures seen.", "",
        *_results(final, lines), "## Data", "", "```", report, "```", "",
        "The pictures' own licence decides what may be done with this model: name it here before you share it.", "",
        "## Settings", "", *_table(["setting", "value"], _rows(settings)), "",
        f"Global batch {facts['global_batch']}, {facts['processes']} process(es), {facts['precision']}, "
        f"{facts['threads']} threads; " + ", ".join(f"{name} {version}" for name, version in facts["versions"].items()) + ".", "",
        "## Use", "", "```python", "from diffusers import DDIMPipeline", "",
        'picture = DDIMPipeline.from_pretrained("THIS FOLDER")(num_inference_steps=50).images[0]', "```", "",
    ]  # fmt: skip
    return "\n".join(text)


def _rows(settings: Mapping[str, Any]) -> list[list[str]]:
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
        text += [*_table(head, [_held_out_row(line) for line in (first, last)]), ""]
    if final:
        text += [final["memorisation"], "", f"Peak memory {final['peak_memory_mb']:.0f} MB.", ""]
    return text


def _held_out_row(line: Mapping[str, Any]) -> list[str]:
    return [f"step {line['step']}", *(f"{value:.4f}" for value in line["buckets"]), f"{line['loss']:.5f}"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
