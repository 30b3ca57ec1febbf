"""What a training step computes: keyed randomness, batches, loss, average, learning rate, dropout."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from ddim_app.diffusion import formulas
from ddim_app.diffusion.schedule import betas, cumulative
from ddim_app.media.images import from_pixels
from ddim_app.train import keyed_random, loop
from ddim_app.train.batches import Batches, BatchesAhead, cosine_edges
from ddim_app.train.config import Settings, TrainError, presets, read_preset, resolve
from ddim_app.train.evaluate import bucket_means, held_out
from ddim_app.train.loop import learning_rate, loss, make_optimizer, row_losses, target, weight
from ddim_app.train.setup import shift_of
from tests import toys
from tests.train_tools import drawings

T = 1000


def batches(count=20, seed=3, mirror=False, side=8, global_batch=6, chosen=None, shift=0):
    chosen = np.arange(count) if chosen is None else chosen
    return Batches(drawings(count, side), chosen, (3, 8, 8), T, global_batch, seed, mirror, shift)


def test_a_part_of_a_batch_is_that_part_of_the_whole():
    made = batches(mirror=True, side=10)
    whole = made.rows(5, 0, 6)
    for parts in ((3, 3), (2, 2, 2), (1, 5)):
        first, pieces = 0, []
        for size in parts:
            pieces.append(made.rows(5, first, size))
            first += size
        for name in ("x0", "t", "noise"):
            assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(whole, name))


@pytest.mark.parametrize(("seed", "step"), [(3, 6), (4, 5)])
def test_neighbouring_steps_and_seeds_have_nothing_in_common(seed, step):
    one, other = batches().rows(5, 0, 6), batches(seed=seed).rows(step, 0, 6)
    correlation = torch.corrcoef(torch.stack([one.noise.flatten(), other.noise.flatten()]))[0, 1]
    assert abs(float(correlation)) < 0.1
    assert not torch.equal(one.t, other.t)


def test_an_epoch_has_every_picture_once_and_only_chosen_ones():
    chosen = np.arange(0, 36, 3)
    made = batches(36, chosen=chosen, global_batch=4)
    orders = []
    for epoch in range(2):
        seen = torch.cat([made.rows(epoch * 3 + step, 0, 4).x0 for step in range(3)])
        orders.append([int(np.flatnonzero((from_pixels(made.pixels) == row).flatten(1).all(1))[0]) for row in seen])
    assert sorted(orders[0]) == sorted(orders[1]) == chosen.tolist()
    assert orders[0] != orders[1]


def test_timesteps_are_uniform_and_spread_over_each_batch():
    made = batches(global_batch=10)
    t = torch.stack([made.rows(step, 0, 10).t for step in range(300)])
    assert torch.equal(t * 10 // T, torch.arange(10).expand(300, 10))
    within = (t % 100).double()
    assert within.min() == 0
    assert within.max() == 99
    assert abs(float(within.mean()) - 49.5) < 3 * math.sqrt(100**2 / 12 / 3000)


@pytest.mark.parametrize("kind", ["linear", "squaredcos_cap_v2"])
def test_cosine_density_draws_the_levels_of_the_cosine_schedule_on_every_schedule(kind):
    """log-SNR of alpha_bar = cos^2(pi u / 2) with u uniform has the distribution function (2 / pi) arctan(exp(x / 2))."""
    alphas_cumprod = cumulative(betas(kind))
    made = dataclasses.replace(batches(global_batch=1000), edges=cosine_edges(alphas_cumprod))
    drawn = torch.tensor([made._timestep(i, word) for word in (0, 1 << 63, (1 << 64) - 1) for i in range(1000)])
    log_snr = torch.log(alphas_cumprod / (1 - alphas_cumprod))
    for x in (-6.0, -3.0, 0.0, 3.0, 6.0):
        expected = 2 / math.pi * math.atan(math.exp(x / 2))
        assert float((log_snr[drawn] < x).double().mean()) == pytest.approx(expected, abs=0.005)
    counts = torch.bincount(drawn, minlength=1000)
    assert counts.sum() == 3000
    spread = counts.double() / 3000
    assert float((spread - torch.from_numpy(np.diff(made.edges))).abs().max()) <= 1.5 / 1000
    if kind == "squaredcos_cap_v2":  # its own density, so the timesteps are nearly uniform
        assert int((counts[50:-50] - 3).abs().max()) <= 2


def test_a_density_of_timesteps_keeps_parts_of_a_batch_equal():
    made = dataclasses.replace(batches(), edges=cosine_edges(cumulative(betas())))
    assert torch.equal(torch.cat([made.rows(5, 0, 2).t, made.rows(5, 2, 4).t]), made.rows(5, 0, 6).t)


def test_noise_is_standard_normal():
    noise = torch.cat([batches().rows(step, 0, 6).noise for step in range(20)]).flatten()
    assert abs(float(noise.mean())) < 4 / math.sqrt(len(noise))
    assert abs(float(noise.var()) - 1) < 4 * math.sqrt(2 / len(noise))


def test_mirroring_and_crops_use_all_their_choices():
    made = batches(1, mirror=True, side=10, global_batch=200)
    rows = {row.numpy().tobytes() for row in made.rows(0, 0, 200).x0}
    assert len(rows) == 2 * 9  # 3 x 3 places, each mirrored or not


def test_shifts_use_all_their_places_and_repeat_the_edges():
    made = batches(1, shift=2, global_batch=400)
    padded = np.pad(made.pixels[0], ((2, 2), (2, 2), (0, 0)), "edge")
    places = {from_pixels(padded[None, y : y + 8, x : x + 8]).numpy().tobytes() for y in range(5) for x in range(5)}
    assert len(places) == 25
    assert {row[None].numpy().tobytes() for row in made.rows(0, 0, 400).x0} == places


@pytest.mark.parametrize(("side", "pictures", "pixels"), [(32, 52, 2), (64, 199, 4), (32, 200, 0)])
def test_only_a_small_set_is_shifted(side, pictures, pixels):
    assert shift_of(resolve({"data": "x"}), side, pictures) == pixels
    assert shift_of(Settings(data="x"), side, pictures) == 0  # as of a run that was begun before there were shifts


def test_ahead_gives_the_steps_in_order():
    ahead = BatchesAhead(lambda step: [batches().rows(step, 0, 2)], itertools.count(3), 3)
    assert [ahead.next()[0].step for _ in range(5)] == [3, 4, 5, 6, 7]
    ahead.close()


def test_keys_are_the_same_for_ever():
    """Values of NumPy 2.4, whose SeedSequence and Philox are guaranteed; another one would break every resumed run."""
    assert keyed_random.words(keyed_random.key(keyed_random.CHOICE, 1, 2), 3, 2).tolist() == KNOWN_WORDS
    assert keyed_random.permutation(6, 1, 2).tolist() == KNOWN_ORDER


KNOWN_WORDS = [10469127648661248174, 17287353439162147021]
KNOWN_ORDER = [2, 0, 4, 1, 3, 5]


# Loss.


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_the_target_is_what_the_sampler_reads_back(prediction_type):
    x0, noise, alpha_bar = toys.pictures(4), toys.pictures(4, seed=1), torch.tensor([0.01, 0.3, 0.7, 0.99], dtype=torch.float64)
    x_t = formulas.add_noise(x0, noise, alpha_bar)
    wanted = target(x0, noise, alpha_bar, prediction_type)
    back_x0, back_noise = formulas.denoise(wanted, x_t, alpha_bar, prediction_type)
    torch.testing.assert_close(back_x0, x0, rtol=0, atol=1e-12)
    torch.testing.assert_close(back_noise, noise, rtol=0, atol=1e-12)


def test_the_best_network_for_gaussian_data_has_the_loss_of_the_closed_form():
    """For x0 ~ N(0, s^2 I) the least mean squared error of eps is alpha_bar s^2 / (alpha_bar s^2 + 1 - alpha_bar)."""
    s, n = 0.5, 20_000
    t = torch.arange(n) % T
    alpha_bar = toys.LINEAR.alphas_cumprod[t].view(-1, 1, 1, 1)
    variance = alpha_bar * s**2 + 1 - alpha_bar

    def best(x, t):
        return (1 - alpha_bar).sqrt() * x / variance

    x0, noise = s * toys.pictures(n), toys.pictures(n, seed=1)
    rows = row_losses(best, x0, t, noise, toys.LINEAR).double()
    expected = (alpha_bar * s**2 / variance).flatten()
    assert abs(float((rows - expected).mean())) < 0.005


def test_min_snr_weights_errors_of_x0_alike_whatever_is_predicted():
    alpha_bar = torch.tensor([0.01, 0.3, 0.7, 0.99], dtype=torch.float64)
    snr = alpha_bar / (1 - alpha_bar)
    in_x0 = weight(alpha_bar, "sample", 5.0)
    torch.testing.assert_close(in_x0, snr.clamp(max=5))
    torch.testing.assert_close(weight(alpha_bar, "epsilon", 5.0) * snr, in_x0)
    torch.testing.assert_close(weight(alpha_bar, "v_prediction", 5.0) * (snr + 1), in_x0)


def test_the_loss_shown_is_not_weighted():
    x0, noise, t = toys.pictures(4).float(), toys.pictures(4, seed=1).float(), torch.tensor([10, 300, 600, 900])
    plain, shown = loss(toys.network, x0, t, noise, toys.LINEAR)
    weighted, shown_too = loss(toys.network, x0, t, noise, toys.LINEAR, min_snr=5.0)
    assert torch.equal(plain, shown)
    assert torch.equal(shown, shown_too)
    assert weighted != plain


def test_buckets_part_the_timesteps():
    t = torch.arange(1000)
    assert bucket_means(t.double(), t, 1000, 4) == [124.5, 374.5, 624.5, 874.5]


# Average, optimiser, learning rate, dropout.


def test_the_average_spans_a_tenth_of_a_short_run():
    average, current = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        average.weight.fill_(1.0)
        current.weight.fill_(0.0)
    for step in range(2000):
        loop.update_average(average, current, step, 0.9999)
    assert float(average.weight.detach()) < 1e-9  # the share of the start; with a fixed 0.9999 it would be 0.82
    assert loop.ema_decay(2000, 0.9999) == pytest.approx(2001 / 2010)
    assert loop.ema_decay(10**6, 0.9995) == 0.9995


@pytest.mark.parametrize(("name", "share"), [("short", 0.04), ("", 0.1), ("long", 0.26)])
def test_the_averages_span_different_parts_of_a_run(name, share):
    """The mean age of what is averaged, as a part of a run of 3000 steps."""
    average, current = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        for step in range(3000):
            current.weight.fill_(step + 1.0)
            loop.update_average(average, current, step, 0.9999, loop.EMA_LENGTHS[name])
    assert 1 - float(average.weight.detach()) / 3000 == pytest.approx(share, rel=0.2)


def test_the_learning_rate_rises_and_falls():
    settings = Settings(data="x", lr=1.0, warmup=4)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert set(rates[5:51]) == {1.0}
    assert rates[75] == 0.5
    assert rates[99] == pytest.approx(0.02)
    assert learning_rate(99, 100, Settings(data="x", lr=1.0, warmup=0, lr_decay="none")) == 1.0


def test_norms_and_biases_are_not_decayed_unless_asked():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))
    sizes = [(len(g["params"]), g["weight_decay"]) for g in make_optimizer(network, Settings(data="x")).param_groups]
    assert sizes == [(1, 0.01), (3, 0.0)]
    assert len(make_optimizer(network, Settings(data="x", decay_norms=True)).param_groups) == 1


def test_dropout_belongs_to_the_row_not_to_its_batch():
    rows = keyed_random.DropoutRows(seed=1, step=2)
    layer = keyed_random.KeyedDropout(0.3, 4, rows).train()
    x = torch.ones(6, 50, 10, 10)
    whole = layer(x)
    rows.first = 4
    assert torch.equal(layer(x[4:]), whole[4:])
    rows.first, rows.step = 0, 3
    assert not torch.equal(layer(x), whole)
    kept = float((whole > 0).double().mean())
    assert abs(kept - 0.7) < 4 * math.sqrt(0.21 / x.numel())
    assert float(whole.max()) == pytest.approx(1 / 0.7)
    assert torch.equal(layer.eval()(x), x)


def test_dropout_replaces_that_of_the_residual_blocks():
    from ddim_app.models.loading import build

    network = build({**read_preset("tiny-32")["unet"], "block_out_channels": [16, 16, 32], "attention_head_dim": 8}, 0)
    before = [name for name, _ in network.named_parameters()]
    keyed_random.install_dropout(network, 0.2, keyed_random.DropoutRows(0))
    keyed = [module for module in network.modules() if isinstance(module, keyed_random.KeyedDropout)]
    assert len({module.layer for module in keyed}) == len(keyed) > 5
    assert [name for name, _ in network.named_parameters()] == before


# What a run looks at.


def test_held_out_loss_is_the_same_at_every_call():
    def predict(x, t):
        return x * 0.5

    first = held_out(predict, drawings(7), toys.LINEAR, torch.device("cpu"), lambda: None, 100)
    assert first == held_out(predict, drawings(7), toys.LINEAR, torch.device("cpu"), lambda: None, 100)
    assert sum(first.buckets) / 10 == pytest.approx(first.loss)
    assert held_out(predict, drawings(0), toys.LINEAR, torch.device("cpu"), lambda: None, 100) is None


# Settings.


def test_presets_build_and_say_why():
    from ddim_app.models.loading import build

    assert presets() == ["cifar-32", "digits-32", "small-64", "tiny-32", "tiny-64"]
    for name in presets():
        with torch.device("meta"):
            build(read_preset(name)["unet"], 0)
        assert resolve({"data": "x", "preset": name}).steps >= 20_000


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "--data is needed"),
        (
            {"preset": "huge"},
            "--preset must be one of cifar-32, digits-32, small-64, tiny-32, tiny-64, or the path of such a .toml file; got 'huge'",
        ),
        ({"preset": "../../x"}, "--preset must be one of"),
        ({"batch_size": 0}, "--batch-size must be a whole number in 1..4096; got 0"),
        ({"lr": math.nan}, "--lr must be a number in 1e-08..1.0; got nan"),
        ({"steps": "many"}, "--steps must be a whole number in 1..10000000; got 'many'"),
        ({"crop": "left"}, "--crop must be one of center, random; got 'left'"),
        ({"background": "clear"}, "--background must be a colour such as white or #b6e3f4; got 'clear'"),
        ({"init": "x", "preset": "tiny-32"}, "--init (fine-tune) and --preset (from scratch) exclude each other"),
        ({"prediction": "epsilon"}, "--prediction and --beta-schedule come from the model that is fine-tuned"),
    ],
)
def test_settings_refuse_in_one_sentence(given, sentence):
    with pytest.raises(TrainError) as refused:
        resolve({"data": "x"} | given if given else {})
    assert str(refused.value).startswith(sentence)
