"""The fold of a model that a run here has made, or is making: how its loss goes, what that means, and its last preview."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from ddim_app.engine import Engine
from ddim_app.media.files import json_lines
from ddim_app.media.images import data_uri, open_picture
from ddim_app.models.loading import ModelError
from ddim_app.ui import text
from ddim_app.ui.components import chart
from ddim_app.ui.fields import PRIVATE, on_any

EVERY = 10.0
"""Seconds between two looks at a run that goes on, while the fold is open."""
MOST_POINTS = 300
PREVIEW = '<img alt="Left samples of the model that the run began with, right of what it is now, from equal seeds" hidden>'
SHOW_PREVIEW = """
const image = element.querySelector('img');
const show = () => { image.hidden = !props.value; if (props.value) image.src = props.value; };
watch('value', show);
show();
"""


def run_of(engine: Engine, model: Any) -> Path | None:
    """The folder of the run that has made a model, or is making it; None for any other model."""
    try:
        folder = engine.catalogue.folder(model) if isinstance(model, str) else None
    except ModelError:
        return None
    return folder if folder is not None and (folder / "metrics.jsonl").is_file() else None


def newest_run(engine: Engine) -> str | None:
    """The name of the model that was trained last among those that the page lists."""
    folders = {name: folder for name in engine.catalogue.folders() if (folder := run_of(engine, name))}
    return max(folders, key=lambda name: (folders[name] / "metrics.jsonl").stat().st_mtime_ns, default=None)


def curve(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The value of the chart: the loss of the steps, thinned, and the held-out loss of each look."""
    train = [(line["step"], line["loss"]) for line in lines if line.get("kind") == "train"]
    held = [(line["step"], line["loss"]) for line in lines if line.get("kind") == "held_out"]
    series = [chart.line("training", train[:: max(1, len(train) // MOST_POINTS)]), chart.line("held out", held)]
    return chart.lines("Loss", "step", [each for each in series if each["points"]])


def shown(folder: Path | None) -> tuple[str, dict[str, Any], str, bool]:
    """What is said of a run, its chart, its last preview as a data URI, and whether it goes on; nothing of what cannot be read."""
    try:
        if folder is None:
            raise OSError("this model is no run")
        lines, facts = json_lines(folder / "metrics.jsonl"), json.loads((folder / "run.json").read_text("utf-8"))
        look = next(line for line in reversed(lines) if line["kind"] == "preview")
        step = max(line["step"] for line in lines)
        words = f"Step {step} of {facts['steps']}{', finished' if facts['finished'] else ''}: {look.get('words', '')}"
        preview = data_uri(open_picture(folder / "previews" / Path(look["file"]).name))
        return words, curve(lines), preview, not facts["finished"]
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        return "There is nothing to be shown of this run yet.", {}, "", folder is not None


class TrainingFold:
    """Closed until it is opened, and out of sight for models that no run here has made. A closed one asks nothing."""

    def __init__(self) -> None:
        with gr.Accordion("Training", open=False, visible=False, elem_id="training") as self._fold:
            self._said = text.line("", "training-said")
            self._curve = chart.component("training-curve")
            self._preview = gr.HTML(
                "", html_template=PREVIEW, js_on_load=SHOW_PREVIEW, apply_default_css=False, elem_id="training-preview"
            )
        self._timer = gr.Timer(EVERY, active=False)

    def connect(self, engine: Engine, demo: gr.Blocks, model: Component) -> None:
        """Keeps the fold as the chosen model is."""

        def look(name: Any) -> list[Any]:
            words, chart_, preview, goes_on = shown(run_of(engine, name))
            return [words, chart_, preview, gr.Timer(active=goes_on)]

        def chosen(name: Any) -> list[Any]:
            return [gr.Accordion(open=False, visible=run_of(engine, name) is not None), gr.Timer(active=False)]

        parts = [self._said, self._curve, self._preview, self._timer]
        on_any([demo.load, model.change], chosen, [model], [self._fold, self._timer], at_once=True)  # type: ignore[attr-defined]
        gr.on([self._fold.expand, self._timer.tick], look, model, parts, **PRIVATE)
        self._fold.collapse(lambda: gr.Timer(active=False), None, self._timer, **PRIVATE)
