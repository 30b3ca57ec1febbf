"""What holds on a GPU: the numbers of a CPU, bits that do not depend on neighbours, no waiting, and calls that fit.

`tests/gpu/run.sh` runs them first. Where there is no GPU they compare the CPU with itself, so that they are known to work.
"""

import contextlib
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ddim_app import backends
from ddim_app.backends import eager, host_copy
from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.output_check import peaks
from ddim_app.diffusion.sampler import Row, advance, answer, sample
from ddim_app.engine import Engine, batch_loop, tickets
from ddim_app.engine.fidelity import fidelity
from ddim_app.models.loading import load
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import contenders, sharing
from tests import toys
from tests.golden import make, measure, recipes

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]
BUNDLED = "avatars-32"
FORMATS = ("fp32", "bf16", "fp16")


def formats(device):
    return FORMATS if device.type == "cuda" else FORMATS[:2]


@pytest.fixture(scope="module")
def model():
    return load(ROOT / "weights" / BUNDLED)


@pytest.fixture(scope="module")
def engine(device):
    return Engine(device=device, allow_hub=False)


def rows(model, count, seed=0):
    return toys.pictures(count, model.shape, seed).float(), torch.arange(count) * 37 % 1000


def test_fp32_is_that_of_the_cpu(model, device, tell):
    """No TF32: 3e-3 would be its mark."""
    x, t = rows(model, 12)
    with torch.inference_mode():
        expected = model.unet(x, t, return_dict=False)[0].clone()
    output = backends.predictor(load(ROOT / "weights" / BUNDLED), device, "fp32")(x.to(device), t).cpu()
    apart = float((output - expected).abs().max())
    tell(f"largest difference of an output to the CPU's: {apart:.2e}")
    assert apart < 1e-4


def test_fp32_pictures_are_those_of_the_cpu(engine, tell):
    recipe = Recipe(arms=(Arm(steps=20), Arm(method="ddpm", steps=20)), model=BUNDLED, pictures=4, precision="fp32", seed=3)
    here, there = engine.final(recipe), Engine(device=CPU, allow_hub=False).final(recipe)
    apart = max(float((a - b).abs().max()) for a, b in zip(here, there, strict=True)) * 127.5
    tell(f"largest difference of a pixel after 20 steps: {apart:.4f} of 255")
    assert apart < 1


def test_sixteen_bits_are_near_fp32(model, device, tell):
    seeds = range(64 if device.type == "cuda" else 2)
    exact = backends.predictor(load(ROOT / "weights" / BUNDLED), device, "fp32")
    for fmt in formats(device)[1:]:
        predict = backends.predictor(load(ROOT / "weights" / BUNDLED), device, fmt)
        for arm in (Arm(steps=25), Arm(method="ddpm", steps=25)):
            near = fidelity(on(device, predict), on(device, exact), model, arm, seeds)
            tell(f"{fmt} {arm.method}: median {near.median:.1f} dB, worst {near.worst:.1f} dB of {near.pictures}")
            assert near.median > 38


def on(device, predict):
    return lambda x, t: predict(x.to(device), t).cpu()


