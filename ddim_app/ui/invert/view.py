"""What the Invert tab shows of its runs, as JSON for its scripts."""

import math
import uuid
from collections.abc import Sequence
from typing import Any

from ddim_app.diffusion import gaussianity
from ddim_app.lazy import Tensor, torch
from ddim_app.media.images import HEAT, data_uri, heat_map, to_pil, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.decoding import Decoded
from ddim_app.runs.inversion import METHODS, InversionArm, InvertRecipe
from ddim_app.runs.inversion_plan import BETWEEN, InversionResult, InversionStep
from ddim_app.studies.inversion_table import TABLE_2, line, scores, scores_as_shown
from ddim_app.ui import text
from ddim_app.ui.components import chart
from ddim_app.ui.invert.verdict import back_words, difference, drawn_words, verdict

LOWEST = -6.0
"""The lowest power of ten of the error map's scale, which ends at 1 and does not move with the picture."""
PHASES = {"sample": "the model makes the picture", "up": "up", "down": "down", "between": "between the two latents"}
FRAMES, SMALL = 10, 64
"""Steps of the way up, and as many of the way down, that are shown; and the longer side of their pictures."""
PAPER = "DDIM paper, Table 2"


class InversionView:
    """One run on its way to the page."""

    def __init__(self, plan: Any, key: str = "") -> None:
        self.run, self.plan, self.recipe = uuid.uuid4().hex, plan, plan.recipe
        self.found: dict[int, InversionResult | Decoded] = {}
        self.latent: bytes | None = None
        """The file of the latent that was found last."""
        self._key, self._begun = key, False
        self._frames: list[dict[str, Any]] = []

    @property
    def first(self) -> dict[str, Any]:
        """The value that clears the screen for this run, with the picture that it starts from where that is known."""
        return {"run": self.run, "fresh": True, "original": picture_of(self.recipe), "frames": []}

    def add(self, frames: Sequence[InversionStep | InversionResult | Decoded]) -> dict[str, Any]:
        """The value with the newest pictures."""
        value: dict[str, Any] = {"run": self.run, "fresh": False, "frames": []}
        if not self._begun:
            value, self._begun = {**self.first}, True
        for frame in frames:
            if isinstance(frame, InversionStep):
                self._go(frame, value)
            else:
                self.found[frame.arm] = frame
        self._frames += value["frames"]
        return value

    def _go(self, frame: InversionStep, value: dict[str, Any]) -> None:
        residual = "" if frame.residual is None else f" · residual {frame.residual:.1e}"
        value["note"] = f"{PHASES[frame.phase]}, step {frame.step + 1} of {frame.steps} · t {frame.level.t}{residual}"
        if frame.phase == "sample":
            value["original"] = first_uri(frame.pred_x0)
        elif frame.phase in ("up", "down") and is_kept(frame.step, frame.steps):
            x = frame.x[:1]
            if max(x.shape[2:]) > SMALL:
                x = torch.nn.functional.avg_pool2d(x, math.ceil(max(x.shape[2:]) / SMALL), ceil_mode=True)
            place = {"phase": frame.phase, "k": frame.step + 1, "of": frame.steps, "t": frame.level.t}
            value["frames"].append({**place, "picture": first_uri(x)})

    def complete(self, frames: Sequence[Any], error: str | None) -> dict[str, Any]:
        """The value with all that is known."""
        value = self.add(frames)
        value |= {"complete": True, "note": error or "", "frames": self._frames, "key": self._key}
        for result in self.found.values():
            value |= self._decoded(result) if isinstance(result, Decoded) else self._inverted(result)
        return value

    def _decoded(self, result: Decoded) -> dict[str, Any]:
        self.latent = latent_files.save(result.latent)
        made = result.latent.recipe
        start = original_of(made, self.plan.model.shape) if isinstance(made, InvertRecipe) else None
        model = self.recipe.model if made is not None and self.recipe.model != made.model else None
        said = drawn_words(start, result.back, self.plan.eta, model)
        return {
            "original": None if start is None else first_uri(start), "latent": first_uri(result.latent.x),
            "back": first_uri(result.back), "latent_note": spread(result.latent.x), "verdict": said, "key": "",
            "back_note": "" if start is None else back_words(difference(start, result.back)), "evaluations": [0, self.plan.nfe[0]],
        }  # fmt: skip

    def _inverted(self, result: InversionResult) -> dict[str, Any]:
        self.latent = latent_files.save(result.latent)
        T = self.plan.model.schedule.num_train_timesteps
        return {
            "original": first_uri(result.original), "latent": first_uri(result.latent.x), "back": first_uri(result.back),
            "latent_note": spread(result.latent.x), "back_note": back_words(difference(result.original, result.back)),
            "verdict": verdict(self.recipe.arms[0], result, T), "evaluations": list(result.evaluations),
        }  # fmt: skip

    @property
    def result(self) -> InversionResult | Decoded | None:
        return next(iter(self.found.values()), None)

    def tables(self) -> dict[str, Any]:
        """The numbers of the round trip, and the latent's moments beside those of noise."""
        result = self.result
        if result is None:
            return {"rows": []}
        rows = [*looks(result.latent.x)]
        if isinstance(result, InversionResult):
            rows = [*errors(result), [], *rows]
            if result.true_latent is not None:
                same = gaussianity.cosine(result.latent.x, result.true_latent)[0]
                rows.append(["Cosine to the x_T that the picture was made from", f"{same:.3f}", ""])
        return {"rows": rows}

    def figures(self) -> dict[str, Any]:
        """The error map, and what lies between the true latent and the one that was found."""
        result, rows = self.result, []
        if isinstance(result, InversionResult):
            error = {"png": error_map(result.original, result.back), "caption": "dark 1e-6, bright 1"}
            rows.append({"label": "Error of each pixel", "large": True, "cells": [error]})
            if result.between is not None:
                label = "Drawn from latents between the true one and the one found: all alike where it was really found"
                cells = [{"png": first_uri(x), "caption": f"{place:g}"} for x, place in zip(result.between, BETWEEN, strict=True)]
                rows.append({"label": label, "large": False, "cells": cells})
        return {"rows": rows}

    def plot(self) -> dict[str, Any]:
        """The chart of the run's residuals, or of its noise; empty where it has neither."""
        for result in self.found.values():
            if isinstance(result, InversionResult) and result.residuals:
                steps = [(i + 1, log10(r)) for i, r in enumerate(result.residuals)]
                return chart.lines("log10 of the residual of each step up", "step", [chart.line("residual", steps)])
            if isinstance(result, InversionResult) and result.noise_stds:
                stds = [(i + 1, std) for i, std in enumerate(result.noise_stds)]
                return chart.lines("standard deviation of z, from the noisiest", "step", [chart.line("std of z", stds)])
        return {}


