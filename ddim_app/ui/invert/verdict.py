"""What is said first of a round trip, in words: whether the picture came back, and whether its latent is noise."""

import math
from typing import Any, NamedTuple

import numpy as np

from ddim_app.diffusion import gaussianity
from ddim_app.diffusion.gaussianity import CORRELATED, LatentMoments
from ddim_app.lazy import Tensor
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs.inversion import InversionArm
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.studies.inversion_table import scores

ENOUGH = 50
"""Steps from which on the fixed-point method brought every picture back that was tried on the bundled model."""
BY_EYE = 40
"""PSNR in dB above which what differs is small enough to be counted rather than to be called a failure."""
LOSES = {
    "ddim-target": "Walking back without correcting each step is an approximation.",
    "ddim-source": "Walking back without correcting each step is an approximation.",
    "o-belm-single": "O-BELM needs both of its latents, and this way keeps one.",
    "sdedit": "This way draws new noise, and keeps nothing of the picture but its outline.",
}
"""Why a method does not bring a picture back, however many steps it has."""


class Difference(NamedTuple):
    """How two pictures differ on the screen, in 8 bits."""

    pixels: int
    """Pixels with any channel that differs."""
    of: int
    largest: int
    """Levels of 255."""
    psnr: float
    """Peak signal-to-noise ratio in dB; infinite where nothing differs."""


def difference(a: Tensor, b: Tensor) -> Difference:
    """How the first pictures of two (N, C, H, W) in [-1, 1] differ on the screen."""
    shown = [to_pixels(x[:1].nan_to_num()).astype(int) for x in (a, b)]
    apart = np.abs(shown[0] - shown[1])[0].max(-1)
    psnr = scores(*(from_pixels(x.astype(np.uint8), np.float64) for x in shown))[0].psnr
    return Difference(int((apart > 0).sum()), apart.size, int(apart.max()), math.inf if psnr is None else psnr)


def back_words(seen: Difference) -> str:
    """What stands beside the picture that came back."""
    return "every pixel equal" if not seen.pixels else f"{seen.pixels:,} of {seen.of:,} pixels differ"


def verdict(arm: InversionArm, result: InversionResult, num_train_timesteps: int) -> dict[str, Any]:
    """{kind: good, near or bad; first, second: sentences; actions: what buttons do} of a finished round trip."""
    seen, moments = difference(result.original, result.back), gaussianity.look(result.latent.x)[0]
    if not math.isfinite(moments.std):
        return _say("bad", "This way has run away: its noise is no longer made of numbers.", LOSES.get(arm.method, ""), _more(arm))
    if not seen.pixels:
        return _say("good", "Comes back exactly: no pixel differs.", noise_words(moments, result, exact=True))
    if seen.largest == 1:
        some = "1 pixel differs" if seen.pixels == 1 else f"{seen.pixels:,} pixels differ"
        return _say("near", f"Comes back, but {some} by one level.", noise_words(moments, result))
    if seen.psnr >= BY_EYE:
        return _say("near", f"Comes back, but {seen.pixels:,} pixels differ, by up to {seen.largest} levels.",
                    noise_words(moments, result))  # fmt: skip
    if arm.method in LOSES:
        return _say("bad", f"Does not come back: {seen.psnr:.1f} dB.", LOSES[arm.method], _more(arm))
    more = min(max(ENOUGH, 2 * arm.steps if arm.steps >= ENOUGH else 0), num_train_timesteps)
    if arm.method != "fixed-point" or more <= arm.steps:
        return _say("bad", f"Does not come back: {seen.psnr:.1f} dB.", "", [] if arm.method == "fixed-point" else _more(arm))
    few = f"{arm.steps} {'step is' if arm.steps == 1 else 'steps are'} too few for this method: {seen.psnr:.1f} dB. Use {more}."
    return _say("bad", few, "", [{"act": "steps", "value": more, "words": f"Use {more} steps"}])


def noise_words(moments: LatentMoments, result: InversionResult, exact: bool = False) -> str:
    """Whether the latent looks like noise, and so interpolates well."""
    kind, count = result.latent.kind, result.latent.x[0].numel()
    if kind == "stochastic":
        return "It keeps x_T and the noise of every step; Interpolate takes one x_T alone."
    if not moments.is_noise_wide:
        lead = "Exact, but no noise" if exact else "Its latent is no noise"
        return f"{lead}: its standard deviation is {moments.std:.4g}, that of noise 1. Interpolate does not take it."
    if moments.neighbours > CORRELATED:
        width = 3 * gaussianity.errors(count).neighbours
        words = (
            f"Its noise still shows the picture: neighbouring pixels correlate by {moments.neighbours:.2f} "
            f"(noise: 0 ± {width:.2f}), so it will interpolate badly."
        )
    else:
        words = "Its noise looks like noise, so it will interpolate well."
    return f"{words} It keeps two latents; Interpolate takes one." if kind == "pair" else words


def advice(arm: InversionArm, result: InversionResult) -> dict[str, Any] | None:
    """What O-BELM's own round trip says where another method failed; None where that is not exact either."""
    if difference(result.original, result.back).pixels:
        return None
    moments, many = gaussianity.look(result.latent.x)[0], f"{arm.steps} {'step' if arm.steps == 1 else 'steps'}"
    if not moments.is_noise_wide:
        return {
            "second": f"O-BELM, which keeps two latents, is exact at {many}, but no noise: standard deviation {moments.std:.4g}."
        }
    taken = {"act": "method", "value": "o-belm", "words": "Take O-BELM"}
    return {"second": f"O-BELM, which keeps two latents, is exact at {many}.", "action": taken}


def drawn_words(original: Tensor | None, back: Tensor, eta: float, model: str | None) -> dict[str, Any]:
    """What is said of a latent that was drawn down another way."""
    how = " ".join([f"η = {eta:g}" if eta else "DDIM", *([f"by {model}"] if model else [])])
    if original is None:
        return _say("plain", f"Drawn from the latent: {how}.", "")
    seen = difference(original, back)
    if not seen.pixels:
        return _say("good", f"Drawn with {how}: no pixel differs from your picture.", "")
    return _say("plain", f"Drawn with {how}: {seen.psnr:.1f} dB from your picture.", "The same noise, drawn down another way.")


def _more(arm: InversionArm) -> list[dict[str, Any]]:
    return [{"act": "method", "value": "fixed-point", "words": "Take the fixed point"}]


def _say(kind: str, first: str, second: str, actions: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"kind": kind, "first": first, "second": second, "actions": actions or []}
