"""What panels show things by: formulas with numbers in them, rows of pictures, tables, charts.

Each begins with what is stored of it, by its elem_id; `python -m ddim_app.ui.first_run` stores it.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import gradio as gr

from ddim_app.errors import real
from ddim_app.lazy import Tensor
from ddim_app.media.images import data_uri, to_pil, to_pixels
from ddim_app.ui.assets import asset, component_files
from ddim_app.ui.components import chart as charts

DELIMITERS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


@cache
def stored() -> dict[str, Any]:
    """What the chapters begin with: the names of the filled panels, the values of their parts by elem_id, numbers in answers."""
    kept: dict[str, Any] = json.loads(asset("stored/learn.json"))
    return kept


def stored_panels() -> list[str]:
    """Names of the panels that are filled from the start."""
    return list(stored()["panels"])


def begun(elem_id: str | None, otherwise: Any) -> Any:
    """What is stored for a part, or else the other value."""
    return stored()["parts"].get(elem_id, otherwise)


def formula(text: str = "", elem_id: str | None = None) -> gr.Markdown:
    """Markdown with LaTeX between dollars."""
    return gr.Markdown(begun(elem_id, text), latex_delimiters=DELIMITERS, elem_id=elem_id, elem_classes="formula")


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
        begun(elem_id, {"rows": []}), **component_files("figures"),
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
        begun(elem_id, {"rows": []}), **component_files("numbers"),
        apply_default_css=False, elem_id=elem_id,
    )  # fmt: skip


def cells(head: Sequence[str], lines: Iterable[Sequence[str]]) -> dict[str, Any]:
    return {"head": list(head), "rows": [list(line) for line in lines]}


def chart(elem_id: str) -> gr.HTML:
    """A place for a chart, empty until something is `plotted`."""
    return charts.component(elem_id, begun(elem_id, None))


def plotted(
    title: str, x: str, lines: Mapping[str, Iterable[tuple[float, float]]], dashed: Collection[str] = (), **more: Any
) -> dict[str, Any]:
    """The value of a chart of named lines over x; points that are not finite are left out, and the rest is as in `charts.lines`."""
    finite = {name: [(a, b) for a, b in line if math.isfinite(a) and math.isfinite(b)] for name, line in lines.items()}
    series = [charts.line(name, points, dashed=name in dashed) for name, points in finite.items()]
    return charts.lines(title, x, series, **more)


def thinned(T: int, most: int = 80) -> list[int]:
    """Up to `most` timesteps of 0..T - 1, evenly, ends included."""
    return sorted({round(i * (T - 1) / (most - 1)) for i in range(most)})


def share(name: str, value: object) -> float:
    """A number from 0 to 1 from outside; raises FieldError."""
    return real(name, value, 0, 1)
