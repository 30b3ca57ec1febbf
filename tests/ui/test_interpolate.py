"""/interpolate through the real wire, on a tiny random model: frames, files, ends from files, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import ValidationError
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.media.animation import text_inside
from ddim_app.runs import latent_files
from ddim_app.runs.interpolation import PathRecipe
from ddim_app.runs.kinds import from_json
from tests.wire import patient_client, served


@pytest.fixture(scope="module")
def engine(tiny_root: Path) -> Engine:
    return Engine([tiny_root], allow_hub=False)


@pytest.fixture(scope="module")
def client(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(engine) as url:
        yield patient_client(url, download_files=tmp_path_factory.mktemp("downloads"))


def interpolate(client: Client, **asked: Any) -> tuple[list[np.ndarray], Any, dict[str, Any]]:
    gallery, file, summary = client.predict(api_name="/interpolate", **{"steps": 3, "frames": 3} | asked)
    return [np.asarray(Image.open(entry["image"])) for entry in gallery], file, summary


def test_a_line_begins_and_ends_with_the_pictures_of_its_seeds(client: Client) -> None:
    frames, file, summary = interpolate(client, seeds="7, 30", method="both")
    own = [client.predict(steps=3, seed=seed, pictures=1, api_name="/compare") for seed in (7, 30)]
    for frame_row in (0, 1):
        for frame, end in ((0, 0), (2, 1)):
            expected = np.asarray(Image.open(own[end][frame_row][0]["image"])).astype(int)
            assert np.abs(frames[3 * frame_row + frame].astype(int) - expected).max() <= 1
    assert file is None
    assert summary["nfe"] == [3, 3]
    assert summary["norms"] == pytest.approx([1, 1, 1], abs=0.1)
    assert [entry["strip"] for entry in summary["neighbours"]] == ["DDIM(η = 0)", "DDPM, noise moves along"]
    assert all(len(entry["rmse"]) == len(entry["ssim"]) == 2 for entry in summary["neighbours"])
    assert (summary["recipe"]["mode"], summary["recipe"]["model"], len(summary["recipe"]["weights"])) == ("line", "tiny", 64)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"mode": "grid", "rows": 2, "columns": 3}, 6),
        ({"mode": "loop", "frames": 4, "seeds": "1, 2, 3"}, 4),
        ({"mode": "mix", "level": 300}, 3),
        ({"mode": "mix", "table": True}, 27),
        ({"mode": "arithmetic"}, 3),
        ({"mode": "variation", "strength": 0.1}, 3),
        ({"mode": "truncation", "start": 0.5}, 3),
    ],
)
def test_every_mode_draws_its_frames_and_a_sheet(client: Client, asked: dict[str, Any], count: int) -> None:
    frames, file, summary = interpolate(client, file_kind="sheet", **asked)
    assert len(frames) == count
    assert from_json(text_inside(Path(file).read_bytes())).kind == ("mix" if asked["mode"] == "mix" else "path")
    assert len(summary["neighbours"]) == (9 if asked.get("table") else 1)
    if asked["mode"] == "mix":
        assert len(summary["reconstructions"]) == len(summary["norms"]) == len(summary["neighbours"])


def test_a_latent_file_goes_out_and_comes_back(client: Client) -> None:
    frames, file, _ = interpolate(client, file_kind="latents", seeds="3, 4")
    latent = latent_files.load(Path(file).read_bytes())
    assert (tuple(latent.x.shape), latent.model, latent.timesteps) == ((3, 3, 8, 8), "tiny", (999, 666, 332))
    assert isinstance(latent.recipe, PathRecipe)
    again, _, summary = interpolate(client, mode="loop", seeds="1, 1, 1", end_a=handle_file(file))
    assert (again[0] == frames[0]).all()
    assert [end["floats"] is not None for end in summary["recipe"]["ends"]] == [True] * 3


def test_films_carry_the_recipe(client: Client) -> None:
    for kind, frames in (("gif", 4), ("webp", 4)):
        _, file, _ = interpolate(client, file_kind=kind)
        with Image.open(file) as film:
            assert film.n_frames == frames  # there and back
        assert isinstance(from_json(text_inside(Path(file).read_bytes())), PathRecipe)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"frames": 1}, "frames must be a whole number from 2 to 121; got 1"),
        ({"frames": 1000}, "frames must be a whole number from 2 to 121; got 1000"),
        ({"seeds": "seven"}, "seeds must be a whole number from 0 to 4294967295; got 'seven'"),
        ({"mode": "mix", "level": 1001}, "level must be a whole number from 0 to 1000; got 1001"),
        ({"mode": "grid", "rows": 12}, "rows must be a whole number from 2 to 11; got 12"),
        ({"mode": "spiral"}, "mode must be one of"),
        ({"file_kind": "exe"}, "file_kind must be empty or one of"),
        ({"model": "../tiny"}, "model"),
    ],
)
def test_wrong_values_get_a_sentence(client: Client, engine: Engine, asked: dict[str, Any], sentence: str) -> None:
    calls = engine.loop.calls
    with pytest.raises(ValidationError) as caught:
        interpolate(client, **asked)
    assert sentence in str(caught.value)
    assert engine.loop.calls == calls


def test_files_that_are_no_end_get_a_sentence(client: Client, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("no picture")
    other = latent_files.Latent(x=latent_files.torch.zeros(1, 3, 4, 4), model="other", timesteps=(9,))
    (tmp_path / "other.safetensors").write_bytes(latent_files.save(other))
    for name, sentence in (("note.png", "it is not a picture"), ("other.safetensors", "it is 3x4x4")):
        with pytest.raises(ValidationError, match=sentence):
            interpolate(client, end_a=handle_file(tmp_path / name))


def test_equal_seeds_make_equal_frames(client: Client) -> None:
    frames, _, summary = interpolate(client, seeds="5, 5")
    assert all((frame == frames[0]).all() for frame in frames)
    assert summary["neighbours"][0]["rmse"] == [0, 0]
