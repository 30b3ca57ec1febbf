"""Charts of a run, step by step: how far pred_x0 moves, how large eps is, how near the final picture is."""

from typing import Any

import gradio as gr
import pandas as pd

from ddim_app.ui.stage import stored_run

COLUMNS = ("arm", "step", "t", "change", "eps", "psnr")
COLOURS = ("#14958a", "#d97706", "#6366f1", "#be185d", "#65a30d", "#0284c7", "#a16207", "#7c3aed")
"""Of the arms in turn, the first two near their pictures' own; each can be read on light and on dark."""


class Charts:
    """The fold under the stage; `outputs` take what `values` makes of a run's rows."""

    def __init__(self) -> None:
        rows = stored_run()["curves"]
        with gr.Accordion("Charts of every step", open=False, elem_id="charts-fold"), gr.Row():
            self.outputs = [
                _plot(rows, "change", "Change in predicted x₀ (rms)"),
                _plot(rows, "eps", "Size of eps (rms)"),
                _plot(rows, "psnr", "PSNR of predicted x₀ to its last (dB)"),
            ]

    def values(self, rows: list[dict[str, Any]]) -> list[Any]:
        return [gr.update(value=table(rows), color_map=colours(rows))] * len(self.outputs)


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def colours(rows: list[dict[str, Any]]) -> dict[str, str]:
    arms = dict.fromkeys(row["arm"] for row in rows)
    return {arm: COLOURS[i % len(COLOURS)] for i, arm in enumerate(arms)}


def _plot(rows: list[dict[str, Any]], name: str, label: str) -> gr.LinePlot:
    return gr.LinePlot(
        table(rows), x="step", y=name, color="arm", color_map=colours(rows), label=label, x_title="step", y_title=" ",
        color_title=" ", height=210, min_width=260, tooltip=["step", "t", name, "arm"], elem_id=f"chart-{name}", buttons=[],
    )  # fmt: skip
