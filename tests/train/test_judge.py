"""Models judged side by side: by the error of eps at equal noise, whatever they predict, and by their backgrounds."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ddim_app.diffusion import formulas
from ddim_app.errors import RunError
from ddim_app.models.loading import Model, load
from ddim_app.models.model_files import WEIGHTS
from ddim_app.train import judge
from tests import toys

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)


class Zero(torch.nn.Module):
    """A network whose prediction is 0."""

    def forward(self, x, t, return_dict):
        return (torch.zeros_like(x),)


def model(schedule, network=None):
    return Model(name="toy", unet=network or Zero(), schedule=schedule, shape=(3, 8, 8), sha256="0" * 64)


def test_a_network_that_says_nothing_errs_by_the_noise_itself():
    """eps is N(0, 1), so its squared error is 1 at every level, within a hundred pictures' chance."""
    errors = judge.eps_errors(model(toys.LINEAR), PIXELS)
    np.testing.assert_allclose(errors, 1, atol=0.03)


def test_a_perfect_network_errs_nowhere_whatever_it_predicts():
    """Of one picture alone the exact noise is known."""
    one = PIXELS[:1]
    x0 = torch.from_numpy(one).permute(0, 3, 1, 2) / 127.5 - 1

    class Exact(torch.nn.Module):
        def __init__(self, schedule):
            super().__init__()
            self.schedule = schedule

        def forward(self, x, t, return_dict):
            alpha_bar = self.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
            eps = formulas.predict_eps(x.double(), x0.double(), alpha_bar)
            if self.schedule.prediction_type == "epsilon":
                return (eps,)
            return (alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x0,)

    for schedule in (toys.LINEAR, toys.SCHEDULES["cosine"], toys.SCHEDULES["zero-snr"]):
        errors = judge.eps_errors(model(schedule, Exact(schedule)), one)
        np.testing.assert_allclose(errors, 0, atol=1e-4)


def test_distance_of_a_background_to_the_palette():
    colours = judge.parse_palette("b6e3f4, #c0aede")
    near = np.zeros((2, 8, 8, 3), np.uint8)
    near[0, :2, :2] = (0xB6, 0xE3, 0xF4)
    near[1, :2, :2] = (0xC0, 0xAE, 0xDE - 5)
    np.testing.assert_allclose(judge.background_distance(near, colours), [0, 5])


def test_the_command_prints_every_model_and_saves_grids(tmp_path, monkeypatch, capsys):
    for name in ("one", "two"):
        toys.save_tiny(tmp_path / name, seed=len(name))
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i}.png")
    command = ["judge", str(tmp_path / "one"), str(tmp_path / "two"), "--data"]
    options = ["--palette", "b6e3f4", "--samples", "4", "--grids", str(tmp_path / "grids"), "--ddpm-steps", "3"]
    monkeypatch.setattr(sys, "argv", [*command, str(tmp_path / "pictures"), *options])
    judge.main()
    assert "| one / two | " in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == [
        "one-ddim25.png", "one-ddpm3.png", "real.png", "two-ddim25.png", "two-ddpm3.png",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*command, str(tmp_path / "nothing")])
    with pytest.raises(SystemExit, match=r"--data must be a folder of pictures, or a \.zip"):
        judge.main()


def test_models_of_one_name_are_told_apart(tmp_path):
    assert judge.labels([tmp_path / "one", tmp_path / "two"]) == ["one", "two"]
    assert judge.labels([tmp_path / "before" / "one", tmp_path / "now" / "one"]) == ["before-one", "now-one"]
    deep = judge.labels([tmp_path / "first" / "weights" / "one", tmp_path / "weights" / "one"])
    assert deep == ["first-weights-one", f"{tmp_path.name}-weights-one"]
    assert judge.labels([tmp_path, tmp_path]) == [f"{tmp_path.name}-1", f"{tmp_path.name}-2"]


@pytest.fixture
def said(tmp_path, monkeypatch):
    """What the command ends with."""
    toys.save_tiny(tmp_path / "good")
    (tmp_path / "held").mkdir()
    for i, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(tmp_path / "held" / f"{i}.png")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["judge", *map(str, arguments), "--data", str(tmp_path / "held")])
        with pytest.raises(SystemExit) as ended:
            judge.main()
        assert isinstance(ended.value.code, str)  # which is printed, with exit code 1
        assert "\n" not in ended.value.code
        return ended.value.code

    return run


def test_a_grey_model_is_judged_on_grey_pictures(tmp_path, capsys, monkeypatch):
    toys.save_tiny(tmp_path / "grey", in_channels=1, out_channels=1)
    np.savez(tmp_path / "x.npz", x=PIXELS)
    monkeypatch.setattr(sys, "argv", ["judge", str(tmp_path / "grey"), "--data", str(tmp_path / "x.npz"), "--palette", "ffffff"])
    judge.main()
    assert "| grey | " in capsys.readouterr().out


