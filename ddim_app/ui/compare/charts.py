"""Charts of a run, step by step: how far pred_x0 moves, how large eps is, how near the final picture is."""

from typing import Any

import gradio as gr
import pandas as pd

from ddim_app.ui.components.stage import stored_run

COLUMNS = ("place", "arm", "step", "t", "change", "eps", "psnr")
COLOURS = ("#14958a", "#d97706", "#6366f1", "#be185d", "#65a30d", "#0284c7", "#a16207", "#7c3aed")
"""Colours of the arms from left to right; the first four are nearly those of their captions, readable on light and dark."""


class StepCharts:
    """The fold under the stage; `outputs` take what `values` makes of a run's rows.

    Lines have the colours of the captions above, and are named by the arm's place, "1" for the left one: Gradio's plots take new
    data but keep an old legend, so a name with settings in it would go on showing the run before. The tooltip has the arm's name.
    """

    def __init__(self) -> None:
        frame = table(stored_run()["curves"])
        with gr.Accordion("Charts of every step", open=False, elem_id="charts-fold"), gr.Row():
            self.outputs = [
                _plot(frame, "change", "Change in predicted x₀ (rms)"),
                _plot(frame, "eps", "Size of eps (rms)"),
                _plot(frame, "psnr", "PSNR to the last one (dB)"),
            ]

    def values(self, rows: list[dict[str, Any]]) -> list[Any]:
        return [table(rows)] * len(self.outputs)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    places = {arm: str(place) for place, arm in enumerate(dict.fromkeys(row["arm"] for row in rows), start=1)}
    return pd.DataFrame([{"place": places[row["arm"]], **row} for row in rows], columns=list(COLUMNS))


def _plot(frame: pd.DataFrame, name: str, label: str) -> gr.LinePlot:
    return gr.LinePlot(
        frame, x="step", y=name, color="place", color_map={str(i): colour for i, colour in enumerate(COLOURS, start=1)},
        label=label, x_title="step", y_title=" ", color_title=" ", height=250, min_width=260,
        tooltip=["step", "t", name, "arm"], elem_id=f"chart-{name}", buttons=[],
    )  # fmt: skip
