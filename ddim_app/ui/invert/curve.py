"""The fold of error against steps: several methods at several step counts, beside the DDIM paper's Table 2."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from ddim_app.engine import Finished
from ddim_app.errors import FieldError
from ddim_app.runs.base import Plan
from ddim_app.runs.inversion import METHODS
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import chart
from ddim_app.ui.fields import raw
from ddim_app.ui.invert.view import curve_of
from ddim_app.ui.run_tab import KEEP, RunTab


class Curve:
    """The fold's fields, its button, and what it draws."""

    place = "curve"

    def __init__(self, tab: RunTab) -> None:
        self.tab = tab
        self.steps = raw(gr.Textbox("10, 20, 50", label="Step counts", elem_id="invert-steps", max_lines=1))
        choices = [(label, name) for name, label in METHODS.items()]
        usual = ["ddim-target", "fixed-point", "o-belm"]
        self.methods = raw(gr.CheckboxGroup(choices, value=usual, label="Methods", elem_id="invert-methods"))
        self.draw = gr.Button("Draw the curve", size="sm", elem_id="invert-draw")
        self.said = text.line("", "invert-curve-said", live=True)
        self.table = gr.HTML({"rows": []}, **component_files("numbers"), apply_default_css=False, elem_id="invert-curve-table")
        self.plot = chart.component("invert-curve-plot")

    def connect(self) -> None:
        self.draw.click(
            self.run, self.tab.inputs, [self.said, self.table, self.plot], show_progress="hidden", trigger_mode="multiple",
            api_visibility="private", concurrency_id="device", concurrency_limit=16,
        )  # fmt: skip

    async def run(self, request: gr.Request, *values: Any) -> AsyncGenerator[list[Any], None]:
        """What is said, the table and the plot, as the ways come through."""
        values = tuple("curve" if field is self.tab.task else value  # type: ignore[attr-defined]
                       for field, value in zip(self.tab.inputs, values, strict=True))  # fmt: skip
        try:
            planned, _ = await asyncio.to_thread(self.tab.prepare, values)
        except FieldError as error:
            yield [self.tab.in_page_words(error), KEEP, KEEP]
            return
        recipe = planned.recipe if isinstance(planned, Plan) else planned
        found: dict[int, InversionResult] = {}
        yield [f"0 of {len(recipe.arms)} ways are through", {"rows": []}, {}]
        async with aclosing(self.tab.runs.stream(planned, request, self.place, words=self.tab.in_page_words)) as stream:
            async for news in stream:
                frames = [frame for item in news if isinstance(item, list) for frame in item]
                new = {frame.arm: frame for frame in frames if isinstance(frame, InversionResult)}
                wrong = next((item.error for item in news if isinstance(item, Finished) and item.error), None)
                found |= new
                if new or wrong:
                    words = wrong or ("" if len(found) == len(recipe.arms) else f"{len(found)} of {len(recipe.arms)} are through")
                    yield [words, *curve_of(recipe.arms, found)]
