"""The training command from its options to the model in the app."""

import json

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from ddim_app.models import loading
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.model_files import WEIGHTS
from ddim_app.train import config
from tests import toys
from tests.train_tools import ROOT, TOY, final_digest, save_drawings

BUNDLED = ROOT / "weights" / "avatars-32"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train run")
    (folder / "toy.toml").write_text(TOY)
    save_drawings(folder / "pictures", 30)
    return folder


@pytest.fixture(scope="module")
def finished(place, worker):
    """A finished run of the toy, with its output."""
    ran = worker.run("--data", place / "pictures", "--preset", place / "toy.toml", "--output", place / "runs" / "me", "--keep", 3)
    assert ran.code == 0, ran.text
    return place / "runs" / "me", ran.text


def test_the_run_is_a_model_that_the_app_and_diffusers_load(finished):
    run, _ = finished
    catalogue = Catalogue([run.parent.parent / "weights", run.parent], allow_hub=False)
    assert catalogue.names() == ["runs/me"]
    loaded = catalogue.load("runs/me")
    assert loaded.shape == (3, 8, 8)
    assert loaded.schedule.num_train_timesteps == 100
    pipe = DDPMPipeline.from_pretrained(run)
    pipe.set_progress_bar_config(disable=True)
    assert pipe(num_inference_steps=2, output_type="np").images.shape == (1, 8, 8, 3)


def test_the_run_leaves_what_it_measured(finished):
    run, text = finished
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [10, 20]
    assert [line["step"] for line in lines if line["kind"] == "held_out"] == [0, 10, 20]
    assert all(len(line["buckets"]) == 10 for line in lines if line["kind"] == "held_out")
    kept = [path.stem for path in sorted((run / "checkpoints").iterdir())]
    assert kept == ["best", *(f"step-{step:09d}" for step in (12, 16, 20))]
    previews = sorted(path.name for path in (run / "previews").iterdir())
    assert previews == ["nearest.png", "step-000000000.png", "step-000000010.png", "step-000000020.png"]
    for words in (
        f"Pictures, cut to 10x10, are kept in {run.parent / '.cache'} (",
        " kB), so that no run decodes them again; it may be deleted after the run.",
        "25 pictures to train on, 5 held out",
        "20 steps of 4 pictures, that is 3.2 times through 25 pictures",
        "Before the first step: held-out loss",
        "Step 10 of 20, 1.6 times through 25 pictures",
        "At the end, held-out loss",
        "Memorisation check (PSNR; the more dB, the more alike)",
        "Mean colour of samples against the data's: red ",
        "Verdict: ",
        "To see it: python app.py --models-dir ",
        "Peak memory",
    ):
        assert words in text
    assert text.index("20 steps of 4 pictures") < text.index("Before the first step") < text.index("step/s")


def test_the_end_leaves_a_tint_to_the_verdict(place, worker, tmp_path):
    (tmp_path / "white").mkdir()
    for i in range(12):
        Image.new("RGB", (8, 8), (255 - i,) * 3).save(tmp_path / "white" / f"{i}.png")
    options = ["--preset", place / "toy.toml", "--steps", 2, "--preview-every", 0]
    ran = worker.run("--data", tmp_path / "white", "--output", tmp_path / "run", *options)
    assert ran.code == 0, ran.text
    assert ["tinted" in line for line in ran.text.splitlines() if line.startswith(("Step 2 ", "At the end", "Verdict"))] == [
        True, False, True,
    ]  # fmt: skip


def test_the_card_says_what_the_model_is_and_names_no_place(finished):
    run, _ = finished
    card = (run / "README.md").read_text()
    for words in (
        "trained from scratch by preset `toy`",
        "step 20 of 20 (finished)",
        "25 pictures to train on",
        "| lr | 0.0002 |",
        "torch ",
    ):
        assert words in card
    assert str(run.parent.parent) not in card


def test_the_app_lists_the_run_before_its_first_step(place, worker):
    run = place / "runs" / "early"
    event = {"signal": 9, "where": "backward", "step": 0}
    ran = worker.run("--data", place / "pictures", "--preset", place / "toy.toml", "--output", run, event=event)
    assert ran.code == -9
    assert "runs/early" in Catalogue([place / "weights", place / "runs"], allow_hub=False).names()
    assert loading.load(run).shape == (3, 8, 8)


def test_a_dry_run_prints_report_and_estimate_and_leaves_no_run(place, worker):
    ran = worker.run("--data", place / "pictures", "--preset", place / "toy.toml", "--output", place / "runs" / "dry", "--dry-run")
    assert ran.code == 0, ran.text
    assert "25 pictures to train on" in ran.text
    assert "pictures per second with 1 thread: about" in ran.text
    assert not (place / "runs" / "dry").exists()