def curve_of(arms: Sequence[InversionArm], found: dict[int, InversionResult]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The table of error against steps, and its chart with the paper's points."""
    lines = [line(arms[number], result) for number, result in sorted(found.items())]
    rows = [
        [METHODS[each.method], str(each.steps), f"{each.nfe_up} + {each.nfe_down}", f"{each.mse:.1e}", f"{each.mse_shown:.1e}",
         f"{each.latent_std:.2f}", f"{each.neighbours:.2f}"]
        for each in lines
    ]  # fmt: skip
    counts = sorted({each.steps for each in lines})
    of_method: dict[str, list[tuple[int, float | None]]] = {}
    for each in sorted(lines, key=lambda each: each.steps):
        of_method.setdefault(METHODS[each.method], []).append((each.steps, log10(each.mse)))
    series = [chart.line(name, points) for name, points in of_method.items()]
    if known := [(steps, log10(TABLE_2[steps])) for steps in counts if steps in TABLE_2]:
        series.append(chart.line(PAPER, known, dashed=True))
    head = ["Method", "Steps", "NFE", "MSE", "8 bit", "Latent std", "Neighbours"]
    plot = chart.lines("log10 of the MSE per dimension", "steps", series, log=True, ticks=counts)
    return {"head": head, "rows": rows}, plot


def is_kept(step: int, steps: int) -> bool:
    """Whether a step (from 0) of `steps` is one of the FRAMES that are shown, evenly apart, the last of them among these."""
    return (step + 1) * FRAMES // steps > step * FRAMES // steps


def original_of(recipe: InvertRecipe, shape: tuple[int, int, int]) -> Tensor | None:
    """The picture that an inversion started from; None where the model made it."""
    return recipe.sources[0].tensor(shape) if recipe.sources[0].is_picture else None


def picture_of(recipe: Any) -> str | None:
    """The picture that a run starts from as a data URI, where its recipe carries one."""
    sources = recipe.sources if isinstance(recipe, InvertRecipe) else ()
    return f"data:image/png;base64,{sources[0].png}" if sources and sources[0].png else None


def spread(x: Tensor) -> str:
    return f"std {gaussianity.look(x)[0].std:.2f}"


def errors(result: InversionResult) -> list[list[str]]:
    """The rows of errors: as computed, and as shown and saved."""
    raw, shown = scores(result.original, result.back)[0], scores_as_shown(result.original, result.back)[0]
    rows = [
        ["Round trip", "as computed", "clamped, 8 bit"],
        ["MSE, as in Table 2", f"{raw.mse:.2e}", f"{shown.mse:.2e}"],
        ["PSNR", *(("equal" if s.psnr is None else f"{s.psnr:.1f} dB") for s in (raw, shown))],
        ["SSIM", f"{raw.ssim:.4f}", f"{shown.ssim:.4f}"],
        ["Largest error", f"{raw.largest:.1e}", f"{shown.largest:.1e}"],
        ["NFE, up + down", f"{result.evaluations[0]} + {result.evaluations[1]}", ""],
        ["Seconds", f"{result.seconds:.2f}", ""],
    ]
    if result.without_residual is not None:
        rows.insert(2, ["MSE without the last residual", f"{scores(result.original, result.without_residual)[0].mse:.2e}", ""])
    return rows


def looks(x: Tensor) -> list[list[str]]:
    """The rows of a latent's moments beside those of noise."""
    seen, width = gaussianity.look(x)[0], gaussianity.errors(x[0].numel())
    names = ("Mean", "Standard deviation", "Skew", "Excess kurtosis", "Neighbours' correlation")
    return [["Its noise", "this one", "noise"]] + [
        [name, f"{value:.3f}", f"{expected} ± {3 * error:.2f}"]
        for name, value, expected, error in zip(names, seen, (0, 1, 0, 0, 0), width, strict=True)
    ]


def error_map(original: Tensor, back: Tensor) -> str:
    """Largest error of each pixel's channels, coloured by its power of ten from 1e-6 to 1."""
    apart = ((original.double() - back.double()) / 2).abs()[0].amax(0)
    powers = ((apart.clamp(min=1e-300).log10() - LOWEST) / -LOWEST).clamp(0, 1).nan_to_num(1.0).numpy() * (len(HEAT) - 1)
    return data_uri(to_pil(heat_map(powers, len(HEAT) - 1)))


def first_uri(x: Tensor) -> str:
    """The first picture of (N, C, H, W) as a data URI."""
    return data_uri(to_pil(to_pixels(x[:1].nan_to_num())[0]))


def recipe_line(plan: Any) -> str:
    """The run in one line."""
    recipe = plan.recipe
    if not isinstance(recipe, InvertRecipe):
        latent = plan.latent
        return f"{recipe.model} · {latent.kind} latent on {len(latent.timesteps)} levels · η = {plan.eta:g} · {recipe.precision}"
    source, arm = recipe.sources[0], recipe.arms[0]
    picture = "picture" if source.is_picture else f"own sample of seed {source.seed}{', clamped' if recipe.clamped else ''}"
    models = f"{recipe.model} → {recipe.decode_model}" if recipe.decode_model else recipe.model
    strength = "" if arm.strength == 1 else f" · strength {arm.strength:g}"
    return f"{models} · {picture} · {arm.label} · {text.grid_note(arm.steps, arm.spacing)}{strength} · {recipe.precision}"


def log10(value: float) -> float | None:
    return math.log10(value) if value > 0 and math.isfinite(value) else None
