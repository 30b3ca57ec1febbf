"""Charts of lines, drawn by the browser: one component of ours, since Gradio's loses lines when a run has more than the last."""

from collections.abc import Iterable, Sequence
from typing import Any

import gradio as gr

from ddim_app.ui.assets import component_files

Point = tuple[float, float | None]


def component(elem_id: str, value: dict[str, Any] | None = None, **options: Any) -> gr.HTML:
    """A place for a chart, which `lines` makes the values of; empty until there is one."""
    return gr.HTML(value or {}, **component_files("chart", "lines"), apply_default_css=False, elem_id=elem_id, **options)


def line(name: str, points: Iterable[Sequence[float | None]], colour: int | None = None, dashed: bool = False) -> dict[str, Any]:
    """A named line through (x, y) points, broken where y is None; `colour` is its place in the palette, by default its turn."""
    return {"name": name, "points": [list(point) for point in points], "dashed": dashed} | (
        {} if colour is None else {"colour": colour}
    )


def lines(title: str, x: str, series: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The value of a chart: what its lines are of, what runs along the bottom, and the lines.

    More of it is optional: `log` for a logarithmic x axis, its `ticks`, `dots` for points without lines, the `floor` of y, a
    `limit` {"at": y, "words": text}, a mark upwards at x = `now`; the `height` of the drawing in pixels.
    """
    return {"title": title, "x": x, "series": series, **more}
