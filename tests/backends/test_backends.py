"""Every backend and number format passes the same tests; and whatever one of them cannot do, the next best goes on."""

import os
import re
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddim_app import backends
from ddim_app.backends import batch_invariance, mixture, openvino_backend, openvino_cache, switch
from ddim_app.diffusion import metrics
from ddim_app.engine import Engine
from ddim_app.engine.fidelity import fidelity
from ddim_app.errors import FieldError
from ddim_app.models import memory
from ddim_app.models.catalogue import ROOT
from ddim_app.models.loading import load
from ddim_app.runs.kinds import from_json
from ddim_app.runs.sampling import Arm, Recipe
from tests import toys

CPU = torch.device("cpu")
WITHOUT = "OpenVINO is not installed here"
needs_openvino = pytest.mark.skipif(not openvino_backend.is_here(), reason=WITHOUT)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
KINDS = [
    pytest.param("torch", "fp32", "cpu", id="torch-fp32"),
    pytest.param("torch", "bf16", "cpu", id="torch-bf16"),
    pytest.param("openvino", "fp32", "cpu", id="openvino-fp32", marks=needs_openvino),
    pytest.param("openvino", "bf16", "cpu", id="openvino-bf16", marks=needs_openvino),
    pytest.param("torch", "fp32", "cuda", id="cuda-fp32", marks=needs_gpu),
    pytest.param("torch", "bf16", "cuda", id="cuda-bf16", marks=needs_gpu),
    pytest.param("torch", "fp16", "cuda", id="cuda-fp16", marks=needs_gpu),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made(tiny_root, cache):
    """(backend, number format, device) -> (the tiny model, its predictor pinned to a bucket or not)."""
    model, converted = load(tiny_root / "tiny"), {}

    def predictor(backend, fmt, device, bucket=None):
        if backend == "torch":
            return model, backends.predictor(load(tiny_root / "tiny"), torch.device(device), fmt, bucket)
        if fmt not in converted:
            converted[fmt] = openvino_backend.ConvertedNetwork(model, fmt, openvino_cache.ConversionCache(cache))
        return model, converted[fmt].predictor(bucket)

    return predictor


@pytest.mark.parametrize(("backend", "fmt", "device"), KINDS)
def test_predictions_are_those_of_the_network_in_its_format(made, backend, fmt, device):
    model, predict = made(backend, fmt, device)
    t = torch.tensor([0, 300, 700, 998, 999])
    x = toys.pictures(5, model.shape)
    with torch.no_grad():
        expected = model.unet(x.float(), t).sample
    output = predict(x.to(device), t).cpu()
    apart = float((output - expected).abs().max() / expected.abs().max())
    assert (output.dtype, output.shape) == (torch.float32, (5, *model.shape))
    assert apart < (1e-5 if fmt == "fp32" else 0.05)
    assert torch.equal(output, predict(x.to(device), t).cpu())


@pytest.mark.parametrize(("backend", "fmt", "device"), KINDS)
def test_a_row_does_not_see_its_neighbours_in_a_bucket(made, backend, fmt, device):
    """Alone, among others and at another place; a call of more rows than the pinned bucket is cut."""
    model, predict = made(backend, fmt, device, 4)
    x, t = toys.pictures(6, model.shape).to(device), torch.arange(6) * 150
    together = predict(x, t)
    assert len(together) == 6
    for i in range(6):
        assert torch.equal(predict(x[i : i + 1], t[i : i + 1])[0], together[i])
    assert torch.equal(predict(x[[3, 2]], t[[3, 2]]), together[[3, 2]])


@pytest.mark.parametrize(("backend", "fmt", "device"), KINDS)
def test_pictures_are_near_those_of_fp32(made, backend, fmt, device):
    model, predict = made(backend, fmt, device)
    _, exact = made("torch", "fp32", "cpu")
    for arm in (Arm(steps=5), Arm(method="ddpm", steps=5)):
        near = fidelity(predict, exact, model, arm, range(4))
        assert near.worst <= near.median
        assert near.worst > (80 if fmt == "fp32" else 25)  # random weights amplify differences more than trained ones


def test_the_mixture_leaves_the_network_alone_and_rounds_all_but_what_it_names(tiny_root):
    unet = load(tiny_root / "tiny").unet
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    rounded = mixture.rounded(unet, torch.bfloat16)
    dtypes = {name: value.dtype for name, value in rounded.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())
    assert {dtypes["conv_in.layer.weight"], dtypes["conv_out.layer.weight"]} == {torch.float32}
    assert dtypes["time_embedding.linear_1.layer.weight"] == torch.float64
    assert dtypes["down_blocks.0.resnets.0.conv1.layer.weight"] == torch.bfloat16
    assert sum(dtype == torch.bfloat16 for dtype in dtypes.values()) > 20
    assert not any(isinstance(module, mixture.CastLayer) for module in unet.modules())


def test_bits_of_a_function_that_sees_its_neighbours_are_in_no_group():
    def predict_in(bucket):
        return lambda x, t: x + (x.mean() if bucket == 4 else 0)

    assert batch_invariance.invariant_buckets(predict_in, (1, 2, 2), 1000, CPU, 8) == [{1, 2, 8}]


@needs_openvino
def test_a_run_says_its_backend_and_is_made_again_by_it(tiny_root, cache):
    engine = Engine([tiny_root], allow_hub=False, device=CPU, backend="openvino", cache=cache)
    recipe = Recipe(arms=(Arm(steps=4), Arm(method="ddpm", steps=4)), model="tiny", pictures=2, seed=3)
    makers = {}
    for asked in (None, "torch"):
        finished = run(engine, recipe if asked is None else from_json(recipe.to_json()[:-1] + f',"backend":"{asked}"}}'))
        makers[finished.backend] = engine.final(finished)
        assert from_json(finished.to_json()) == finished
        assert finished.bucket == 4
        words = engine.made_with(engine.plan(finished))
        assert words == ("OpenVINO " if asked is None else "") + engine.number_format("fast")
    assert makers.keys() == {"openvino", "torch"}
    again = engine.final(run(engine, recipe))
    assert all(torch.equal(a, b) for a, b in zip(again, makers["openvino"], strict=True))
    assert metrics.psnr(makers["openvino"][0], makers["torch"][0]).min() > 20


def run(engine, recipe):
    """The recipe of a run's finished pictures."""
    ended, kept = threading.Event(), []

    def emit(item):
        if not isinstance(item, list):
            kept.append(item)
            ended.set()

    engine.start(engine.plan(recipe), emit)
    assert ended.wait(60)
    assert kept[0].error is None
    return kept[0].recipe


@needs_openvino
def test_auto_answers_with_torch_and_switches_when_the_other_is_faster(tiny_root, cache, monkeypatch):
    engine = Engine([tiny_root], allow_hub=False, device=CPU, backend="auto", cache=cache)
    monkeypatch.setattr("ddim_app.engine.backend_choice.IDLE_SECONDS", 0.01)
    gains = iter([0.9, 2.0])
    monkeypatch.setattr(switch, "measure", lambda *arguments: next(gains))
    recipe = Recipe(arms=(Arm(steps=2),), model="tiny")
    for expected in ("torch", "openvino"):
        engine._backends._switch.forget(set())
        engine._backends._begun.add(engine.model("tiny").sha256)
        assert run(engine, recipe).backend == "torch"
        engine._backends.improve(engine.model("tiny"))
        assert run(engine, recipe).backend == expected
        assert run(engine, Recipe(arms=recipe.arms, model="tiny", precision="fp32")).backend == "torch"
    words, reason = engine.served_by()
    assert words.startswith(f"CPU · OpenVINO {engine.number_format('fast')}")
    assert reason == f"OpenVINO is 2.00 times as fast as torch for tiny in {engine.number_format('fast')}"


def test_nothing_is_prepared_while_a_run_waits_for_its_model_to_be_measured(tiny_root, cache, monkeypatch):
    """Which would take the cores from the first run of a model that was just downloaded."""
    engine = Engine([tiny_root], allow_hub=False, device=CPU, backend="torch", cache=cache)
    monkeypatch.setattr("ddim_app.engine.backend_choice.IDLE_SECONDS", 0.01)
    went, began, measured = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(engine._backends, "check_buckets", lambda *_: went.set())
    errand = threading.Thread(target=engine.loop.call, args=(lambda: began.set() or measured.wait(60),))
    errand.start()
    assert began.wait(60)
    tuning = threading.Thread(target=engine._backends.improve, args=(engine.model("tiny"),))
    tuning.start()
    assert not went.wait(0.3)
    measured.set()
    assert went.wait(60)
    errand.join()
    tuning.join()


def failing_runtime():
    raise openvino_cache.UnavailableError("OpenVINO cannot be loaded (no such library)")


def failing_conversion(model, folder):
    raise ValueError("no rule\nfor aten::nothing")


@pytest.mark.parametrize(
    ("place", "fault", "sentence"),
    [
        ("runtime", failing_runtime, "OpenVINO is not installed"),
        ("_convert", failing_conversion, r"OpenVINO could not convert tiny \(for aten::nothing\), so torch goes on"),
        ("free_bytes", lambda device: 1000, r"OpenVINO needs about 0.0 GB for tiny, and 0.0 GB are free, so torch goes on"),
        ("FURTHEST", {"bf16": 0.0, "fp32": 0.0}, r"OpenVINO's tiny is [\d.]+ % from torch's, which is too far, so torch goes on"),
    ],
    ids=["missing", "conversion", "memory", "far"],
)
def test_what_openvino_cannot_do_is_a_sentence_and_torch_goes_on(tiny_root, tmp_path, monkeypatch, caplog, place, fault, sentence):
    if place != "runtime" and not openvino_backend.is_here():
        pytest.skip(WITHOUT)
    monkeypatch.setattr(openvino_backend, place, fault)
    engine = Engine([tiny_root], allow_hub=False, device=CPU, backend="openvino", cache=tmp_path)
    recipe = Recipe(arms=(Arm(steps=2),), model="tiny")
    finished = run(engine, recipe)
    assert finished.backend == "torch"
    assert torch.equal(engine.final(recipe)[0], Engine([tiny_root], device=CPU).final(recipe)[0])
    assert caplog.text.count("torch goes on") >= 1
    assert re.search(sentence, caplog.text)
    asked = engine.made_with(engine.plan(replace(recipe, backend="torch")), "openvino")  # as a recipe from elsewhere may
    assert re.search(r"^\w+, although the recipe names openvino: " + sentence, asked)


@needs_openvino
def test_a_cached_network_of_other_weights_is_never_used(tiny_root, tmp_path, caplog):
    """A folder under another's name, a changed file, an unfinished entry: each is said, and converted anew."""
    cache = openvino_cache.ConversionCache(tmp_path)
    toys.save_tiny(tmp_path / "models" / "other", seed=1)
    model, other = load(tiny_root / "tiny"), load(tmp_path / "models" / "other")
    x, t = toys.pictures(2, model.shape), torch.tensor([1, 900])
    expected = openvino_backend.ConvertedNetwork(model, "fp32", cache).predictor()(x, t)
    openvino_backend.ConvertedNetwork(other, "fp32", cache)
    version = openvino_backend.runtime().__version__
    mine, theirs = (tmp_path / cache.key(which, version) for which in (model, other))

    def steal():
        for name in ("model.xml", "model.bin", "about.json"):
            (mine / name).write_bytes((theirs / name).read_bytes())

    def change():
        content = bytearray((mine / "model.bin").read_bytes())
        content[100] ^= 255
        (mine / "model.bin").write_bytes(bytes(content))

    for fault, words in ((steal, "other weights"), (change, "have changed"), ((mine / "about.json").unlink, "about.json")):
        caplog.clear()
        fault()
        assert torch.equal(openvino_backend.ConvertedNetwork(model, "fp32", cache).predictor()(x, t), expected)
        assert words in caplog.text
    caplog.clear()
    openvino_backend.ConvertedNetwork(model, "fp32", cache)
    assert not caplog.text


def test_the_cache_is_bounded_and_survives_a_folder_that_cannot_be_written(tmp_path, caplog):
    cache = openvino_cache.ConversionCache(tmp_path / "cache", max_bytes=3000)

    def write(folder):
        for name in openvino_cache.FILES:
            (folder / name).write_bytes(b"x" * 500)

    for i, key in enumerate("abcd"):
        cache.store(key, write)
        os.utime(tmp_path / "cache" / key, (i, i))
    assert cache.find("a") is None
    assert cache.find("d") is not None
    assert sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file()) <= 3000
    (tmp_path / "file").write_text("")
    assert openvino_cache.ConversionCache(tmp_path / "file").store("a", write)[0].startswith("x")
    assert "could not be kept" in caplog.text


