"""The benchmark on a tiny network: everybody is in the table, and the fits are fits."""

import json
from pathlib import Path

import pytest
import torch

from ddim_app.backends import openvino_backend
from ddim_app.engine import Engine
from ddim_app.studies import contenders, sampling_benchmark


@pytest.fixture(scope="module")
def engine(tiny_root, tmp_path_factory) -> Engine:
    return Engine([tiny_root], allow_hub=False, device=torch.device("cpu"), cache=tmp_path_factory.mktemp("cache"))


def test_everybody_draws_in_turns_and_the_table_says_how_fast(engine, capsys):
    model, plan = engine.model("tiny"), sampling_benchmark.BenchmarkPlan(repeats=1, pictures=(2,), steps=(2,))
    (row,) = sampling_benchmark.rows(engine, model, plan)
    fast = engine.number_format("fast")
    backends = ["torch", "openvino"] if openvino_backend.is_here() else ["torch"]
    expected = {f"bare UNet {fmt}" for fmt in ("fp32", fast)} | {f"engine {b} {fmt}" for b in backends for fmt in ("fp32", fast)}
    assert expected | {"DDIMPipeline fp32", "DDPMPipeline fp32"} <= row["seconds"].keys()
    for figures in row["seconds"].values():
        assert 0 < figures["low"] <= figures["median"] <= figures["high"]
        assert figures["evaluations per second"] == pytest.approx(2 * 2 / figures["median"])
    assert f"engine torch {fast}" in capsys.readouterr().out
    json.dumps(row)


def test_repeats_take_turns_after_an_untimed_round():
    calls = []
    timings = contenders.interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, 2)
    assert "".join(calls) == "ababab"
    assert timings.keys() == {"a", "b"}


def test_growth_is_a_line_and_the_knee_is_the_fewest_rows_near_the_best(engine, monkeypatch):
    seconds = {5: 12, 10: 22, 20: 42, 40: 82}
    with monkeypatch.context() as patched:
        patched.setattr(sampling_benchmark, "interleaved", lambda rivals, n: {S: contenders.spread([seconds[S]]) for S in rivals})
        figures = sampling_benchmark.growth(engine, engine.model("tiny"), 1)
    assert figures == {"seconds per step": pytest.approx(2), "intercept in steps": pytest.approx(1)}
    model = engine.model("tiny")
    found = sampling_benchmark.knee(engine, model, 1)
    assert found["knee"] in found["milliseconds per row"]
    assert min(found["milliseconds per row"]) == 1


def test_the_network_of_cifars_shape_is_the_published_one():
    assert contenders.cifar().parameters == 35_746_307


def test_what_tracing_gains_is_measured(engine):
    gains = engine.loop.call(contenders.traced_gain, engine.model("tiny"), engine.device, ["fp32", "bf16"], 1)
    assert gains.keys() == {"fp32", "bf16"}
    assert min(gains.values()) > 0


def test_quick_measures_less(tmp_path: Path):
    plan = sampling_benchmark.BenchmarkPlan(quick=True)
    assert (plan.repeats, plan.pictures, plan.steps) == (3, (1, 4), (10,))
