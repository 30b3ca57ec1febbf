"""What panels show things by: formulas with numbers in them, rows of pictures, tables, charts."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gradio as gr
import pandas as pd
from torch import Tensor

from ddim_app.errors import real
from ddim_app.media.images import data_uri, to_pil, to_pixels
from ddim_app.ui.assets import asset, component_files

DELIMITERS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]
COLORS = ["#0f766e", "#b45309", "#6d28d9", "#64748b", "#be123c"]


def formula(text: str = "", elem_id: str | None = None) -> gr.Markdown:
    """Markdown with LaTeX between dollars."""
    return gr.Markdown(text, latex_delimiters=DELIMITERS, elem_id=elem_id, elem_classes="formula")


def words(name: str) -> str:
    """The text of a panel, Markdown with LaTeX and a <name> for every number."""
    return asset(f"learn/texts/{name}.md")


def filled(template: str, **values: float | str) -> str:
    """The template with every <name> replaced by its number, in LaTeX; text is put in as it is."""
    words = {name: value if isinstance(value, str) else number(value) for name, value in values.items()}
    return re.sub("<([a-z_0-9]+)>", lambda match: words[match[1]], template)


def number(value: float, digits: int = 4) -> str:
    """A number in LaTeX, to `digits` significant digits."""
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return rf"{mantissa}\times10^{{{int(exponent)}}}"


def plain(value: float, digits: int = 4) -> str:
    """A number for a table."""
    return f"{value:.{digits}g}"


def figures(elem_id: str) -> gr.HTML:
    return gr.HTML(
        {"rows": []}, **component_files("figures"),
        apply_default_css=False, elem_id=elem_id,
    )  # fmt: skip


def row(label: str, pictures: Iterable[tuple[Tensor, str]], large: bool = False) -> dict[str, Any]:
    """A row of `figures`: pictures (1, C, H, W) or (C, H, W) in [-1, 1] with their captions."""
    return {"label": label, "large": large, "cells": [{"png": picture_uri(x), "caption": caption} for x, caption in pictures]}


def rows(*each: dict[str, Any]) -> dict[str, Any]:
    return {"rows": list(each)}


def picture_uri(x: Tensor) -> str:
    return data_uri(to_pil(to_pixels(x if x.ndim == 4 else x[None])[0]))


def table(elem_id: str) -> gr.HTML:
    return gr.HTML(
        {"rows": []}, **component_files("numbers"),
        apply_default_css=False, elem_id=elem_id,
    )  # fmt: skip


def cells(head: Sequence[str], lines: Iterable[Sequence[str]]) -> dict[str, Any]:
    return {"head": list(head), "rows": [list(line) for line in lines]}


def chart(x: str, y: str, title: str, elem_id: str, names: Sequence[str], waits: bool = False, **options: Any) -> gr.LinePlot:
    """A line for each of `names`; one that `waits` is there only once a run has drawn it."""
    return gr.LinePlot(
        _started(names, x, y), x=x, y=y, color="line", title=title, color_map=dict(zip(names, COLORS, strict=False)), height=260,
        elem_id=elem_id, buttons=[], show_label=False, color_title=" ", visible=not waits, **options,
    )  # fmt: skip


def drawn(data: pd.DataFrame) -> Any:
    """The update that shows a chart which has waited for it."""
    return gr.update(value=data, visible=True)


def dots(x: str, y: str, title: str, elem_id: str, names: Sequence[str], **options: Any) -> gr.ScatterPlot:
    return gr.ScatterPlot(
        _started(names, x, y), x=x, y=y, color="line", title=title, color_map=dict(zip(names, COLORS, strict=False)), height=260,
        elem_id=elem_id, buttons=[], show_label=False, color_title=" ", **options,
    )  # fmt: skip


def _started(names: Sequence[str], x: str, y: str) -> pd.DataFrame:
    """A point of every line: the browser colours only those that it knew when it first made the chart."""
    return frame({name: [(0.0, 0.0)] for name in names}, x, y)


def frame(lines: Mapping[str, Iterable[tuple[float, float]]], x: str, y: str) -> pd.DataFrame:
    """The data of a chart: points of every line; those that are not finite are left out."""
    points = [(a, b, name) for name, line in lines.items() for a, b in line if math.isfinite(a) and math.isfinite(b)]
    # Of numbers even when it is empty: the charts take the kind of their axes from it.
    return pd.DataFrame(points, columns=[x, y, "line"]).astype({x: float, y: float, "line": str})


def thinned(T: int, most: int = 80) -> list[int]:
    """Up to `most` timesteps of 0..T - 1, evenly, ends included."""
    return sorted({round(i * (T - 1) / (most - 1)) for i in range(most)})


def share(name: str, value: object) -> float:
    """A number from 0 to 1 from outside; raises FieldError."""
    return real(name, value, 0, 1)