@needs_openvino
def test_nothing_reports_home():
    assert sys.modules["openvino_telemetry"] is None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Engine(backend="nope"), "backend must be one of torch, openvino, auto; got 'nope'"),
        (lambda: Recipe(arms=(Arm(),), backend="nope"), "backend must be one of torch, openvino; got 'nope'"),
        (lambda: Recipe(arms=(Arm(),), precision="int4"), "precision must be one of fast, fp32, fp64; got 'int4'"),
    ],
    ids=["engine", "recipe", "precision"],
)
def test_unknown_names_are_sentences(make, sentence):
    with pytest.raises(FieldError) as caught:
        make()
    assert str(caught.value) == sentence


def test_a_model_too_large_for_the_memory_is_a_sentence_and_the_next_run_works(tiny_root, monkeypatch):
    engine = Engine([tiny_root], allow_hub=False, device=CPU)
    recipe = Recipe(arms=(Arm(steps=2),), model="tiny")
    with monkeypatch.context() as patched:
        patched.setattr(memory, "free_bytes", lambda device: 100)
        with pytest.raises(FieldError, match="model is too large for this machine: tiny cannot evaluate one picture"):
            engine.final(recipe)
    assert len(engine.final(recipe)) == 1


def test_old_instruction_sets_draw_the_same_picture(tiny_root, tmp_path):
    """oneDNN's kernels for CPUs without AVX, in fp32, within one of 255 levels."""
    code = (
        "import sys, numpy; from pathlib import Path; from ddim_app.engine import Engine; from ddim_app.runs.sampling import *;"
        "run = Recipe(arms=(Arm(steps=4), Arm(method='ddpm', steps=4)), model='tiny', pictures=2, precision='fp32');"
        "numpy.save(sys.argv[2], numpy.stack([x.numpy() for x in Engine([Path(sys.argv[1])], allow_hub=False).final(run)]))"
    )
    sets = ("DEFAULT", "SSE41")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tiny_root), str(tmp_path / f"{name}.npy")],
            cwd=ROOT,
            env=os.environ | {"ONEDNN_MAX_CPU_ISA": name, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        )
        for name in sets
    ]
    assert [process.wait(300) for process in started] == [0, 0]
    expected, other = (np.load(tmp_path / f"{name}.npy") for name in sets)
    assert np.ptp(expected) > 0.5
    assert np.abs(other - expected).max() < 2 / 255


@needs_gpu
def test_a_captured_network_never_waits_for_the_device(made):
    model, predict = made("torch", "bf16", "cuda")
    x, t = toys.pictures(4, model.shape).float().cuda(), torch.arange(4) * 200
    predict(x, t)
    torch.cuda.set_sync_debug_mode("error")
    try:
        first = predict(x, t)
        second = predict(x.flip(0), t.flip(0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first, second.flip(0))
