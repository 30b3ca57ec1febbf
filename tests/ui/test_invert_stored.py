"""The round trip with which Invert opens: it is the bundled model's, and what it says is so."""

import base64
import io

import numpy as np
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.media.images import to_pixels
from ddim_app.runs import latent_files
from ddim_app.runs.decoding import of_file
from ddim_app.runs.inversion import METHODS
from ddim_app.ui.assets import FOLDER
from ddim_app.ui.invert import stored_trip as stored
from ddim_app.ui.invert.samples import SAMPLES, opened, sample_png, shown
from ddim_app.ui.uploads import opened as read_upload


def seen(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def test_it_is_of_the_bundled_weights_and_its_noise_gives_its_picture():
    engine, trip = Engine(allow_hub=False), stored.stored_trip()
    assert trip["weights"] == engine.model(stored.MODEL).sha256, "python -m ddim_app.ui.first_run makes it anew"
    recipe = stored.recipe()
    latent = latent_files.load(trip["latent"])
    assert latent.recipe is not None
    assert latent.recipe.sources == recipe.sources
    (result,) = engine.run(of_file(trip["latent"], model=stored.MODEL)).result
    stage = trip["stage"]
    assert np.abs(to_pixels(result.back)[0].astype(int) - seen(stage["back"])).max() <= 1
    assert (seen(stage["original"]) == seen(stage["back"])).all()
    assert stage["verdict"]["first"] == "Comes back exactly: no pixel differs."
    assert [(frame["phase"], frame["k"]) for frame in stage["frames"]][-1] == ("down", stored.STEPS)


def test_every_way_is_there_and_its_words_fit_its_numbers():
    rows = stored.stored_trip()["ways"]["rows"]
    assert {row["method"] for row in rows} == set(METHODS)
    assert all(row["equal"] == (row["shown"] == 0) for row in rows)
    assert all(row["rmse"] < 0.5 for row in rows if row["equal"])


def test_samples_are_small_and_can_be_uploaded():
    files = list((FOLDER / "stored" / "samples").iterdir())
    assert {file.stem for file in files} == set(SAMPLES)
    assert sum(file.stat().st_size for file in files) < 200_000
    assert (FOLDER / stored.FILE).stat().st_size < 150_000
    for name in SAMPLES:
        assert read_upload(sample_png(name)).size == opened(name).size == (256, 256)
    assert [sample["name"] for sample in shown("data:")] == [*SAMPLES, "own"]
