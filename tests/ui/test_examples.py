"""What the page's examples claim, on the bundled model."""

import json

import torch

from ddim_app.engine import Engine
from ddim_app.runs.forms import compare
from ddim_app.runs.sampling import Recipe
from ddim_app.ui.compare.tab import EXAMPLES, with_more
from ddim_app.ui.components.stage import stored_run
from ddim_app.ui.first_run import RECIPE

USUAL = {
    "model": "avatars-32", "seed": 7, "pictures": 4, "noise_seed": "", "branch": 0, "precision": "fp32", "steps": 10, "eta": 0.0,
    "ddpm_steps": 0, "variance": "small", "spacing": "trailing", "clip": "clip", "second_model": "",
}  # fmt: skip


def example(words: str) -> Recipe:
    return with_more(compare(USUAL | EXAMPLES[words].values, 1000), EXAMPLES[words].more_arms)


def roughness(pictures: torch.Tensor) -> float:
    """Median absolute Laplacian, over pixels and pictures: grain is everywhere, lines are in few places."""
    x = pictures.clamp(-1, 1)
    laplacian = 4 * x[..., 1:-1, 1:-1] - x[..., :-2, 1:-1] - x[..., 2:, 1:-1] - x[..., 1:-1, :-2] - x[..., 1:-1, 2:]
    return float(laplacian.abs().median())


def test_ten_steps_are_clean_by_ddim_and_by_ddpm_and_noisy_by_ddpm_with_the_larger_variance() -> None:
    ddim, ddpm, larger = Engine(allow_hub=False).final(example("DDPM’s two variances"))
    assert roughness(larger) > 2.5 * max(roughness(ddim), roughness(ddpm))


def test_eta_1_is_ddpm_to_the_last_bit() -> None:
    ddim, ddpm = Engine(allow_hub=False).final(example("η = 1 is DDPM"))
    assert torch.equal(ddim, ddpm)


def test_ddim_keeps_the_picture_as_steps_grow() -> None:
    """Ten steps are nearer to fifty of the same seed than to fifty of another."""
    engine = Engine(allow_hub=False)
    ten, fifty = (engine.final(example(words))[0] for words in ("How few steps are enough?", "Same noise, more steps"))
    same = (ten - fifty).pow(2).flatten(1).mean(1)
    other = (ten - fifty.roll(1, 0)).pow(2).flatten(1).mean(1)
    assert (4 * same < other).all()


def test_the_stored_run_is_of_the_bundled_weights() -> None:
    stored, engine = stored_run(), Engine(allow_hub=False)
    assert stored["weights"] in engine.model(RECIPE.model).hashes
    assert [frame["k"] for frame in stored["frames"] if frame["arm"] == 0] == list(range(10))
    assert json.dumps(stored).isascii()
