"""What is said of a round trip, word for word."""

import math
from dataclasses import replace

import pytest
import torch

from ddim_app.diffusion import gaussianity
from ddim_app.diffusion.exact_inversion import belm_down, belm_up
from ddim_app.diffusion.naive_inversion import AskedNetwork, reachable
from ddim_app.errors import FieldError
from ddim_app.media.images import from_pixels, to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.inversion import InversionArm, InvertRecipe
from ddim_app.runs.inversion_plan import InversionResult
from ddim_app.runs.latent_files import Latent
from ddim_app.runs.sources import of_tensor
from ddim_app.ui.invert import verdict
from tests import toys
from tests.diffusion.driven import run

T = 1000
PICTURE = from_pixels(to_pixels(toys.pictures(1, (3, 32, 32), seed=1) / 3))
NOISE = toys.pictures(1, (3, 32, 32), seed=2).float()
SMOOTH = NOISE.repeat_interleave(4, 3)[..., :32]


def said(back=PICTURE, latent=NOISE, method="fixed-point", steps=50, **more):
    arm = InversionArm(method=method, steps=steps)
    made = Latent(x=latent, model="a", timesteps=(999,), **more)
    result = InversionResult(0, 0, PICTURE, made, back, (200, 50), (), (), None, None, None, 0.0)
    return verdict.verdict(arm, result, T)


def changed(pixels, levels):
    """The picture with so many pixels up or down by so many levels, in one channel."""
    seen = to_pixels(PICTURE).astype(int)
    places = seen.reshape(-1, 3)[:pixels, 1]
    seen.reshape(-1, 3)[:pixels, 1] = places + levels * (1 - 2 * (places > 127))
    return from_pixels(seen.astype("uint8"))


@pytest.mark.parametrize(
    ("given", "kind", "first"),
    [
        ({}, "good", "Comes back exactly: no pixel differs."),
        ({"back": PICTURE + 0.3 / 255}, "good", "Comes back exactly: no pixel differs."),
        ({"back": changed(12, 1)}, "near", "Comes back, but 12 pixels differ by one level."),
        ({"back": changed(1, 1)}, "near", "Comes back, but 1 pixel differs by one level."),
        ({"back": changed(5, 3)}, "near", "Comes back, but 5 pixels differ, by up to 3 levels."),
    ],
)
def test_what_came_back_is_said_first(given, kind, first):
    words = said(**given)
    assert (words["kind"], words["first"], words["actions"]) == (kind, first, [])


def test_too_few_steps_are_named_with_their_decibels_and_what_to_do():
    back = PICTURE + 2 * 10 ** (-11.1 / 20)  # 11.1 dB of the range that is 2 wide
    words = said(back, steps=10)
    dB = verdict.difference(PICTURE, back).psnr  # what leaves the range is cut off
    assert words["first"] == f"10 steps are too few for this method: {dB:.1f} dB. Use 50."
    assert words["actions"] == [{"act": "steps", "value": 50, "words": "Use 50 steps"}]
    assert said(back, steps=1)["first"].startswith("1 step is too few")
    assert said(back, steps=50)["first"].endswith("Use 100.")
    assert said(back, steps=800)["first"].endswith("Use 1000.")
    assert said(back, steps=1000)["first"] == f"Does not come back: {dB:.1f} dB."


@pytest.mark.parametrize("method", ["ddim-target", "ddim-source", "o-belm-single", "sdedit"])
def test_a_way_that_never_comes_back_says_why_and_offers_one_that_does(method):
    words = said(PICTURE + 0.5, method=method)
    assert (words["kind"], words["second"]) == ("bad", verdict.LOSES[method])
    assert words["actions"] == [{"act": "method", "value": "fixed-point", "words": "Take the fixed point"}]


