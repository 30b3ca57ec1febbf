"""The list of the last runs, and two of them side by side."""

import base64
import io
import zipfile
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ddim_app.media.images import Pixels, contact_sheet, data_uri, from_pixels, heat_map, to_pil
from ddim_app.runs import codecs
from ddim_app.runs.sampling import Recipe
from ddim_app.ui import text
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import stage
from ddim_app.ui.run_history import PastRun, RunHistory

MAX_THUMBNAIL = 4
"""Pictures of a run's thumbnail."""
MAX_RECIPE = 20_000
"""Characters of a recipe that the page keeps over a reload; one with pictures inside has more."""
MAX_ARMS = 4
"""Arms of two runs that are laid side by side."""


def component(stored: Recipe) -> gr.HTML:
    """The list of runs; a press of one of its buttons is its `select`; `window.pastRun` says of which, and what is to be done.

    It begins with the run that the page opens with, of the recipe `stored`.
    """
    return gr.HTML(
        {"runs": []}, first=_first(stored), **component_files("history", "make"),
        apply_default_css=False, elem_id="history",
    )  # fmt: skip


def _first(recipe: Recipe) -> dict[str, Any]:
    """The entry of the stored run."""
    run = stage.stored_value()
    strips = [np.asarray(Image.open(io.BytesIO(base64.b64decode(frame["x_t"].partition(",")[2])))) for frame in run["frames"]]
    arms = tuple(
        (arm["label"], strip.reshape(run["height"], -1, run["width"], strip.shape[-1]).swapaxes(0, 1))
        for arm, strip in zip(run["arms"], strips, strict=True)
    )
    past = PastRun(0, recipe, run["recipe"], arms, tab="Compare")
    return _entry(past, f"{_words(past)}, stored")


def value(runs: list[PastRun], a: int | None = None, b: int | None = None) -> dict[str, Any]:
    """What the list shows: every run, and the two that are compared, by their numbers."""
    by_number = {run.number: run for run in runs}
    pair = [by_number.get(number) if number is not None else None for number in (a, b)]
    return {
        "runs": [_entry(run, words) for run, words in zip(runs, captions(runs), strict=True)],
        "a": pair[0] and pair[0].number,
        "b": pair[1] and pair[1].number,
        "versus": versus(pair[0], pair[1]) if pair[0] and pair[1] else None,
    }


def versus(a: PastRun, b: PastRun) -> dict[str, Any]:
    """Two runs arm by arm: sheets of both and of their difference, and the distance of their pictures."""
    if a.arms[0][1].shape[1:] != b.arms[0][1].shape[1:]:
        return {"note": "Their pictures have different sizes.", "rows": []}
    pairs = list(zip(a.arms, b.arms, strict=False))[:MAX_ARMS]
    note = "" if len(a.arms) == len(b.arms) and len(pairs) == len(a.arms) else f"The first {len(pairs)} arms of each."
    return {"note": note, "rows": [_row(*first, *second) for first, second in pairs]}


def picked(run_history: RunHistory, page: str | None, asked: Any) -> tuple[PastRun, str] | None:
    """Which run was picked for what: "a", "b" or "restore"; None for what no button sends."""
    if not isinstance(asked, dict) or asked.get("act") not in ("a", "b", "restore"):
        return None
    run = run_history.run(page, asked.get("number"))
    return (run, asked["act"]) if run else None


def kept_recipe(asked: Any) -> str:
    """The recipe of a run of before the page was loaded anew, which only the page knows; "" for any other."""
    recipe = asked.get("recipe") if isinstance(asked, dict) and asked.get("act") == "restore" else None
    return recipe if isinstance(recipe, str) else ""


def captions(runs: list[PastRun]) -> list[str]:
    """A few words for each run; what its line says beside is added where another run has the same words."""
    short = [_words(run) for run in runs]
    full = []
    for run, words in zip(runs, short, strict=True):
        alike = [other.line.split(" · ") for other, other_words in zip(runs, short, strict=True) if other_words == words]
        own = [part for part in run.line.split(" · ")[1:] if any(part not in other for other in alike)]
        full.append(", ".join([words, *own]))
    return full