def test_fine_tuning_the_bundled_model_moves_it(tmp_path, worker):
    """A few steps on generated pictures: starts as the bundled model, lowers the loss on held-out pictures of the new kind."""
    save_drawings(tmp_path / "in", 30, side=16)
    options = ["--resolution", 16, "--steps", 10, "--batch-size", 4, "--lr", "1e-3", "--preview-every", 0, "--precision", "fp32",
               "--ema-max", "0.5", "--no-several-averages"]  # fmt: skip
    ran = worker.run("--data", tmp_path / "in", "--output", tmp_path / "runs" / "mine", *options)
    assert ran.code == 0, ran.text
    assert loading.load(tmp_path / "runs" / "mine").shape == (3, 16, 16)
    facts = json.loads((tmp_path / "runs" / "mine" / "run.json").read_text())
    base = loading.load(BUNDLED)
    assert facts["init"] == {"name": "avatars-32", "sha256": base.sha256, "file_sha256": base.file_sha256}
    lines = [json.loads(line) for line in (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "held_out"]
    assert losses[-1] < 0.9 * losses[0]
    with Image.open(tmp_path / "runs" / "mine" / "preview.png") as preview:
        assert preview.width > preview.height  # the starting model on the left


def test_bf16_is_kept_out_of_the_weights(place, worker):
    run = place / "runs" / "bf16"
    ran = worker.run(
        "--data", place / "pictures", "--preset", place / "toy.toml", "--output", run, "--precision", "bf16", "--steps", 3,
        "--preview-every", 0,
    )  # fmt: skip
    assert ran.code == 0, ran.text
    assert all(p.dtype == torch.float32 for p in loading.load(run).unet.parameters())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--preset", "huge"], "--preset must be one of cifar-32, digits-32, small-64, tiny-32, tiny-64"),
        (
            ["--resolution", "36", "--preset", "small-64"],
            "--resolution must be a multiple of 8, since this network halves it 3 times; got 36",
        ),
        (["--resolution", "33"], "--resolution must be a multiple of 4"),
        (["--init", "no/such/model"], "--init: model must be one of the models here (avatars-32, avatars-64, digits-32"),
        (["--steps", "0"], "--steps must be a whole number in 1..10000000; got 0"),
        (["--lr", "fast"], "--lr must be a number in 1e-08..1.0; got 'fast'"),
        (["--learning-rate", "1"], "unrecognized arguments: --learning-rate 1; --help lists all options"),
        (["--holdout", "29"], "--holdout must leave at least 8 of the 30 usable pictures to train on, so be in 0..22; got 29"),
        (
            ["--holdout", "nowhere"],
            "--holdout must be a number, or a folder of pictures, or a .zip, .tar, .parquet, .npz or .npy file of",
        ),
        (["--precision", "fp16"], "--precision must be auto, fp32 or bf16 on a CPU; got fp16"),
    ],
)
def test_bad_options_are_one_sentence(place, worker, options, sentence):
    ran = worker.run("--data", place / "pictures", "--output", place / "runs" / "refused", *options)
    assert ran.code == 2
    assert ran.error.startswith(sentence)
    assert not (place / "runs" / "refused" / "run.json").exists()


def test_a_model_with_a_learned_variance_cannot_be_gone_on_with(place, worker, tmp_path):
    toys.save_tiny(tmp_path / "learned", out_channels=6, scheduler={"variance_type": "learned_range"})
    ran = worker.run("--data", place / "pictures", "--output", place / "runs" / "refused", "--init", tmp_path / "learned")
    assert ran.code == 2
    assert ran.error.startswith("--init: this model has a learned")
    assert not (place / "runs" / "refused" / "run.json").exists()


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (float("nan"), "--init: its weights are not finite (1 tensors, such as conv_out.bias): name another model"),
        (float("-inf"), "--init: its weights are not finite (1 tensors, such as conv_out.bias): name another model"),
        (1e30, "--init: The model's output was as large as 1e+30 at step 1"),
    ],
)
def test_a_start_of_spoiled_weights_is_refused_before_a_step(place, worker, tmp_path, value, sentence):
    """They would else be taken for a loss that has diverged."""
    file = toys.save_tiny(tmp_path / "spoiled") / "unet" / WEIGHTS
    weights = load_file(file)
    save_file(weights | {"conv_out.bias": torch.full_like(weights["conv_out.bias"], value)}, file, {"format": "pt"})
    ran = worker.run("--data", place / "pictures", "--output", tmp_path / "run", "--init", tmp_path / "spoiled")
    assert ran.code == 2
    assert ran.error.startswith(sentence)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_folder_that_holds_another_model_is_not_overwritten(place, worker, tiny_root):
    ran = worker.run("--data", place / "pictures", "--output", tiny_root / "tiny")
    assert "holds a model that is no run of this program" in ran.error


def test_an_output_that_is_a_file_is_one_sentence(place, worker):
    ran = worker.run("--data", place / "pictures", "--output", place / "toy.toml")
    assert ran.code == 2
    assert "--output" in ran.error


def test_the_seed_and_nothing_else_decides(place, worker, finished):
    command = ["--data", place / "pictures", "--preset", place / "toy.toml", "--preview-every", 0, "--checkpoint-every", 7]
    assert worker.run(*command, "--output", place / "runs" / "same").code == 0
    assert worker.run(*command, "--output", place / "runs" / "other", "--seed", 1).code == 0
    assert final_digest(place / "runs" / "same") == final_digest(finished[0])
    assert final_digest(place / "runs" / "other") != final_digest(finished[0])


def test_the_command_prints_no_remarks_of_libraries(place, worker):
    from tests.train.hostile_pictures import save_hostile

    save_drawings(place / "mixed", 12)
    hostile = save_hostile(place / "mixed" / "hostile")
    ran = worker.run("--data", place / "mixed", "--preset", place / "toy.toml", "--output", place / "runs" / "mixed", "--dry-run")
    assert ran.code == 0, ran.text
    assert f"{hostile} files rejected:" in ran.text
    assert "Warning" not in ran.text


def test_help_names_every_option():
    text = config.parser().format_help()
    assert all(config.flag(name) in text for name in config.FIELDS)


def test_the_benchmark_prints_a_ratio(capsys):
    from ddim_app.train import benchmark

    turns = []
    times = benchmark.compare(lambda: turns.append(1) or 0.0, lambda: turns.append(2) or 0.0, torch.device("cpu"), 3)
    assert turns == [1, 2] * 5
    assert [len(taken) for taken in times] == [3, 3]
    assert np.isfinite(times).all()