def test_models_that_cannot_be_compared_or_judged_are_one_sentence(tmp_path, said):
    toys.save_tiny(tmp_path / "wide", sample_size=[8, 16])
    assert "but good makes RGB 8x8 and wide RGB 16x8: judge them one by one" in said(tmp_path / "good", tmp_path / "wide")
    toys.save_tiny(tmp_path / "odd", sample_size=7)
    assert "halves the sides of its pictures 1 time, so sample_size must be a multiple of 2; got 7" in said(tmp_path / "odd")
    toys.save_tiny(tmp_path / "nan")
    weights = load_file(tmp_path / "nan" / "unet" / WEIGHTS)
    save_file(weights | {"conv_out.bias": weights["conv_out.bias"] * float("nan")}, tmp_path / "nan" / "unet" / WEIGHTS)
    assert "nan: The model's output was not a number at step 1" in said(tmp_path / "nan")


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--samples", "0", "--samples must be a whole number from 1 to 4096; got 0"),
        ("--ddpm-steps", "2000", "--ddpm-steps must be a whole number from 1 to 1000; got 2000"),
        ("--palette", "red", "--palette must be colours such as b6e3f4,c0aede; got 'red'"),
        ("--palette", "b6e3", "--palette must be colours such as b6e3f4,c0aede; got 'b6e3'"),
        ("--grids", "/proc/nothing", "/proc/nothing cannot be read or written ("),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, said, option, value, sentence):
    assert sentence in said(tmp_path / "good", option, value)


def test_a_broken_picture_is_named_and_other_files_are_passed_over(tmp_path, said):
    (tmp_path / "held" / "labels.txt").write_text("0 1 2")
    assert len(judge.read(tmp_path / "held", (3, 8, 8))) == len(PIXELS)
    (tmp_path / "held" / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0half")
    assert "held: half.jpg cannot be used: " in said(tmp_path / "good")
    assert said(tmp_path / "good").endswith("; mend it or take it away")


@pytest.mark.parametrize("source", ["empty", "file.txt"])
def test_data_that_holds_no_pictures_is_refused(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ValueError, match="--data"):
        judge.read(tmp_path / source, (3, 8, 8))


@pytest.mark.parametrize("scheduler", [{"num_train_timesteps": 5}, {"rescale_betas_zero_snr": True}])
def test_models_of_few_timesteps_and_of_zero_terminal_snr_are_judged_too(tmp_path, scheduler):
    judged = load(toys.save_tiny(tmp_path / "short", scheduler=scheduler))
    assert np.isfinite(judge.eps_errors(judged, PIXELS)).all()
    assert judge.ddim_samples(judged, 2).isfinite().all()
    assert judge.ddpm_samples(judged, 2, 30).isfinite().all()


def test_a_model_with_a_learned_variance_is_sampled_with_it(tmp_path):
    learned = load(toys.save_tiny(tmp_path / "learned", out_channels=6, scheduler={"variance_type": "learned_range"}))
    fixed = replace(learned, schedule=toys.LINEAR)
    assert judge.eps_errors(learned, PIXELS) == judge.eps_errors(fixed, PIXELS)
    assert torch.equal(judge.ddim_samples(learned, 2), judge.ddim_samples(fixed, 2))
    assert not torch.equal(judge.ddpm_samples(learned, 2, 5), judge.ddpm_samples(fixed, 2, 5))


class Spoiled(torch.nn.Module):
    """A network that gives out infinities below a timestep."""

    def __init__(self, below):
        super().__init__()
        self.below = below

    def forward(self, x, t, return_dict):
        return (torch.where((t < self.below).view(-1, 1, 1, 1), float("inf"), torch.zeros_like(x)),)


def test_a_model_whose_output_is_no_prediction_is_named_with_the_step(tmp_path, monkeypatch):
    spoiled = model(toys.LINEAR, Spoiled(600))
    for measure, step in ((judge.eps_errors, 1), (lambda model, _: judge.ddim_samples(model, 2), 11)):
        with pytest.raises(RunError, match=rf"^me: The model's output was infinite at step {step}, so the run was ended"):
            judge._named("me", measure, spoiled, PIXELS)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "pictures" / "0.png")
    monkeypatch.setattr(judge, "load_model", lambda name, notify: spoiled)
    monkeypatch.setattr(sys, "argv", ["judge", "there", "--data", str(tmp_path / "pictures")])
    with pytest.raises(SystemExit, match=r"there: The model's output was infinite at step 1"):
        judge.main()