def test_the_second_sentence_is_about_the_noise():
    assert said()["second"] == "Its noise looks like noise, so it will interpolate well."
    words = said(latent=SMOOTH)["second"]
    assert words.startswith("Its noise still shows the picture: neighbouring pixels correlate by 0.")
    assert words.endswith("(noise: 0 ± 0.04), so it will interpolate badly.")
    assert said(latent=NOISE, second=NOISE)["second"].endswith("It keeps two latents; Interpolate takes one.")


@pytest.mark.parametrize(("scale", "fits"), [(0.79, False), (0.81, True), (1.24, True), (1.26, False), (1.5e4, False)])
def test_exact_is_not_enough_where_the_latent_is_no_noise(scale, fits):
    x = (NOISE - NOISE.mean()) / NOISE.std(correction=0) * scale
    words = said(latent=x)
    assert words["first"] == "Comes back exactly: no pixel differs."
    assert words["second"].startswith("Exact, but no noise: its standard deviation is") != fits
    recipe = InvertRecipe(model="a", sources=(of_tensor(PICTURE[0]),), arms=(InversionArm(method="fixed-point"),))
    made = Latent(x=x, model="a", timesteps=(999,), recipe=recipe)
    if fits:
        assert made.check_end() is made
    else:
        with pytest.raises(FieldError, match="latent must be noise: its standard deviation is"):
            made.check_end()
    # What was never inverted may have any norm, and what went only part of the way up is no noise yet.
    assert replace(made, recipe=None).check_end()
    assert replace(made, recipe=replace(recipe, arms=(InversionArm(method="fixed-point", strength=0.5),))).check_end()


def mixture_network(alphas_cumprod):
    """The exact network of data that is 0.8 or -0.8 in each value, within 0.05: what a perfectly trained model would say."""

    def predict(x, t):
        ab = alphas_cumprod[t].to(x).view(-1, 1, 1, 1)
        variance, shift = ab * 0.05**2 + 1 - ab, ab.sqrt() * 0.8
        mean = torch.tanh(x * shift / variance) * shift
        return (1 - ab).sqrt() * (x - mean) / variance

    return predict


def belm_trip(name, spacing="trailing", steps=50):
    """The latent's standard deviation of O-BELM on a schedule, and the largest error of what comes back."""
    schedule = toys.SCHEDULES[name]
    levels, network = reachable(schedule.levels(steps, spacing)), AskedNetwork(schedule.level(0))
    x0 = 0.8 * toys.pictures(4, (1, 16, 16)).sign() + 0.05 * toys.pictures(4, (1, 16, 16), seed=1)
    predict = mixture_network(schedule.alphas_cumprod)

    pair, *_ = run(belm_up(x0, levels, network), predict)
    back, *_ = run(belm_down(pair, levels, network), predict)
    return pair, back, x0


@pytest.mark.parametrize(
    ("name", "spacing", "fits"), [("linear", "trailing", True), ("cosine", "trailing", False), ("cosine", "leading", False)]
)
def test_on_cosine_schedules_o_belm_comes_back_and_is_no_noise(name, spacing, fits):
    pair, back, x0 = belm_trip(name, spacing)
    spread = [moments.is_noise_wide for moments in gaussianity.look(pair.x)]
    assert spread == [fits] * 4
    assert float((back - x0).abs().max()) < 1e-6
    made = Latent(x=pair.x[:1], second=pair.second[:1], model="a", timesteps=tuple(level.t for level in
                  reachable(toys.SCHEDULES[name].levels(50, spacing))[:-1]))  # fmt: skip
    result = InversionResult(0, 0, x0[:1], made, back[:1], (50, 49), (), (), None, None, None, 0.0)
    arm = InversionArm(method="o-belm", steps=50)
    words, told = verdict.verdict(arm, result, T), verdict.advice(arm, result)
    assert words["first"] == "Comes back exactly: no pixel differs."
    assert ("Exact, but no noise" in words["second"]) != fits
    assert ("action" in told) == fits
    assert math.isfinite(float(latent_files.load(latent_files.save(made)).x.std()))