def test_a_row_has_its_bits_in_every_bucket_and_mixture(device, tell):
    """At any place, whatever its neighbours and their timesteps are."""
    model = load(ROOT / "weights" / BUNDLED)
    x, t = rows(model, 256)
    others = toys.pictures(256, model.shape, 9).float()
    for fmt in formats(device):
        groups: dict[bytes, list[int]] = {}
        for bucket in BUCKETS if device.type == "cuda" else BUCKETS[2:4]:
            predict = backends.predictor(model, device, fmt, bucket)
            among = predict(x[:bucket].to(device), t[:bucket])
            groups.setdefault(among[:1].cpu().numpy().tobytes(), []).append(bucket)
            assert torch.equal(among, predict(x[:bucket].to(device), t[:bucket])), (fmt, bucket, "again")
            for place in {0, bucket // 2, bucket - 1}:
                mixed, times = others[:bucket].clone(), t[:bucket].flip(0).clone()
                mixed[place], times[place] = x[0], t[0]
                same = torch.equal(predict(mixed.to(device), times)[place], among[0])
                if not same and fmt == "fp16" and device.type == "cuda":
                    tell(f"fp16: a row at place {place} of {bucket} has other bits than at the first")
                else:  # the formats that this device serves
                    assert same, (fmt, bucket, place)
        tell(f"{fmt}: buckets with equal bits {list(groups.values())}")


def test_a_run_has_its_bits_whoever_shares_its_calls(engine):
    """Eight runs of different lengths at once, each again alone in the bucket that it was made in."""
    wanted = [Recipe(arms=(Arm(steps=5 + i, eta=i / 8),), model=BUNDLED, seed=i, bucket=8) for i in range(8)]
    alone = [engine.final(recipe)[0] for recipe in wanted]
    _, shared = sharing.served(engine, [replace(recipe, bucket=None) for recipe in wanted])
    for a, b in zip(alone, shared, strict=True):
        assert float((a - b.picture).abs().max()) * 127.5 < 8  # of 16 bits; to the bit only within one bucket


@contextlib.contextmanager
def no_waiting(device):
    """In it, whatever makes the host wait for the GPU is an error."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_step_of_many_rows_never_waits(model, device, prediction_type):
    """The network call, the transitions of rows with noise and clip rules of their own, and the start of the copy."""
    predict = backends.predictor(load(ROOT / "weights" / BUNDLED), device, "fp32")
    levels = toys.LINEAR.levels(20)
    kinds = [{}, {"eta": 1.0}, {"eta": 1.0, "variance": "large"}, {"clip": "clip"}, {"clip": "clip", "eta": 0.5}]
    kinds = [
        Row(levels[i % 3 :], prediction_type=prediction_type, draw=toys.keyed_draw(i, model.shape), **kinds[i % 5])
        for i in range(8)
    ]
    x = toys.pictures(8, model.shape).float().to(device)
    process = sample(x, kinds)
    query = next(process)
    predict(query.x_t, torch.tensor(query.t))  # captures the graph
    with no_waiting(device):
        for _ in range(19):
            output = predict(query.x_t, torch.tensor(query.t))
            largest = host_copy.begin([peaks(output)])
            moved = answer(query, output)
            copy = host_copy.begin(moved[:3])
            process.send(moved)
            query = next(process)
    if copy is not None and largest is not None:
        assert torch.equal(largest()[0], peaks(output).cpu())
        assert all(torch.equal(a, b.cpu()) for a, b in zip(copy(), moved[:3], strict=True))


def test_a_run_waits_at_most_once_a_step(engine, device):
    """Counted by torch, which warns at every wait; the wait for the copy of the frame is an event's, and is not in it."""
    recipe = Recipe(arms=(Arm(steps=30), Arm(method="ddpm", steps=30)), model=BUNDLED, pictures=2)
    engine.final(recipe)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            engine.final(recipe)
        finally:
            if device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    waits = [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]
    assert len(waits) <= 2, waits  # where x_T goes over


def test_out_of_memory_halves_the_bucket_and_the_run_goes_on(device):
    """For real on a GPU: this process may have so little of it that 256 rows of CIFAR's shape do not fit."""
    model = contenders.cifar()
    predict = eager.predictor(model, device, "fp32")
    if device.type == "cuda":
        predict(torch.zeros(1, *model.shape, device=device), torch.zeros(1, dtype=torch.int64))
        torch.cuda.empty_cache()
        taken, total = torch.cuda.memory_reserved(device), torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction((taken + 1.5e9) / total)
        count, calls = 256, predict
    else:
        count = 8

        def calls(x, t):
            if len(t) > 4:
                raise torch.OutOfMemoryError("out of memory")
            return toys.network(x, t)

    batch = batch_loop.BatchLoop()
    ended, items = threading.Event(), []
    x = toys.pictures(count, model.shape).float().to(device)
    process = sample(x, [Row(toys.LINEAR.levels(3))] * count)
    try:
        batch.join(
            process, [tickets.Evaluator(calls)], lambda item: (items.append(item), isinstance(item, tickets.End) and ended.set())
        )
        assert ended.wait(120)
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
        batch.close()
    assert items[-1].error is None
    assert max(items[-1].sizes) < count


def test_stop_costs_no_further_call(engine):
    planned = engine.plan(Recipe(arms=(Arm(steps=1000),), model=BUNDLED))
    first = threading.Event()
    ticket = engine.start(planned, lambda item: first.set())
    assert first.wait(120)
    engine.stop(ticket)
    calls = engine.loop.calls
    engine.final(Recipe(arms=(Arm(steps=2),), model=BUNDLED))
    assert engine.loop.calls <= calls + 3


@pytest.mark.parametrize("name", [name for name, recipe in recipes.RECIPES.items() if recipe.precision != "fast"])
def test_every_kind_of_run_makes_what_a_cpu_makes(name, golden_engine, tell):
    """Inversions and likelihoods included; noise is drawn on the CPU, so only the network's last bits differ."""
    with np.load(make.ARRAYS) as file:
        then = {key: array for key, array in file.items() if key.startswith(f"{name}: ")}
    now = make.kept(name, measure.events(golden_engine, name))
    assert now.keys() == then.keys()
    for key, array in now.items():
        apart = np.abs(array.astype(float) - then[key])
        tell(f"{key}: {apart.max():.4g}")
        if key.endswith(": terms"):
            assert np.allclose(array, then[key], rtol=0.02, atol=2e-3)
        else:
            assert np.sqrt((apart**2).mean()) <= 1, key


@pytest.fixture(scope="module")
def golden_engine(device, tmp_path_factory):
    return Engine(recipes.make_models(tmp_path_factory.mktemp("golden")), device=device, allow_hub=False)


def test_rows_of_many_runs_are_advanced_as_each_alone(device):
    """Rows with noise, clip rules and levels of their own, in one transition and in one each."""
    levels, shape = toys.LINEAR.levels(10), (3, 8, 8)
    kinds = [
        Row(levels[i % 4 :], eta=i % 3 / 2, clip=("off", "clip", "dynamic")[i % 3], draw=toys.keyed_draw(i, shape))
        for i in range(9)
    ]
    x = toys.pictures(9, shape).float().to(device)
    moves = [next(sample(x[i : i + 1], [row])).moves[0] for i, row in enumerate(kinds)]
    output = torch.randn(9, *shape, generator=torch.Generator().manual_seed(1)).to(device)
    whole = advance(x, output, moves)
    for i in range(9):
        part = advance(x[i : i + 1], output[i : i + 1], moves[i : i + 1])
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(whole[:3], part[:3], strict=True))


@pytest.mark.parametrize("count", [1, 5])
def test_rows_have_their_own_classes(device, tmp_path, count):
    model = load(toys.save_tiny(tmp_path / "ten", num_class_embeds=10))
    x, t = rows(model, count)
    y = torch.arange(count) + 3
    with torch.inference_mode():
        expected, other = (model.unet(x, t, labels).sample.clone() for labels in (y, y + 1))
    predict = backends.predictor(model, device, "fp32")
    for _ in range(2):  # where the call is captured, the second is replayed
        torch.testing.assert_close(predict(x.to(device), t, y).cpu(), expected, rtol=0, atol=1e-4)
    assert (expected - other).abs().max() > 1e-2
