"""Training on classes: by the names of folders and by what arrays say, with a null class, and what the finished model knows."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.engine import Engine
from ddim_app.models.classes import ClassLabels
from ddim_app.models.loading import load
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.train import judge
from ddim_app.train.batches import Batches
from tests import toys
from tests.train_tools import TOY, drawings, save_drawings

NAMES = ("dark", "light")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Dark and light pictures, and the toy without its dropout."""
    folder = tmp_path_factory.mktemp("classes")
    (folder / "toy.toml").write_text(TOY.replace("dropout = 0.1", "dropout = 0.0").replace("batch_size = 4", "batch_size = 16"))
    rng = np.random.default_rng(0)
    for name, low in zip(NAMES, (0, 200), strict=True):
        (folder / "pictures" / "set" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(low, low + 50, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / "set" / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def finished(place, worker):
    ran = worker.run(
        "--data", place / "pictures", "--preset", place / "toy.toml", "--output", place / "runs" / "me", "--classes",
        "--class-dropout", 0.2, "--steps", 120, "--lr", 5e-3, "--checkpoint-every", 60,
        "--beta-schedule", "squaredcos_cap_v2", "--preview-every", 0, "--crop", "center",
    )  # fmt: skip
    assert ran.code == 0, ran.text
    return place / "runs" / "me", ran.text


def test_a_run_learns_the_classes_of_its_folders(finished):
    """Pictures of each class come out as dark or light as the class is, and guidance drives them further apart."""
    run, said = finished
    assert "2 classes: dark, light" in said
    model = load(run)
    assert model.classes == ClassLabels(NAMES, 2)
    assert model.unet.config["num_class_embeds"] == 3
    engine = Engine([run.parent], allow_hub=False, device=torch.device("cpu"))
    brightness = {}
    for label in (*NAMES, "none"):
        for guidance in (1, 3):
            arm = Arm(steps=10, guidance=guidance, clip="off")
            recipe = Recipe(arms=(arm,), model="me", pictures=8, class_label=label, precision="fp32")
            brightness[label, guidance] = float(engine.final(recipe)[0].mean())
    assert brightness["dark", 1] < brightness["none", 1] < brightness["light", 1]
    assert brightness["light", 1] - brightness["dark", 1] > 0.5
    assert brightness["light", 3] - brightness["dark", 3] > brightness["light", 1] - brightness["dark", 1]


def test_the_folder_of_a_run_names_its_classes(finished):
    run, _ = finished
    assert json.loads((run / "model_index.json").read_text())["id2label"] == {"0": "dark", "1": "light"}
    card = (run / "README.md").read_text()
    assert "`UNet2DModel` of 2 classes (dark, light" in card
    assert "--class-label dark" in card
    assert len(list((run / "previews").glob("step-*.png"))) == 2


def test_a_run_with_classes_goes_on_from_its_checkpoint(place, worker, finished):
    again = worker.run("--data", place / "pictures", "--output", place / "runs" / "me")
    assert again.code == 0, again.text
    assert "This run is finished: 120 steps" in again.text


def test_a_network_without_classes_begins_with_what_it_said_before(place, worker):
    """The embedding starts at zero, so the first preview of a fine-tuning is the model's own, whatever the class."""
    toys.save_tiny(place / "plain", scheduler={"num_train_timesteps": 100})
    ran = worker.run("--data", place / "pictures", "--init", place / "plain", "--output", place / "runs" / "tuned", "--classes",
                     "--steps", 2, "--warmup", 0, "--lr", 1e-8, "--class-dropout", 0, "--precision", "fp32")  # fmt: skip
    assert ran.code == 0, ran.text
    tuned, plain = load(place / "runs" / "tuned"), load(place / "plain")
    assert tuned.classes == ClassLabels(NAMES)
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 70])
    with torch.inference_mode():
        torch.testing.assert_close(tuned.unet(x, t, torch.tensor([0, 1])).sample, plain.unet(x, t).sample, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"y": np.arange(29)}, "its classes y must be as many as its pictures, 30; got 29"),
        ({"y": np.zeros((30, 2), int)}, "its classes y must be whole numbers"), ({"y": np.zeros(30)}, "y must be whole"),
        ({"y": np.full(30, 2), "classes": np.array(["a", "b"])}, "below their number"),
    ],
)  # fmt: skip
def test_classes_of_arrays_that_do_not_fit_are_one_sentence(place, worker, tmp_path, arrays, sentence):
    np.savez(tmp_path / "x.npz", x=drawings(30), **arrays)
    ran = worker.run("--data", tmp_path / "x.npz", "--preset", place / "toy.toml", "--output", tmp_path / "me", "--classes")
    assert ran.code == 2
    assert sentence in ran.error