def _words(run: PastRun) -> str:
    """Steps and seed of a run, and eta where it is not DDIM's."""
    recipe = run.recipe
    if not isinstance(recipe, Recipe):
        return text.kind_words(recipe)
    seed = f"seed {recipe.seed}"
    if len(recipe.arms) > MAX_ARMS:
        return f"{len(recipe.arms)} cells, {seed}"
    eta = recipe.arms[0].eta
    steps = sorted({arm.steps for arm in recipe.arms})
    counts = f"{' and '.join(map(str, steps))} {'step' if steps == [1] else 'steps'}"
    return ", ".join([*[f"η {eta:g}"] * bool(eta), counts, seed])


def _entry(run: PastRun, words: str) -> dict[str, Any]:
    first = run.arms[0][1] if len(run.arms) != 2 else np.concatenate([pixels[:2] for _, pixels in run.arms])
    if not isinstance(run.recipe, Recipe):
        first = first[np.linspace(0, len(first) - 1, min(len(first), MAX_THUMBNAIL)).round().astype(int)]  # from end to end
    note = f"stopped after {run.stopped.executed_steps} of {run.stopped.steps}" if run.stopped else ""
    return {
        "number": run.number,
        "picture": _sheet(first[:MAX_THUMBNAIL]),
        "line": run.line,
        "words": words,
        "tab": run.tab,
        "note": note,
        "recipe": recipe if len(recipe := run.recipe.to_json()) <= MAX_RECIPE else "",
    }


def _row(label_a: str, a: Pixels, label_b: str, b: Pixels) -> dict[str, Any]:
    count = min(len(a), len(b))
    a, b = a[:count], b[:count]
    scores = stage.scores({0: from_pixels(a, np.float64), 1: from_pixels(b, np.float64)})
    assert scores is not None
    psnr = [value for value in scores["psnr"] if value is not None]
    error = sum(10 ** (-value / 10) for value in psnr) / count
    return {
        "a": {"label": label_a, "picture": _sheet(a)},
        "b": {"label": label_b, "picture": _sheet(b)},
        "difference": _sheet(heat(a, b)),
        "psnr": -10 * float(np.log10(error)) if error else None,
        "ssim": sum(value or 0.0 for value in scores["ssim"]) / count,
    }


def heat(a: Pixels, b: Pixels) -> Pixels:
    """The absolute difference of pictures (N, H, W, C), over its channels, as colours (N, H, W, 3)."""
    return heat_map(np.abs(a.astype(int) - b).mean(-1), 255)


def _sheet(pixels: Pixels) -> str:
    return data_uri(contact_sheet(pixels) if len(pixels) > 1 else to_pil(pixels[0]))


def pictures_zip(run: PastRun) -> bytes:
    """The pictures of a run as PNG files that carry its recipe, and the recipe as JSON."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as files:
        for name, pixels in file_names(run):
            files.writestr(name, codecs.png(to_pil(pixels), run.recipe, run.stopped))
        files.writestr("recipe.json", run.recipe.to_json())
    return out.getvalue()


def file_names(run: PastRun) -> list[tuple[str, Pixels]]:
    """Every picture of a run with the name of its file, made of its arm's number, its sampler and its seed."""
    recipe = run.recipe
    named = []
    for a, (_, pixels) in enumerate(run.arms):
        arm = recipe.arms[a] if isinstance(recipe, Recipe) else None
        for i, picture in enumerate(pixels):
            seed = f"-{arm.method}-seed-{(_seed(recipe, a) + i) % 2**32}" if arm and isinstance(recipe, Recipe) else ""
            named.append((f"{a + 1:02}{seed or f'-picture-{i}'}.png", picture))
    return named


def _seed(recipe: Recipe, arm: int) -> int:
    own = recipe.arms[arm].seed
    return recipe.seed if own is None else own
