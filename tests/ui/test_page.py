"""The page's wiring and its API, through the real wire, on a tiny random model."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError, ValidationError
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.ui import build_ui
from tests.wire import patient_client, served


@pytest.fixture(scope="module")
def engine(tiny_root: Path) -> Engine:
    return Engine([tiny_root])


@pytest.fixture(scope="module")
def url(engine: Engine) -> Iterator[str]:
    with served(engine) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return patient_client(url, download_files=tmp_path_factory.mktemp("downloads"))


def pixels(gallery: list[dict[str, Any]]) -> list[np.ndarray]:
    return [np.asarray(Image.open(entry["image"])) for entry in gallery]


def test_every_event_that_computes_is_in_the_device_group_and_only_endpoints_are_public(engine: Engine) -> None:
    functions = build_ui(engine).fns.values()
    computing = [fn for fn in functions if fn.validator is not None]
    assert {fn.concurrency_id for fn in computing} == {"device"}
    endpoints = ["compare", "generate", "ladder", "invert", "likelihood", "interpolate"]
    assert [fn.api_name for fn in functions if fn.api_visibility == "public"] == endpoints
    assert len(computing) > 5 + len(endpoints)  # five tabs, what starts by one button, and the endpoints


def test_the_api_names_its_parameters_as_the_recipe_does(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    shared = ["model", "steps", "eta", "seed", "pictures"]
    classes = ["class_label", "guidance"]
    ending = ["spacing", "variance", "clip", "precision", "noise_seed", "branch"]
    names = {name: [p["parameter_name"] for p in endpoint["parameters"]] for name, endpoint in named.items()}
    assert names == {
        "/compare": [*shared, "ddpm_steps", *ending, "second_model", "bucket", *classes],
        "/generate": ["method", *shared, *ending, "bucket", "timesteps", *classes],
        "/ladder": ["model", "eta", "seed", *ending, "columns", "reference", *classes],
        "/interpolate": [
            *shared[:-1], "ddpm_steps", *ending, "mode", "seeds", "noise", "method", "way", "frames", "start", "stop", "rows",
            "columns", "strength", "level", "table", "q_noise", "bucket", "end_a", "end_b", "end_c", "end_d", "file_kind",
            *classes,
        ],
        "/invert": [
            "picture", "method", "strength", "decode_steps", "evaluations", "clamped", "model", "steps", "eta", "seed", "spacing",
            "noise_seed", "precision", "second_model", "class_label",
        ],
        "/likelihood": ["picture", "model", "mode", "evaluations", "draws", "seed", "clip", "precision", "class_label"],
    }  # fmt: skip
    assert all(endpoint["description"] for endpoint in named.values())


def test_compare_gives_the_same_pixels_twice_and_two_different_arms(client: Client) -> None:
    first = client.predict(steps=4, seed=3, pictures=2, api_name="/compare")
    again = client.predict(steps=4, seed=3, pictures=2, api_name="/compare")
    assert all((a == b).all() for a, b in zip(pixels(first[0] + first[1]), pixels(again[0] + again[1]), strict=True))
    assert any((a != b).any() for a, b in zip(pixels(first[0]), pixels(first[1]), strict=True))
    assert [entry["caption"] for entry in first[1]] == ["DDPM, seed 3", "DDPM, seed 4"]
    assert first[2]["nfe"] == [4, 4]


def test_ddim_at_eta_1_is_ddpm(client: Client) -> None:
    ddim, ddpm, summary = client.predict(steps=5, eta=1, api_name="/compare")
    assert all((a == b).all() for a, b in zip(pixels(ddim), pixels(ddpm), strict=True))
    assert summary["scores"]["psnr"] == [None] * 4  # infinite: equal


def test_a_picture_carries_its_recipe(client: Client) -> None:
    gallery, summary = client.predict(method="ddpm", steps=3, seed=2**32 - 1, pictures=2, api_name="/generate")
    assert [entry["caption"] for entry in gallery] == ["DDPM, seed 4294967295", "DDPM, seed 0"]
    assert json.loads(Image.open(gallery[0]["image"]).text["ddim_recipe"]) == summary["recipe"]


def test_ddpm_may_have_its_own_steps_and_generate_its_own_timesteps(client: Client) -> None:
    assert client.predict(steps=2, ddpm_steps=7, api_name="/compare")[2]["nfe"] == [2, 7]
    summary = client.predict(timesteps="0 500, 999", api_name="/generate")[1]
    assert (summary["nfe"], summary["first_timestep"]) == ([3], [999])


def test_a_finished_recipe_names_weights_and_bucket_and_makes_the_same_pixels(client: Client, engine: Engine) -> None:
    first, summary = client.predict(method="ddpm", steps=4, pictures=3, precision="fp32", api_name="/generate")
    recipe = summary["recipe"]
    assert (recipe["bucket"], recipe["weights"]) == (4, engine.model("tiny").sha256)
    again = client.predict(method="ddpm", steps=4, pictures=3, precision="fp32", bucket=recipe["bucket"], api_name="/generate")[0]
    assert all((a == b).all() for a, b in zip(pixels(first), pixels(again), strict=True))


WRONG: list[tuple[str, Any, str]] = [
    ("steps", 0, "steps must be a whole number from 1 to 1000; got 0"),
    ("steps", 1001, "steps must be a whole number from 1 to 1000; got 1001"),
    ("steps", 3.7, "steps must be a whole number from 1 to 1000; got 3.7"),
    ("steps", True, "steps must be a whole number from 1 to 1000; got True"),
    ("steps", "x", "steps must be a whole number from 1 to 1000; got 'x'"),
    ("steps", None, "steps must be a whole number from 1 to 1000; got nothing"),
    ("steps", [5], "steps must be a whole number from 1 to 1000; got [5]"),
    ("eta", -0.1, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got -0.1"),
    ("eta", 2.1, "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got 2.1"),
    ("eta", "0.5", "eta must be a number from 0 to 2 (0 is DDIM, 1 has DDPM's variance); got '0.5'"),
    ("seed", -1, "seed must be a whole number from 0 to 4294967295; got -1"),
    ("seed", 2**60, "seed must be a whole number from 0 to 4294967295; got 1152921504606846976"),
    ("seed", "seven", "seed must be a whole number from 0 to 4294967295; got 'seven'"),
    ("pictures", 0, "pictures must be a whole number from 1 to 16; got 0"),
    ("pictures", 10_000, "pictures must be a whole number from 1 to 16; got 10000"),
    ("ddpm_steps", -3, "ddpm_steps must be a whole number from 0 to 1000; got -3"),
    ("spacing", "even", "spacing must be one of leading, trailing, linspace, quadratic, quadratic-paper, log-snr; got 'even'"),
    ("variance", 3, "variance must be one of small, large, learned, analytic; got 3"),
    ("clip", "hard", "clip must be one of clip, off, dynamic; got 'hard'"),
    ("precision", "bf16", "precision must be one of fast, fp32, fp64; got 'bf16'"),
    ("noise_seed", "-1", "noise_seed must be a whole number from 0 to 4294967295; got '-1'"),
    ("branch", 0.5, "branch must be a whole number from 0 to 4294967295; got 0.5"),
    ("model", "no-such", "model must be one of the models here (tiny)"),
    ("model", "../tiny", "model must be one of the models here (tiny)"),
    ("bucket", 5, "bucket must be one of 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256; got 5"),
    ("model", 7, "model must be the name of a model; got 7"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), WRONG)
def test_a_wrong_value_gets_one_sentence_on_its_field_and_nothing_is_computed(
    client: Client, engine: Engine, field: str, value: Any, sentence: str
) -> None:
    calls = engine.loop.calls
    with pytest.raises(ValidationError) as caught:
        client.predict(**{field: value}, api_name="/compare")
    assert f"- {field}: {sentence}" in str(caught.value)
    assert engine.loop.calls == calls


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("method", "ddpmm", "method must be one of ddim, ddpm, 2m; got 'ddpmm'"),
        ("timesteps", "5, x", "timesteps must be a whole number from 0 to 999; got 'x'"),
        ("timesteps", "7, 7", "timesteps must not name a timestep twice; got [7, 7]"),
        ("timesteps", 7, "timesteps must be a list of whole numbers such as 999, 500, 0; got 7"),
        ("steps", {"a": 1}, "steps must be a whole number from 1 to 1000; got {'a': 1}"),
        ("pictures", 17, "pictures must be a whole number from 1 to 16; got 17"),
    ],
)
def test_generate_refuses_in_the_same_way(client: Client, engine: Engine, field: str, value: Any, sentence: str) -> None:
    calls = engine.loop.calls
    with pytest.raises(ValidationError) as caught:
        client.predict(**{field: value}, api_name="/generate")
    assert f"- {field}: {sentence}" in str(caught.value)
    assert engine.loop.calls == calls


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_json_does_not_know_are_refused(url: str, engine: Engine, number: str) -> None:
    calls = engine.loop.calls
    for position in (1, 2, 3):  # steps, eta, seed
        values = ['"tiny"', "5", "0", "7", "1", "0", '"trailing"', '"small"', '"clip"', '"fast"', '""', "0", '""', "0", '""', "1"]
        values[position] = number
        body = '{"data": [' + ", ".join(values) + "]}"
        request = urllib.request.Request(f"{url}/gradio_api/call/compare", body.encode(), {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert caught.value.code == 422
        assert b"must be a" in caught.value.read()
    assert engine.loop.calls == calls


def test_a_run_over_the_hosts_cap_is_refused_with_its_cost(tiny_root: Path) -> None:
    engine = Engine([tiny_root], max_evaluations=100)
    with served(engine) as address:
        client = patient_client(address)
        with pytest.raises(ValidationError, match="at most 100 evaluations on this host, and this run needs 160"):
            client.predict(steps=20, pictures=4, api_name="/compare")
        assert client.predict(steps=5, pictures=1, api_name="/compare")[2]["nfe"] == [5, 5]


def test_the_queue_cannot_be_passed_by(url: str) -> None:
    body = json.dumps({"data": ["tiny", 5, 0, 7, 1, 0, "trailing", "small", "clip", "fast", "", 0, 0]}).encode()
    request = urllib.request.Request(f"{url}/gradio_api/run/compare", body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(request)


def test_a_second_model_is_drawn_beside_the_first(client: Client) -> None:
    ddim, ddpm, summary = client.predict(steps=3, pictures=2, second_model="tiny", api_name="/compare")
    assert [len(ddim), len(ddpm), summary["nfe"]] == [4, 4, [3, 3, 3, 3]]
    assert [entry["caption"] for entry in ddim] == [f"DDIM(η = 0){name}, seed {seed}" for name in ("", ", tiny") for seed in (7, 8)]
    drawn = pixels(ddim)
    assert all((a == b).all() for a, b in zip(drawn[:2], drawn[2:], strict=True))  # here it is the same model
    assert [arm.get("weights") for arm in summary["recipe"]["arms"]] == [None, None, *[summary["recipe"]["weights"]] * 2]


def test_a_second_model_that_is_not_there_is_said(client: Client) -> None:
    with pytest.raises((ValidationError, AppError), match="nobody"):
        client.predict(second_model="nobody", api_name="/compare")
