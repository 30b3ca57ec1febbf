"""What the Invert tab shows of its runs, as JSON for its script and tables for its plot."""

import math
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from torch import Tensor

from ddim_app.diffusion import gaussianity
from ddim_app.media.images import HEAT, data_uri, heat_map, to_pil, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.decoding import Decoded
from ddim_app.runs.inversion import METHODS, InvertRecipe
from ddim_app.runs.inversion_plan import BETWEEN, InversionResult, InversionStep
from ddim_app.studies.inversion_table import TABLE_2, line, scores, scores_as_shown

LOWEST = -6.0
"""The lowest power of ten of the error map's scale, which ends at 1 and does not move with the picture."""
PHASES = {"sample": "The model makes the picture", "up": "Up", "down": "Down", "between": "Between the two latents"}
PAPER = "DDIM paper, Table 2"
COLUMNS = ["x", "y", "series"]


class InversionView:
    """One run on its way to the page."""

    def __init__(self, plan: Any) -> None:
        self.run, self.recipe = uuid.uuid4().hex, plan.recipe
        self.found: dict[int, InversionResult | Decoded] = {}
        self.latent: bytes | None = None
        """The file of the latent that was found last, of a run with one arm."""
        self._begun = False

    @property
    def is_curve(self) -> bool:
        return isinstance(self.recipe, InvertRecipe) and len(self.recipe.arms) > 1

    def add(self, frames: Sequence[InversionStep | InversionResult | Decoded]) -> dict[str, Any]:
        """The value with the newest pictures."""
        value: dict[str, Any] = {"run": self.run, "fresh": not self._begun, "pictures": {}}
        if not self._begun:
            value["pictures"] = dict.fromkeys(("latent", "back", "error"))
            self._begun = True
        for frame in frames:
            if isinstance(frame, InversionStep):
                self._go(frame, value)
            else:
                self.found[frame.arm] = frame
        return value

    def _go(self, frame: InversionStep, value: dict[str, Any]) -> None:
        if not self.is_curve and frame.phase != "between":
            slot = {"sample": "original", "up": "latent", "down": "back"}[frame.phase]
            value["pictures"][slot] = first_uri(frame.x if frame.phase == "up" else frame.pred_x0)
        ways = f"{len(self.found)} of {len(self.recipe.arms)} through · " if self.is_curve else ""
        residual = "" if frame.residual is None else f" · residual {frame.residual:.1e}"
        value["note"] = f"{ways}{PHASES[frame.phase]}: step {frame.step + 1} of {frame.steps}, now at t = {frame.level.t}{residual}"

    def complete(self, frames: Sequence[Any], error: str | None) -> dict[str, Any]:
        """The value with all that is known."""
        value = self.add(frames)
        value |= {"complete": True, "note": error or ""}
        if self.is_curve:
            return value | self._curve()
        for result in self.found.values():
            value |= self._decoded(result) if isinstance(result, Decoded) else self._inverted(result)
        return value

    def _decoded(self, result: Decoded) -> dict[str, Any]:
        self.latent = latent_files.save(result.latent)
        pictures = {"original": None, "latent": first_uri(result.latent.x), "back": first_uri(result.back), "error": None}
        return {"pictures": pictures, "tables": [looks(result.latent.x)], "verdict": gaussianity.look(result.latent.x)[0].verdict}

    def _inverted(self, result: InversionResult) -> dict[str, Any]:
        self.latent = latent_files.save(result.latent)
        value: dict[str, Any] = {
            "pictures": {
                "original": first_uri(result.original), "latent": first_uri(result.latent.x), "back": first_uri(result.back),
                "error": error_map(result.original, result.back),
            },
            "tables": [errors(result), looks(result.latent.x)],
            "verdict": gaussianity.look(result.latent.x)[0].verdict,
        }  # fmt: skip
        if result.true_latent is not None:
            same = gaussianity.cosine(result.latent.x, result.true_latent)[0]
            value["verdict"] += f" Cosine to the x_T that the picture was made from: {same:.3f}."
        if result.between is not None:
            places = ", ".join(f"{place:g}" for place in BETWEEN)
            title = f"Drawn from latents between the true one and the one found, at {places}: all alike where it was really found."
            value["between"] = {"title": title, "pictures": [first_uri(x) for x in result.between]}
        return value

    def _curve(self) -> dict[str, Any]:
        lines = [
            line(self.recipe.arms[arm], result) for arm, result in sorted(self.found.items()) if isinstance(result, InversionResult)
        ]
        rows = [
            [METHODS[each.method], str(each.steps), f"{each.nfe_up} + {each.nfe_down}", f"{each.mse:.1e}", f"{each.mse_shown:.1e}",
             f"{each.latent_std:.2f}", f"{each.neighbours:.2f}"]
            for each in lines
        ]  # fmt: skip
        head = ["Method", "Steps", "NFE", "MSE", "8 bit", "Latent std", "Neighbours"]
        through = [result for result in self.found.values() if isinstance(result, InversionResult)]
        shown = {"original": first_uri(through[0].original)} if through else {}
        return {"pictures": shown, "tables": [{"title": "Error against steps", "head": head, "rows": rows}], "verdict": ""}

    def plot(self) -> tuple[pd.DataFrame, str, str] | None:
        """(table, what lies on x, what on y) of the run's plot, if it has one."""
        if self.is_curve:
            points = [
                (str(each.steps), log10(each.mse), METHODS[each.method])
                for arm, result in sorted(self.found.items())
                if isinstance(result, InversionResult) and (each := line(self.recipe.arms[arm], result)).mse > 0
            ]
            counts = sorted({int(x) for x, _, _ in points})
            points += [(str(steps), log10(TABLE_2[steps]), PAPER) for steps in counts if steps in TABLE_2]
            return _table(points), "steps", "log10 of the MSE per dimension"
        for result in self.found.values():
            if isinstance(result, InversionResult) and result.residuals:
                steps = [(i + 1, log10(r), "residual") for i, r in enumerate(result.residuals) if r > 0]
                return _table(steps), "step up, from the clean picture", "log10 of the residual"
            if isinstance(result, InversionResult) and result.noise_stds:
                stds = [(i + 1, std, "std of z") for i, std in enumerate(result.noise_stds)]
                return _table(stds), "step down, from the noisiest", "standard deviation of z"
        return None


