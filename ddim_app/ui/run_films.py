"""The run on the stage as a file: a film or a sheet of its steps, made when somebody asks, from the frames that are kept.

The file goes to the browser inside the page's own stream and is saved there; nothing is written to the server's disk, so there is
nothing to clean up, and nothing with an address that others could guess.
"""

import asyncio
import base64
import io
import json
import math
from collections.abc import AsyncGenerator
from typing import Any

import gradio as gr
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.errors import FieldError, choice, whole
from ddim_app.media import animation
from ddim_app.runs.base import with_link
from ddim_app.runs.kinds import from_json
from ddim_app.ui.components import download, stage
from ddim_app.ui.fields import PRIVATE, raw
from ddim_app.ui.share_texts import link_inside

FORMATS = {
    "gif": ("GIF", "image/gif"),
    "webp": ("WebP (lossless)", "image/webp"),
    "mp4": ("MP4", "video/mp4"),
    "sheet": ("Contact sheet (PNG)", "image/png"),
}
VIEWS = {"pred_x0": "predicted x₀", "x_t": "x_t", "both": "both"}
MAX_FRAMES, MAX_ROWS, WIDTH, HOLD = 120, 12, 512, 1000
"""Frames of a film, rows of a sheet, pixels that the pictures have across at least, milliseconds that the end stays."""
MAX_PER_SECOND = 25
NOT_HERE = "The steps of what is shown are not kept on the server: press Run (Ctrl+Enter) once, then save them."
"""Said of stored pictures, and of a run of before the page was loaded anew."""


