"""Latents brought down again."""

import pytest
import torch

from ddim_app.diffusion import metrics
from ddim_app.errors import FieldError
from ddim_app.runs import decoding, kinds, latent_files
from ddim_app.runs.decoding import Decoded
from ddim_app.runs.inversion import InversionArm
from ddim_app.runs.sources import Source, of_tensor
from ddim_app.studies import inversion_table
from tests.inversions import PICTURE, asked


def decoded(engine, data, **settings):
    *_, last = engine.run(decoding.of_file(data, model="a", **settings))
    assert isinstance(last, Decoded)
    return last.back


def latent_of(engine, method, **settings):
    found = inversion_table.invert(engine, asked(InversionArm(method=method, steps=6), **settings))[0]
    return found, latent_files.save(found.latent)


@pytest.mark.parametrize("method", ["fixed-point", "o-belm", "stochastic", "stochastic-chain"])
def test_a_saved_latent_is_decoded_as_it_was(engine, method):
    found, data = latent_of(engine, method)
    value = decoding.of_file(data, model="a")
    assert kinds.from_json(value.to_json()) == value
    torch.testing.assert_close(decoded(engine, data), found.back, rtol=0, atol=1e-4)
    planned = engine.plan(value)
    assert planned.evaluations == found.evaluations[1] == planned.transitions
    assert decoding.same(planned)


def test_a_single_latent_takes_another_eta_and_other_steps(engine):
    found, data = latent_of(engine, "fixed-point")
    noisy = decoded(engine, data, eta=1)
    assert not torch.allclose(noisy, found.back)
    assert torch.equal(noisy, decoded(engine, data, eta=1))
    assert not torch.equal(noisy, decoded(engine, data, eta=1, noise_seed=1))
    assert engine.plan(decoding.of_file(data, model="a", steps=20)).transitions == 20


def test_a_noise_map_is_used_under_another_start(engine):
    found, data = latent_of(engine, "stochastic")
    same = decoded(engine, data, edited=PICTURE)
    assert float(metrics.mse(same, found.without_residual).max()) < 1e-6
    other = of_tensor(-PICTURE.tensor((3, 8, 8))[0])
    assert not torch.allclose(decoded(engine, data, edited=other), same)
    assert not torch.allclose(decoded(engine, data, seed=3), same)
    value = decoding.of_file(data, model="a", edited=other)
    assert kinds.from_json(value.to_json()) == value


@pytest.mark.parametrize(
    ("method", "settings", "sentence"),
    [
        ("o-belm", {"eta": 1}, "eta must be its own for a pair latent"),
        ("stochastic", {"steps": 7}, "steps must be its own for a stochastic latent"),
        ("fixed-point", {"seed": 3}, "only a noise map can be used under another x_T"),
        ("fixed-point", {"eta": 3}, "eta must be a number from 0 to 2"),
        ("stochastic", {"seed": 3, "edited": PICTURE}, "must not be given beside a seed"),
        ("fixed-point", {"model": "small"}, "must fit the model: it is 3x8x8"),
    ],
)
def test_what_a_latent_cannot_do_gets_a_sentence(engine, method, settings, sentence):
    _, data = latent_of(engine, method)
    with pytest.raises(FieldError, match=sentence):
        engine.plan(decoding.of_file(data, **({"model": "a"} | settings)))


def test_a_noise_map_of_a_seed_knows_no_picture_to_edit(engine):
    _, data = latent_of(engine, "stochastic", sources=(Source(seed=1),))
    with pytest.raises(FieldError, match="needs a latent that knows the picture"):
        engine.plan(decoding.of_file(data, model="a", edited=PICTURE))


@pytest.mark.parametrize("text", ["!", "AAAA", "", 7])
def test_what_is_no_latent_gets_a_sentence(engine, text):
    with pytest.raises(FieldError, match="latent must be"):
        engine.plan(decoding.DecodeRecipe(latent=text, model="a"))
