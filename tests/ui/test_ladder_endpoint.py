"""The endpoint /ladder: pictures of both samplers at more and more steps, and their distances."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client
from gradio_client.exceptions import ValidationError
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.media.images import to_pixels
from ddim_app.runs.codecs import read_file
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.ui.compare import ladder_endpoint
from tests.wire import patient_client, served


@pytest.fixture(scope="module")
def engine(tiny_root: Path) -> Engine:
    return Engine([tiny_root], allow_hub=False)


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[Client]:
    with served(engine) as address:
        yield patient_client(address)


def test_rows_are_measured_to_their_own_last_pictures(client: Client, engine: Engine) -> None:
    gallery, told = client.predict(columns="5, 2", reference=12, seed=3, eta=0.5, precision="fp32", api_name="/ladder")
    assert told["columns"] == [2, 5, 12]
    assert [row["sampler"] for row in told["rows"]] == ["DDIM(η = 0.5)", "DDPM"]
    assert gallery[3]["caption"] == "DDPM, 2 steps, seed 3"
    arms = [Arm(steps=steps, eta=0.5) for steps in (2, 5, 12)] + [Arm(method="ddpm", steps=steps) for steps in (2, 5, 12)]
    drawn = [to_pixels(x)[0].astype(int) for x in engine.final(Recipe(arms=tuple(arms), model="tiny", seed=3, precision="fp32"))]
    assert all(np.array_equal(Image.open(item["image"]), picture) for item, picture in zip(gallery, drawn, strict=True))
    for row, pictures in zip(told["rows"], (drawn[:3], drawn[3:]), strict=True):
        apart = [np.sqrt(np.square(picture - pictures[-1]).mean()) for picture in pictures]
        assert row["rmse"] == pytest.approx(apart, abs=0.006)
        assert all(patch >= whole for patch, whole in zip(row["worst_patch"], row["rmse"], strict=True))
    assert len(read_file(Path(gallery[0]["image"]).read_bytes()).recipe.arms) == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"columns": "5, x"}, "columns cannot be read at character 4"),
        ({"columns": "5, 20", "reference": 10}, "reference must be a whole number from 20 to 1000; got 10"),
        ({"columns": "5", "reference": 1001}, "reference must be a whole number from 5 to 1000; got 1001"),
        ({"columns": "1:60:1"}, "columns may have at most 24 values"),
    ],
)
def test_wrong_values_are_one_sentence(client: Client, engine: Engine, given: dict[str, object], sentence: str) -> None:
    calls = engine.loop.calls
    with pytest.raises(ValidationError) as caught:
        client.predict(**given, api_name="/ladder")
    assert sentence in str(caught.value)
    assert engine.loop.calls == calls


@pytest.mark.parametrize(
    ("levels", "whole", "within"),
    [((40, 9, 4, 0), False, 20), ((40, 9, 6, 1, 0), False, None), ((40, 9, 6, 1, 0), True, 50), ((40, 0), True, None)],
)
def test_a_verdict_needs_a_reference_that_stands(levels: tuple[int, ...], whole: bool, within: int | None) -> None:
    columns = (5, 10, 20, 50, 100)[: len(levels)]
    pixels = [np.full((1, 8, 8, 3), 100 + level, np.uint8) for level in levels]
    row = ladder_endpoint._row([Arm(steps=steps) for steps in columns], pixels, whole)
    assert (row["rmse"], row["within_5_from"]) == ([float(level) for level in levels], within)