class RunFilms:
    """The fold with its choices; `shown` holds the tape of the run on the stage, None for the stored one."""

    def __init__(self, shown: gr.State, engine: Engine) -> None:
        self._engine = engine
        formats = [(label, name) for name, (label, _) in FORMATS.items()]
        with gr.Accordion("Download the trajectory", open=False, elem_id="films-fold"):
            with gr.Row():
                form = raw(gr.Radio(formats, value="gif", label="As", elem_id="film-format", min_width=220))
                views = [(label, name) for name, label in VIEWS.items()]
                view = raw(gr.Radio(views, value="pred_x0", label="Pictures", elem_id="film-view", min_width=220))
                speed = raw(gr.Slider(1, MAX_PER_SECOND, 10, step=1, label="Frames per second", elem_id="film-speed", buttons=[]))
            button = gr.Button("Download", elem_id="film-make", size="sm", min_width=120)
            file = download.place("film")
        self._inputs = [shown, form, view, speed, gr.Textbox(visible=False), gr.Textbox(visible=False)]
        self.make_on(button, file, "given.slice(1, -2)")

    def make_on(self, button: gr.Button, file: gr.HTML, choices: str, only_if: str = "") -> None:
        """Makes the file of the run that the stage shows when the button is pressed.

        `choices` is JavaScript for an array of form, view and speed; where that of `only_if` throws, none is made.
        """
        js = f"(...given) => {{ {only_if} return [given[0], ...{choices}, window.shownRun ?? '', window.openNow().address]; }}"
        made = button.click(
            self._make, self._inputs, file, js=js, show_progress="hidden", api_visibility="private", concurrency_id="films",
            concurrency_limit=2,
        )  # fmt: skip
        made.then(dict, None, file, **PRIVATE)  # what was handed over is not kept for the session

    async def _make(
        self, tape: dict[str, Any] | None, form: Any, view: Any, speed: Any, shown: Any, address: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        try:
            choice("format", form, tuple(FORMATS))
            choice("pictures", view, tuple(VIEWS))
            whole("frames per second", speed, 1, MAX_PER_SECOND)
        except FieldError as error:
            raise gr.Error(str(error), print_exception=False) from error
        run = stage.stored_run() if tape is None else {**tape, "frames": list(tape["frames"])}
        if shown != run["run"]:
            yield {"note": NOT_HERE}
            return
        yield {"note": "Making the file"}
        try:
            link = await asyncio.to_thread(link_inside, self._engine, from_json(run["recipe_json"]), address)
            data = await asyncio.to_thread(make, run, form, view, int(speed), link)
        except animation.AnimationError as error:
            yield {"note": str(error)}
            return
        suffix, mime = "png" if form == "sheet" else form, FORMATS[form][1]
        yield download.file(f"ddim-explorer-{run['seeds'][0]}.{suffix}", mime, data)


def make(run: dict[str, Any], form: str, view: str, per_second: int = 10, link: str = "") -> bytes:
    """The file of a run, given as the stage takes it, with its recipe and the link inside; raises AnimationError."""
    recipe = with_link(recipe_text(run), link)
    if form == "sheet":
        return animation.sheet_bytes(sheet(run, view), recipe)
    write = {"gif": animation.gif_bytes, "webp": animation.webp_bytes, "mp4": animation.mp4_bytes}[form]
    return write(film(run, view), round(1000 / per_second), hold=HOLD, recipe=recipe)


def recipe_text(run: dict[str, Any]) -> str:
    """The run's recipe; of one that was stopped it says so, and how many steps were made."""
    if is_whole(run):
        return str(run["recipe_json"])
    done = 1 + max((frame["k"] for frame in run["frames"]), default=-1)
    return json.dumps(json.loads(run["recipe_json"]) | {"interrupted": True, "executed_steps": done}, separators=(",", ":"))


def is_whole(run: dict[str, Any]) -> bool:
    """Whether every arm came to its end."""
    ends = {frame["arm"] for frame in run["frames"] if frame["k"] == run["arms"][frame["arm"]]["steps"] - 1}
    return len(ends) == len(run["arms"])


Moment = list[dict[str, Any] | None]
"""The frame of each arm that is shown together with the others', as the player does it."""


def moments(run: dict[str, Any], most: int) -> list[Moment]:
    """At most `most` moments of the run, evenly apart, the first and the last of them; arms of other lengths move in proportion."""
    steps = [arm["steps"] for arm in run["arms"]]
    frames: list[dict[int, Any]] = [{} for _ in steps]
    for frame in run["frames"]:
        frames[frame["arm"]][frame["k"]] = frame
    longest = steps.index(max(steps))
    places = sorted(frames[longest])
    count = min(most, len(places))
    chosen = [places[round(i * (len(places) - 1) / max(1, count - 1))] for i in range(count)]
    return [
        [_at(frames[arm], round(k / max(1, steps[longest] - 1) * (steps[arm] - 1))) for arm in range(len(steps))] for k in chosen
    ]


def _at(frames: dict[int, Any], k: int) -> dict[str, Any] | None:
    """The frame at step k, else the next one that there is, else the last before it."""
    return frames.get(min((position for position in frames if position >= k), default=max(frames, default=-1)))


def film(run: dict[str, Any], view: str) -> list[Image.Image]:
    """The run's moments as pictures of one size, each under its step."""
    views = ["x_t", "pred_x0"] if view == "both" else [view]
    rows = [VIEWS[name] for name in views] if view == "both" else [""]
    labels = [arm["label"] for arm in run["arms"]]
    pictures = []
    for moment in moments(run, MAX_FRAMES):
        cells = [[_picture(run, frame, name) for frame in moment] for name in views]
        pictures.append(
            animation.labelled_sheet(cells, rows, labels, scale=_scale(run, len(labels)), title=step_words(run, moment))
        )
    return animation.of_one_size(pictures)


def sheet(run: dict[str, Any], view: str) -> Image.Image:
    """Moments from top to bottom, a column for each arm and view."""
    views = ["x_t", "pred_x0"] if view == "both" else [view]
    chosen = moments(run, MAX_ROWS)
    cells = [[_picture(run, frame, name) for name in views for frame in moment] for moment in chosen]
    columns = [f"{arm['label']}, {VIEWS[name]}" for name in views for arm in run["arms"]]
    rows = [step_words(run, moment) for moment in chosen]
    stopped = "" if is_whole(run) else " · stopped before its end"
    return animation.labelled_sheet(cells, rows, columns, scale=_scale(run, len(columns)), title=run["title"] + stopped)


def step_words(run: dict[str, Any], moment: Moment) -> str:
    """Step and timestep of the longest arm."""
    frame = max((frame for frame in moment if frame), key=lambda frame: run["arms"][frame["arm"]]["steps"])
    return f"step {frame['k'] + 1} of {run['arms'][frame['arm']]['steps']}, t {frame['t']}"


def _picture(run: dict[str, Any], frame: dict[str, Any] | None, view: str) -> Image.Image | None:
    """An arm's pictures of one step, laid out in a square, each as large as the last ones."""
    if frame is None:
        return None
    count, size = len(run["seeds"]), (run["width"], run["height"])
    strip = Image.open(io.BytesIO(base64.b64decode(frame[view].partition(",")[2]))).convert("RGB")
    columns = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (columns * size[0], math.ceil(count / columns) * size[1]), animation.PAPER)
    each = strip.width // count
    for i in range(count):
        part = strip.crop((i * each, 0, (i + 1) * each, strip.height)).resize(size, Image.Resampling.NEAREST)
        sheet.paste(part, (i % columns * size[0], i // columns * size[1]))
    return sheet


def _scale(run: dict[str, Any], columns: int) -> int:
    width: int = columns * math.ceil(math.sqrt(len(run["seeds"]))) * run["width"]
    return math.ceil(WIDTH / width)
