"""The frames of one path or mix as the page takes them: rows in a table and a player, and what the charts show of them."""

import uuid
from dataclasses import replace
from typing import Any

import gradio as gr
import pandas as pd

from ddim_app.diffusion.latent_paths import WAYS, norms
from ddim_app.diffusion.metrics import rmse
from ddim_app.media.images import data_uri, side_by_side, to_pixels
from ddim_app.runs.interpolation import PathRecipe, name_of
from ddim_app.runs.interpolation_plan import FramesStep, PathPlan
from ddim_app.runs.mixing import MixPlan, MixRecipe
from ddim_app.runs.path_files import CollectedFrames, layout
from ddim_app.ui.assets import component_files
from ddim_app.ui.text import CLIP_WORDS

HINTS = {
    "line": "Every frame is one x_T on the way between two. DDIM(0) maps it to a picture, so a smooth way gives a smooth film.",
    "grid": "Four corners; the sides are interpolated first, then across (DDIM paper, Figs 11 to 13).",
    "loop": "A closed way through all keys at constant angular speed; the film has no seam.",
    "arithmetic": "a + s (b - c): what b has more than c is added to a.",
    "variation": "The first picture, then the same x_T moved towards other seeds.",
    "truncation": "One x_T at several norms. The network was trained on noise of norm 1. Under each frame: contrast, the standard "
    "deviation of its values of 255.",
    "mix": "Both pictures noised by t steps, mixed, and denoised by DDPM's chain (DDPM paper, Figs 8 and 9). Under λ 0 and 1: "
    "distance to the picture itself, RMSE of 255.",
}


def component() -> gr.HTML:
    return gr.HTML(
        {"run": ""}, **component_files("film"),
        apply_default_css=False, elem_id="strips",
    )  # fmt: skip


