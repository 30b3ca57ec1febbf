"""DDIM against DDPM on one line: a row for each kind of step noise, with the mean distance of neighbours, and one sentence."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import gradio as gr

from ddim_app.diffusion.metrics import smoothness
from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.media.images import to_pixels
from ddim_app.runs.base import Plan
from ddim_app.runs.interpolation import name_of
from ddim_app.runs.path_frames import CollectedFrames
from ddim_app.ui.assets import component_files
from ddim_app.ui.dimming import Dimmed
from ddim_app.ui.interpolate.view import strip_uri
from ddim_app.ui.run_tab import RunTab

FRAMES = 11
ASKED = {"mode": "line", "method": "all", "frames": FRAMES, "start": 0, "stop": 1}
UNUSED = ("seed", *ASKED, "rows", "columns", "strength", "level", "table", "q_noise", "noise")
"""Inputs of the tab that say nothing of these rows."""
ROWS = (
    ("DDIM", "no step noise"), ("DDPM", "its noise moves along"), ("DDPM", "one noise for all frames"),
    ("DDPM", "fresh noise, as sampled"),
)  # fmt: skip
SENTENCE = (
    "DDPM's picture hangs on the noise of every step, not on x_T alone: fresh noise jumps, one noise for all stands still, and "
    "only when all noise moves does it interpolate."
)


class Against:
    """The card, and the run behind its button, of the first two ends; `stored` is its value of plans that `is_stored` knows."""

    place = "against"

    def __init__(self, tab: RunTab, stored: dict[str, Any], is_stored: Callable[[Plan], bool]) -> None:
        self._tab, self._stored, self._is_stored = tab, stored, is_stored
        self.card = gr.HTML(stored, **component_files("against", "make"), apply_default_css=False, elem_id="against")

    def connect(self) -> None:
        """Adds the events, once the tab has its inputs."""
        own = Dimmed(self.place, self._tab, UNUSED, "own.seeds = own.seeds?.ends?.slice(0, 2);")
        own.connect()
        self.card.select(
            self.run, self._tab.inputs, self.card, show_progress="hidden", trigger_mode="multiple", api_visibility="private",
            concurrency_id="device", concurrency_limit=16, js=f"(...values) => {{ {own.asked} return values; }}",
        )  # fmt: skip

    async def run(self, request: gr.Request, *values: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The card's values as the frames come; where it cannot run, the sentence that says why."""
        names = (*self._tab.settings.fields, *self._tab.more_fields)
        values = tuple(ASKED.get(name, value) for name, value in zip(names, values, strict=True))
        try:
            planned, _ = await asyncio.to_thread(self._tab.prepare, values)
        except FieldError as error:
            raise gr.Error(self._tab.in_page_words(error), print_exception=False) from error
        if isinstance(planned, Plan) and self._is_stored(planned):
            yield self._stored
            return
        frames: CollectedFrames | None = None
        async with aclosing(self._tab.runs.stream(planned, request, self.place, words=self._tab.in_page_words)) as stream:
            async for news in stream:
                for item in news:
                    if isinstance(item, Plan):
                        frames = CollectedFrames(item)
                    elif isinstance(item, list) and frames is not None:
                        for frame in item:
                            frames.add(frame)
                    elif isinstance(item, Finished) and item.error:
                        raise gr.Error(item.error, print_exception=False)
                if frames is not None:
                    yield await asyncio.to_thread(shown, frames)


def shown(frames: CollectedFrames) -> dict[str, Any]:
    """The card's value of what there is of a run."""
    recipe, (_, height, width) = frames.plan.recipe, frames.plan.model.shape
    pairs = recipe.neighbours
    rows = []
    for arm, (name, noise) in enumerate(ROWS):
        newest, final = frames.newest.get(arm), frames.finals.get(arm)
        x = final if final is not None else newest.pred_x0 if newest is not None else None
        mean = None if final is None else round(smoothness(final, pairs).mean, 1)
        rows.append({"name": name, "noise": noise, "mean": mean, "picture": None if x is None else strip_uri(to_pixels(x))})
    ends = " to ".join(name_of(end, i) for i, end in enumerate(recipe.ends))
    steps = frames.plan.rows[0].transitions
    line = f"The line from {ends}, {steps} steps. Right: mean distance of neighbours (RMSE of 255)."
    return {"rows": rows, "count": recipe.frames, "height": height, "width": width, "line": line, "said": SENTENCE}