def errors(result: InversionResult) -> dict[str, Any]:
    """The table of errors: as computed, and as shown and saved."""
    raw, shown = scores(result.original, result.back)[0], scores_as_shown(result.original, result.back)[0]
    rows = [
        ["MSE, as in Table 2", f"{raw.mse:.2e}", f"{shown.mse:.2e}"],
        ["PSNR", *(("equal" if s.psnr is None else f"{s.psnr:.1f} dB") for s in (raw, shown))],
        ["SSIM", f"{raw.ssim:.4f}", f"{shown.ssim:.4f}"],
        ["Largest error", f"{raw.largest:.1e}", f"{shown.largest:.1e}"],
        ["NFE, up + down", f"{result.evaluations[0]} + {result.evaluations[1]}", ""],
        ["Seconds", f"{result.seconds:.2f}", ""],
    ]
    if result.without_residual is not None:
        rows.insert(1, ["MSE without the last residual", f"{scores(result.original, result.without_residual)[0].mse:.2e}", ""])
    return {"title": "Round trip", "head": ["", "as computed", "clamped, 8 bit"], "rows": rows}


def looks(x: Tensor) -> dict[str, Any]:
    """The table of a latent's moments beside those of noise."""
    seen, width = gaussianity.look(x)[0], gaussianity.errors(x[0].numel())
    names = ("Mean", "Standard deviation", "Skew", "Excess kurtosis", "Neighbours' correlation")
    rows = [
        [name, f"{value:.3f}", f"{expected} ± {3 * error:.2f}"]
        for name, value, expected, error in zip(names, seen, (0, 1, 0, 0, 0), width, strict=True)
    ]
    return {"title": "Latent", "head": ["", "this one", "noise"], "rows": rows}


def error_map(original: Tensor, back: Tensor) -> str:
    """Largest error of each pixel's channels, coloured by its power of ten from 1e-6 to 1."""
    apart = ((original.double() - back.double()) / 2).abs()[0].amax(0)
    powers = ((apart.clamp(min=1e-300).log10() - LOWEST) / -LOWEST).clamp(0, 1).nan_to_num(1.0).numpy() * (len(HEAT) - 1)
    return data_uri(to_pil(heat_map(powers, len(HEAT) - 1)))


def first_uri(x: Tensor) -> str:
    """The first picture of (N, C, H, W) as a data URI."""
    return data_uri(to_pil(to_pixels(x[:1].nan_to_num())[0]))


def log10(value: float) -> float:
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


def _table(points: Iterable[tuple[Any, float, str]]) -> pd.DataFrame:
    return pd.DataFrame(list(points), columns=COLUMNS)
