"""What the page's API says and does when something breaks, or somebody leaves, on tiny random models."""

import itertools
import json
import shutil
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from gradio_client.exceptions import AppError, ValidationError

from ddim_app import backends
from ddim_app.engine import Engine
from ddim_app.models.loading import ModelError
from ddim_app.models.model_files import WEIGHTS
from ddim_app.ui import build_ui
from ddim_app.ui.compare import endpoint
from ddim_app.ui.hosting.gradio_patches import FAILED
from tests import toys
from tests.server import call, named
from tests.wire import Brake, calls_after, patient_client, served, wait_for


def truncated(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:2000])


def pickled(folder: Path) -> None:
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")


def other_class(folder: Path) -> None:
    edit(folder, lambda config: config | {"_class_name": "UNet2DConditionModel"})


def unknown_key(folder: Path) -> None:
    edit(folder, lambda config: config | {"temperature": 2})


def edit(folder: Path, change: Any) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncated, "model bad: diffusion_pytorch_model.safetensors cannot be read or does not fit its config.json"),
        (pickled, "model bad: diffusion_pytorch_model.bin is a pickle, and is not opened: it is in the format of before torch 1.6"),
        (other_class, "model bad: config.json must describe a UNet2DModel; got UNet2DConditionModel"),
        (unknown_key, "model bad: config.json has unknown keys (temperature)"),
        (shutil.rmtree, "model must be one of the models here (good)"),
    ],
)
def test_a_model_folder_that_cannot_be_used_is_said_and_the_next_request_works(tmp_path: Path, damage: Any, sentence: str) -> None:
    toys.save_tiny(tmp_path / "good")
    damage(toys.save_tiny(tmp_path / "bad"))
    with served(Engine([tmp_path], allow_hub=False)) as address:
        client = patient_client(address)
        with pytest.raises(ValidationError) as caught:
            client.predict(model="bad", api_name="/compare")
        assert f"- model: {sentence}" in str(caught.value)
        assert client.predict(model="good", steps=2, api_name="/generate")[1]["nfe"] == [2]


def test_a_model_that_is_loading_does_not_stop_the_server(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine([tiny_root])
    release = threading.Event()

    def stuck(name: str, notify: Any) -> Any:
        notify("Downloading somebody/slow")
        release.wait(60)
        raise ModelError("model somebody/slow: there is no such public model")

    with served(engine) as address:
        client = patient_client(address)
        client.predict(steps=2, api_name="/generate")
        monkeypatch.setattr(engine.catalogue, "load", stuck)
        job = client.submit(model="somebody/slow", api_name="/generate")
        assert client.predict(steps=3, api_name="/generate")[1]["nfe"] == [3]
        release.set()
        with pytest.raises(AppError, match="there is no such public model"):
            job.result()


def test_a_page_over_an_engine_without_a_thread_works(tiny_root: Path) -> None:
    with served(Engine([tiny_root], threaded=False)) as address:
        assert patient_client(address).predict(steps=3, api_name="/compare")[2]["nfe"] == [3, 3]


def test_a_model_that_breaks_is_an_error_for_the_caller_and_the_next_request_works(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "predictor", broken_at_call(3))  # the engine's own two calls measure memory
    with served(Engine([tiny_root])) as address:
        client = patient_client(address)
        with pytest.raises(AppError, match="The network could not be evaluated: no luck"):
            client.predict(steps=2, api_name="/generate")
        assert client.predict(steps=2, api_name="/generate")[1]["nfe"] == [2]


def test_a_run_that_fails_unforeseen_is_told_in_a_sentence(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("can't start new thread")

    with served(Engine([tiny_root])) as address:
        with monkeypatch.context() as patch:
            patch.setattr(endpoint, "keep_picture", broken)
            status, (name, data) = call(address, "generate", named(address, "generate", steps=2), 120)
        assert (status, name, data["error"]) == (200, "error", FAILED)
        assert call(address, "generate", named(address, "generate", steps=2), 120)[1][0] == "complete"


def broken_at_call(number: int) -> Any:
    real, calls = backends.predictor, itertools.count(1)

    def predictor(*arguments: Any) -> Any:
        predict = real(*arguments)

        def call(x: Any, t: Any) -> Any:
            if next(calls) == number:
                raise RuntimeError("no luck")
            return predict(x, t)

        return call

    return predictor


@pytest.fixture
def slow_engine(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(backends, "predictor", Brake(0.3))
    return Engine([tiny_root])


def test_a_cancelled_job_costs_at_most_one_more_network_call(slow_engine: Engine) -> None:
    with served(slow_engine) as address:
        job = patient_client(address).submit(steps=400, api_name="/compare")
        wait_for(lambda: slow_engine.loop.calls >= 3)
        job.cancel()
        assert calls_after(slow_engine, 0.7) <= 2  # the one under way, and one more


def test_a_dropped_stream_costs_at_most_one_more_network_call(slow_engine: Engine) -> None:
    with served(slow_engine) as address:
        body = json.dumps({"data": ["tiny", 400, 0, 7, 1, 0, "trailing", "small", "clip", "fast", "", 0, "", 0, "", 1]}).encode()
        request = urllib.request.Request(f"{address}/gradio_api/call/compare", body, {"Content-Type": "application/json"})
        event = json.load(urllib.request.urlopen(request))["event_id"]
        with urllib.request.urlopen(f"{address}/gradio_api/call/compare/{event}") as stream:
            wait_for(lambda: slow_engine.loop.calls >= 3)
            stream.readline()
        assert calls_after(slow_engine, 0.7) <= 2


def test_no_line_of_costs_downloads_a_model(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are looked at while they are typed, and on every tab; what they name is had when Run is pressed."""
    engine, loaded = Engine([tiny_root]), list[str]()
    demo = build_ui(engine)
    monkeypatch.setattr(engine.catalogue, "load", lambda name, notify=None: loaded.append(name))
    said = []
    for fn in demo.fns.values():
        if fn.name in ("say", "cost_line", "_cost_line") and any(block.label == "Model" for block in fn.inputs):
            values = ["somebody/faces" if block.label == "Model" else block.value for block in fn.inputs]
            said.append(fn.fn(*values))
    here_first = {"wrong": {"model": "Model must be here already: run it once in Compare, which downloads it"}}
    # Compare, the matrix and Interpolate; Invert, which cuts pictures to the model's size; Learn, which costs nothing by itself.
    assert said == ["This model is downloaded when you run it."] * 3 + [here_first, ""]
    assert loaded == []
