"""The frames of one path or mix as the page takes them: a film, a row or table of all frames, and charts of them."""

import uuid
from dataclasses import replace
from typing import Any

import gradio as gr

from ddim_app.diffusion.latent_paths import WAYS, norms
from ddim_app.diffusion.metrics import rmse, smoothness
from ddim_app.lazy import torch
from ddim_app.media.images import data_uri, side_by_side, to_pixels
from ddim_app.runs.interpolation import PathRecipe, name_of
from ddim_app.runs.interpolation_plan import PathPlan
from ddim_app.runs.mixing import MixPlan, MixRecipe
from ddim_app.runs.path_files import layout
from ddim_app.runs.path_frames import CollectedFrames, FramesStep
from ddim_app.ui.assets import component_files
from ddim_app.ui.components import chart
from ddim_app.ui.text import CLIP_WORDS

HINTS = {
    "line": "Every frame is one x_T on the way between two. DDIM(0) maps it to a picture, so a smooth way gives a smooth film.",
    "grid": "Four corners; the sides are interpolated first, then across (DDIM paper, Figs 11 to 13).",
    "loop": "Equal angles on great circles through the noises, so the noise moves at one speed and the film has no seam.",
    "arithmetic": "a + s (b - c): what b has more than c is added to a.",
    "variation": "The first picture, then the same x_T moved towards other seeds.",
    "truncation": "One x_T at several norms. The network was trained on noise of norm 1. Under each frame: contrast, the standard "
    "deviation of its values of 255.",
    "mix": "Both pictures noised by t steps, mixed, and denoised by DDPM's chain (DDPM paper, Figs 8 and 9). Under λ 0 and 1: "
    "distance to the picture itself, RMSE of 255.",
}


def component(value: dict[str, Any]) -> gr.HTML:
    return gr.HTML(value, **component_files("film", "lines", "make"), apply_default_css=False, elem_id="strips")


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
            "strips": [{"label": row.label, "note": row.note, "colour": i} for i, row in enumerate(self._layout.frame_rows)],
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
        updates = [self._update(arm) for arm in sorted(moved)]
        return {**self._about, **self._sources(not had_ends), "marks": self._marks(), "updates": updates}

    def complete(self) -> dict[str, Any]:
        """The value that holds all rows as they are, with what stands under their frames."""
        everything = sorted({*self.collected.newest, *self.collected.finals})
        recipe = self.collected.plan.recipe
        return {
            **self._about,
            **self._sources(True),
            "updates": [self._update(arm) for arm in everything],
            "complete": True,
            "marks": self._marks(),
            "apart": self._apart(),
            "notes": self._notes() if self.collected.is_complete else [],
            "hint": HINTS[recipe.mode if isinstance(recipe, PathRecipe) else "mix"],
        }

    def charts(self) -> list[dict[str, Any]]:
        """The likeness of neighbours in each finished row, and the norms along the path."""
        smooth = zip(self._layout.frame_rows, self.collected.smoothness(), strict=False)
        likeness = [chart.line(short(row.label), _counted(found.ssim)) for row, found in smooth]
        norm_lines = [chart.line(way, _counted(values)) for way, values in self._norms().items()]
        return [
            chart.lines("Likeness of neighbours (SSIM)", "step", likeness),
            chart.lines("Norm of the latent / √D", "frame", norm_lines),
        ]

    def _norms(self) -> dict[str, list[float]]:
        """Norms of x_T along the path for slerp, lerp and restored; for a mix the norm of x_t along lambda."""
        recipe, ends = self.collected.plan.recipe, self.collected.ends
        if isinstance(recipe, MixRecipe):
            return {row.label: values for row, values in zip(self._layout.frame_rows, self.collected.levels, strict=False)}
        if ends is None or recipe.mode in ("loop", "truncation"):
            return {"x_T": self.collected.norms()}
        return {way: norms(replace(recipe, way=way).path(ends)(ends)).tolist() for way in WAYS}

    def _apart(self) -> list[list[float]]:
        """How far each frame of the film is from the one before (RMSE of 255), in each finished row."""
        order = self._layout.order
        pairs = list(zip(order, [*order[1:], *order[:1]] if self._layout.closed else order[1:], strict=False))
        return [[round(value, 2) for value in smoothness(x, pairs).rmse] for x in self.collected.pictures]

    def _marks(self) -> list[tuple[int, str]]:
        """The frames at which the ends stand, or next to which they do on a loop, and what these are called."""
        recipe, ends, latents = self.collected.plan.recipe, self.collected.ends, self.collected.latents
        if isinstance(recipe, MixRecipe):
            return [(0, name_of(recipe.ends[0], 0)), (recipe.frames - 1, name_of(recipe.ends[1], 1))]
        if ends is None or latents is None or recipe.mode not in ("line", "grid", "loop"):
            return []
        near = torch.nn.functional.cosine_similarity(latents.flatten(1)[:, None].float(), ends.flatten(1)[None].float(), dim=2)
        least = 0 if recipe.mode == "loop" else 1 - 1e-5
        best = [(int(near[:, i].argmax()), float(near[:, i].max()), name_of(end, i)) for i, end in enumerate(recipe.ends)]
        return [(frame, name) for frame, cosine, name in best if cosine > least]

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
        recipe, pictures = self.collected.plan.recipe, self.collected.pictures
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


def _counted(values: list[float]) -> list[tuple[int, float]]:
    return [(i + 1, round(value, 4)) for i, value in enumerate(values)]


def short(label: str) -> str:
    """A row's name for the legend of a chart, which is narrow."""
    for words, word in (("noise moves along", "moving"), ("one noise for all", "one noise"), ("fresh noise", "fresh")):
        label = label.replace(words, word)
    return label.replace("η = ", "")


def strip_uri(pixels: Any) -> str:
    return data_uri(side_by_side(pixels))


def ends_line(recipe: PathRecipe | MixRecipe) -> str:
    """What the ends are: seeds by their numbers, pictures and latents by their names."""
    return ", ".join(name_of(end, i).removeprefix("seed ") for i, end in enumerate(recipe.ends))


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
