"""Models judged side by side: by the error of eps at equal noise, whatever they predict, and by their backgrounds."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.diffusion import formulas
from ddim_app.models.loading import Model
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


def test_the_command_prints_every_model_and_saves_grids(tmp_path):
    for name in ("one", "two"):
        toys.save_tiny(tmp_path / name, seed=len(name))
    (tmp_path / "pictures").mkdir()
    for i, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{i}.png")
    command = [sys.executable, "-m", "ddim_app.train.judge", str(tmp_path / "one"), str(tmp_path / "two"), "--data"]
    options = ["--palette", "b6e3f4", "--samples", "4", "--grids", str(tmp_path / "grids"), "--ddpm-steps", "3"]
    ran = subprocess.run([*command, str(tmp_path / "pictures"), *options], capture_output=True, text=True, check=True, timeout=120)
    assert "| one / two | " in ran.stdout
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == [
        "one-ddim25.png", "one-ddpm3.png", "real.png", "two-ddim25.png", "two-ddpm3.png",
    ]  # fmt: skip
    wrong = subprocess.run([*command, str(tmp_path / "nothing")], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 1
    assert "--data must be a folder of pictures or an .npz file" in wrong.stderr


def test_models_of_one_name_are_told_apart(tmp_path):
    assert judge.labels([tmp_path / "one", tmp_path / "two"]) == ["one", "two"]
    assert judge.labels([tmp_path / "before" / "one", tmp_path / "now" / "one"]) == ["before-one", "now-one"]
    deep = judge.labels([tmp_path / "first" / "weights" / "one", tmp_path / "weights" / "one"])
    assert deep == ["first-weights-one", f"{tmp_path.name}-weights-one"]
    assert judge.labels([tmp_path, tmp_path]) == [f"{tmp_path.name}-1", f"{tmp_path.name}-2"]


@pytest.mark.parametrize("source", ["empty", "file.txt"])
def test_data_that_holds_no_pictures_is_refused(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(ValueError, match="--data"):
        judge.read(tmp_path / source, 8, 8)