@pytest.mark.parametrize(("more", "names"), [({}, ("2", "5", "10")), ({"classes": np.array(list("abcdefghijk"))}, ("c", "f", "k"))])
def test_classes_of_arrays_are_learned(place, worker, tmp_path, more, names):
    np.savez(tmp_path / "x.npz", x=drawings(30), y=np.array([2, 5, 10] * 10), **more)
    ran = worker.run("--data", tmp_path / "x.npz", "--preset", place / "toy.toml", "--output", tmp_path / "me", "--classes",
                     "--steps", 1, "--preview-every", 0)  # fmt: skip
    assert ran.code == 0, ran.text
    assert load(tmp_path / "me").classes == ClassLabels(names, 3)


def refused(worker, place, *arguments):
    ran = worker.run("--output", place / "runs" / "refused", *arguments)
    assert ran.code == 2, ran.text
    return ran.error


def test_what_has_no_classes_is_one_sentence(place, worker, tmp_path):
    toy = ("--preset", place / "toy.toml", "--classes")
    save_drawings(tmp_path / "flat", 12)
    save_drawings(tmp_path / "half" / "cats", 12)
    save_drawings(tmp_path / "half", 3, seed=1)
    save_drawings(tmp_path / "other" / "owls", 3, seed=2)
    save_drawings(tmp_path / "other" / "dark", 3, seed=3)
    assert "a subfolder that its class names; 000.png lies in none" in refused(worker, place, "--data", tmp_path / "flat", *toy)
    assert "--classes needs each picture of --data in a subfolder" in refused(worker, place, "--data", tmp_path / "half", *toy)
    sentence = refused(worker, place, "--data", place / "pictures" / "set" / "dark", *toy)
    assert "in a subfolder" in sentence
    sentence = refused(worker, place, "--data", place / "pictures", "--holdout", tmp_path / "other", *toy)
    assert "--holdout must have the classes of --data, dark, light; got owls" in sentence
    assert "--class-dropout must be a number in 0.0..0.9" in refused(worker, place, "--data", "x", *toy, "--class-dropout", 1)


def test_a_model_with_classes_is_tuned_on_the_same_ones(place, worker, finished, tmp_path):
    run, _ = finished
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    save_drawings(tmp_path / "pets" / "cat", 12)
    save_drawings(tmp_path / "pets" / "dog", 12, seed=1)
    sentence = refused(worker, place, "--data", tmp_path / "pets", "--init", run)
    assert "--init: this model has classes (dark, light): give --classes as well" in sentence
    sentence = refused(worker, place, "--data", tmp_path / "pets", "--init", run, "--classes")
    assert "--init has the classes dark, light and a null class, and --data with --class-dropout 0.1 cat, dog" in sentence
    ran = worker.run("--data", place / "pictures", "--init", run, "--output", tmp_path / "on", "--classes", "--steps", 1,
                     "--preview-every", 0)  # fmt: skip
    assert ran.code == 0, ran.text
    assert load(tmp_path / "on").classes == ClassLabels(NAMES, 2)


def test_a_part_of_the_rows_is_shown_without_its_class():
    """The same rows whatever batch they are asked in; pictures, timesteps and noise are those of a run without classes."""
    pixels, labels = drawings(20), torch.arange(20) % 3
    plain = Batches(pixels, np.arange(20), (3, 8, 8), 100, 400, seed=5)
    learned = Batches(pixels, np.arange(20), (3, 8, 8), 100, 400, seed=5, labels=labels, class_dropout=0.25, null=3)
    a, b, part = plain.rows(2, 0, 400), learned.rows(2, 0, 400), learned.rows(2, 100, 50)
    assert a.y is None
    for name in ("x0", "t", "noise"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert torch.equal(b.y[100:150], part.y)
    assert 60 < int((b.y == 3).sum()) < 140
    kept = [int(y) for y in b.y if y != 3]
    of_picture = {bytes(x0.numpy()): label for x0, label in zip(plain.rows(0, 0, 20).x0, learned.rows(0, 0, 20).y, strict=True)}
    assert set(kept) == {0, 1, 2}
    assert len(of_picture) == 20
    none = Batches(pixels, np.arange(20), (3, 8, 8), 100, 400, seed=5, labels=labels)
    chosen = [none._chosen(2, i) for i in range(400)]
    assert torch.equal(none.rows(2, 0, 400).y, labels[chosen])


def test_a_model_with_classes_is_judged_as_of_no_class(finished, tmp_path):
    run, _ = finished
    model = load(run)
    pixels = drawings(8)
    errors = judge.eps_errors(model, pixels)
    unet = model.unet
    plain = load(run)
    object.__setattr__(plain, "unet", lambda x, t, return_dict: unet(x, t, torch.full_like(t, 2), return_dict=return_dict))
    object.__setattr__(plain, "classes", ClassLabels())
    assert errors == judge.eps_errors(plain, pixels)
    assert judge.ddim_samples(model, 4).shape == (4, 3, 8, 8)
    toys.save_tiny(tmp_path / "kinds", num_class_embeds=3)
    with pytest.raises(ValueError, match="kinds has classes and was trained without a null class, so"):
        judge.eps_errors(load(tmp_path / "kinds"), pixels)