class PathView:
    """What has arrived of a run."""

    def __init__(self, plan: PathPlan | MixPlan) -> None:
        self.collected = CollectedFrames(plan)
        self._layout = layout(plan)
        self._mix = isinstance(plan, MixPlan)
        _, height, width = plan.model.shape
        self._about: dict[str, Any] = {
            "run": uuid.uuid4().hex,
            "height": height,
            "width": width,
            "mix": self._mix,
            "strips": [{"label": frame_row.label, "note": frame_row.note} for frame_row in self._layout.frame_rows],
            "rows": list(self._layout.rows),
            "columns": list(self._layout.columns),
            "captions": plan.recipe.captions if isinstance(plan, PathPlan) else list(self._layout.columns),
            "places": [list(place) for place in self._layout.places],
            "block": self._layout.height,
            "order": list(self._layout.order),
            "closed": self._layout.closed,
        }

    def add(self, frames: list[Any]) -> dict[str, Any]:
        """The value that brings the page the newest state of the rows that moved."""
        had_ends = self.collected.ends is not None
        for frame in frames:
            self.collected.add(frame)
        moved = {frame.arm for frame in frames if isinstance(frame, FramesStep)}
        return {**self._about, **self._sources(not had_ends), "updates": [self._update(arm) for arm in sorted(moved)]}

    def complete(self) -> dict[str, Any]:
        """The value that holds all rows as they are, with what stands under their frames."""
        everything = sorted({*self.collected.newest, *self.collected.finals})
        recipe = self.collected.plan.recipe
        return {
            **self._about,
            **self._sources(True),
            "updates": [self._update(arm) for arm in everything],
            "complete": True,
            "notes": self._notes() if self.collected.is_complete else [],
            "hint": HINTS[recipe.mode if isinstance(recipe, PathRecipe) else "mix"],
        }

    def smoothness(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Distances of neighbours of each finished row: RMSE of 255, and SSIM."""
        pairs = self.collected.neighbours()
        tables = []
        for name in ("RMSE of 255", "SSIM"):
            table: dict[str, list[Any]] = {"step": [], name: [], "sampler": []}
            for frame_row, smooth in zip(self._layout.frame_rows, self.collected.smoothness(), strict=False):
                values = smooth.rmse if name != "SSIM" else smooth.ssim
                table["step"] += range(1, len(pairs) + 1)
                table[name] += [round(value, 4) for value in values]
                table["sampler"] += [short(frame_row.label)] * len(pairs)
            tables.append(pd.DataFrame(table))
        return tables[0], tables[1]

    def norms(self) -> pd.DataFrame:
        """Norms of x_T along the path for slerp, lerp and restored; for a mix the norm of x_t along lambda."""
        recipe = self.collected.plan.recipe
        table: dict[str, list[Any]] = {"frame": [], "norm": [], "way": []}
        named: dict[str, list[float]] = {}
        if isinstance(recipe, MixRecipe):
            named = {row.label: values for row, values in zip(self._layout.frame_rows, self.collected.levels, strict=False)}
        elif self.collected.ends is not None:
            named = {"slerp" if recipe.mode == "loop" else "x_T": self.collected.norms()}
            if recipe.mode not in ("loop", "truncation"):
                ends = self.collected.ends
                named = {way: norms(replace(recipe, way=way).path(ends)(ends)).tolist() for way in WAYS}
        for way, values in named.items():
            table["frame"] += range(1, len(values) + 1)
            table["norm"] += [round(value, 4) for value in values]
            table["way"] += [way] * len(values)
        return pd.DataFrame(table)

    def kept(self) -> CollectedFrames:
        """What is kept for downloads: everything but the network."""
        collected = CollectedFrames(self.collected.plan)
        model = replace(collected.plan.model, unet=None)
        collected.plan = replace(collected.plan, models=(model,))
        collected.ends, collected.latents, collected.levels = self.collected.ends, self.collected.latents, self.collected.levels
        collected.finals = self.collected.finals
        return collected

    def _sources(self, now: bool) -> dict[str, Any]:
        if not (self._mix and now and self.collected.ends is not None):
            return {}
        return {"sources": [strip_uri(to_pixels(end[None])) for end in self.collected.ends]}

    def _update(self, arm: int) -> dict[str, Any]:
        frame = self.collected.newest.get(arm)
        if arm in self.collected.finals:
            steps = frame.steps if frame else 1
            return {"strip": arm, "k": steps - 1, "steps": steps, "picture": strip_uri(to_pixels(self.collected.finals[arm]))}
        assert frame is not None
        return {"strip": arm, "k": frame.at, "steps": frame.steps, "picture": strip_uri(to_pixels(frame.pred_x0))}

    def _notes(self) -> list[list[str]]:
        """What stands under the frames of each row."""
        recipe, pictures = self.collected.plan.recipe, self.collected.pictures()
        notes = [[""] * len(frame_row) for frame_row in pictures]
        for frame_row, (first, last) in zip(notes, self.collected.reconstructions(), strict=False):
            frame_row[0], frame_row[-1] = f"{first:.1f}", f"{last:.1f}"
        if isinstance(recipe, PathRecipe) and recipe.mode == "truncation":
            for frame_row, x in zip(notes, pictures, strict=True):
                frame_row[:] = [f"{127.5 * float(picture.clamp(-1, 1).std()):.0f}" for picture in x]
        if isinstance(recipe, PathRecipe) and recipe.mode == "line" and (recipe.start, recipe.stop) == (0, 1):
            for i in recipe.pictures:
                frame, shape = (0, -1)[i], self.collected.plan.model.shape
                own = recipe.ends[i].tensor(shape)
                notes[0][frame] = f"back within {float(rmse(pictures[0][frame][None], own)):.1f}"
        return notes


def short(label: str) -> str:
    """A row's name for the legend of a chart, which is narrow."""
    for words, word in (("noise moves along", "moving"), ("one noise for all", "one noise"), ("fresh noise", "fresh")):
        label = label.replace(words, word)
    return label.replace("η = ", "")


def strip_uri(pixels: Any) -> str:
    return data_uri(side_by_side(pixels))


def ends_line(recipe: PathRecipe | MixRecipe) -> str:
    """What the ends are: seeds by their numbers, pictures and latents by the letters of their places."""
    kinds = {True: "picture", False: "latent"}
    return ", ".join(
        str(end.seed) if end.seed is not None else f"{kinds[end.png is not None]} {name_of(end, i)}"
        for i, end in enumerate(recipe.ends)
    )


def recipe_line(plan: PathPlan | MixPlan) -> str:
    """The run in one line."""
    recipe = plan.recipe
    ends = ends_line(recipe)
    if isinstance(recipe, MixRecipe):
        levels = ", ".join(map(str, recipe.levels))
        return (
            f"{recipe.model} · mix of {ends} · t {levels} · {recipe.frames} frames · {recipe.q_noise} noise of the ends · "
            f"{recipe.chain.label}, {recipe.chain.steps} steps over all T · {CLIP_WORDS[recipe.chain.clip]} · {recipe.precision}"
        )
    size = f"{recipe.rows} x {recipe.columns}" if recipe.mode == "grid" else f"{recipe.cells} frames"
    arms = " | ".join(f"{arm.label}, {row.transitions} steps" for arm, row in zip(recipe.arms, plan.rows, strict=True))
    clip = CLIP_WORDS[plan.rows[0].clip]
    return f"{recipe.model} · {recipe.mode}, {size}, {recipe.way} · {ends} · {arms} · {clip} · {recipe.precision}"
