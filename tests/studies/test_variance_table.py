"""The command that estimates a model's analytic variance, and what then can be drawn with it."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ddim_app.__main__ import main
from ddim_app.diffusion import elbo
from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.models import variance_files
from ddim_app.models.variance_files import Residuals
from ddim_app.runs.likelihood import LikelihoodRecipe
from ddim_app.runs.sampling import Arm, Recipe
from ddim_app.studies import variance_table
from tests import toys

T = 12
SCHEDULER = {"num_train_timesteps": T, "beta_start": 0.01, "beta_end": 0.5}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DDIM_CACHE", str(tmp_path / "cache"))
    toys.save_tiny(tmp_path / "models" / "tiny", scheduler=SCHEDULER)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize(("evaluations", "pictures"), [(4, 3), (2, 7), (5, 5), (3, 1)])
def test_pictures_take_turns_and_every_timestep_has_its_evaluations(evaluations, pictures):
    asked = [(e.t, i, e.draw) for i in range(pictures) for e in variance_table.designs(T, evaluations, pictures, i)]
    assert len(set(asked)) == len(asked) == T * evaluations
    for t in range(T):
        of_t = [i for s, i, _ in asked if s == t]
        assert len(of_t) == evaluations
        assert len(set(of_t)) == min(evaluations, pictures)


def test_the_estimate_is_the_mean_residual_and_costs_no_more_than_either_fixed_variance(place):
    engine = Engine([place / "models"], allow_hub=False, device=torch.device("cpu"))
    told = []
    found = variance_table.estimate(engine, place / "pictures", LikelihoodRecipe(model="tiny"), 4, None, told.append)
    residuals = found.residuals
    assert (residuals.weights, residuals.clip) == (engine.model("tiny").sha256, "clip")
    assert (residuals.pictures, residuals.evaluations, len(residuals.values)) == (3, 4, T)
    assert all(0 < value <= 1 for value in residuals.values)
    assert all(error > 0 for error in residuals.errors)
    assert found.bits["analytic"] <= min(found.bits["small"], found.bits["large"])
    assert (told, list(found.refused)) == (["3 of 3 pictures"], ["notes.txt"])
    # The same three numbers straight from the terms, the analytic one by the KL of each evaluation.
    schedule = engine.model("tiny").schedule
    table = elbo.variances(schedule)
    small, analytic = table["small"][1:], elbo.analytic(schedule, residuals.values)[1:]
    at_best = 0.5 * (analytic / small).log().sum() / np.log(2)  # where the variance is the mean square itself, half a log is left
    if max(residuals.values) < 1:
        assert found.bits["analytic"] == pytest.approx(float(at_best), rel=1e-9)
    text = "\n".join(variance_table.lines(found))
    for words in ("V_t", "standard error", "small", "large", "analytic", f"{residuals.values[T - 1]:.6f}"):
        assert words in text


def test_the_command_keeps_it_beside_the_model_and_pictures_can_be_drawn_with_it(place, monkeypatch, capsys):
    engine = Engine([place / "models"], allow_hub=False, device=torch.device("cpu"))
    analytic = Arm(method="ddpm", variance="analytic", steps=4, clip="off")
    recipe = Recipe(arms=(analytic,), model="tiny", precision="fp32")
    with pytest.raises(FieldError, match="variance must be another: this model's analytic one is not estimated yet; python -m dd"):
        engine.plan(recipe)
    words = ["ddim_app", "variance", str(place / "models" / "tiny"), "--images", str(place / "pictures"), "--evaluations", "2"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    path = variance_files.path_of(place / "models" / "tiny", engine.model("tiny").sha256)
    assert f"saved as {path}" in capsys.readouterr().out
    assert json.loads(path.read_text())["weights"] == engine.model("tiny").sha256
    arms = (analytic, *(Arm(method=m, eta=eta, steps=4, clip="off") for m, eta in (("ddpm", 0.0), ("ddim", 0.0))))
    more = tuple(Arm(variance="analytic", eta=eta, steps=4, clip="off") for eta in (0.0, 1.0))
    drawn = engine.final(recipe.with_arms(*arms, *more))
    assert torch.equal(drawn[0], drawn[4])
    assert len({pictures.numpy().tobytes() for pictures in drawn}) == 4
    assert engine.plan(recipe.with_arms(more[0])).rows[0].adds_noise
    assert [arm.label for arm in (*arms[:2], *more)] == ["DDPM(analytic)", "DDPM", "DDIM(η = 0, analytic)", "DDIM(η = 1, analytic)"]


def test_what_is_no_pictures_or_too_few_evaluations_is_a_sentence(place, monkeypatch):
    for words, sentence in (
        (["--images", str(place / "nowhere")], "images must be a folder; there is none called"),
        (["--images", str(place / "models")], "images must hold pictures in one of the formats"),
        (["--images", str(place / "pictures"), "--evaluations", "1"], "evaluations must be a whole number from 2 to 1000; got 1"),
        (["--images", str(place / "pictures"), "--limit", "0"], "limit must be a whole number 1 or more; got 0"),
    ):
        monkeypatch.setattr(sys, "argv", ["ddim_app", "variance", str(place / "models" / "tiny"), *words])
        with pytest.raises(SystemExit, match=sentence):
            main()


def test_a_file_that_is_not_of_these_weights_or_no_numbers_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("DDIM_CACHE", str(tmp_path / "cache"))
    own = Residuals("a" * 64, (0.5, 0.25), (0.01, 0.01), "clip", 3, 4)
    path = variance_files.keep(tmp_path, own)
    assert variance_files.find(tmp_path, "a" * 64, 2) == own
    assert variance_files.find(tmp_path, "a" * 64, 3) is None
    assert variance_files.find(tmp_path, "a" * 63 + "b", 2) is None
    whole = json.loads(path.read_text())
    for text in (
        "",
        "{",
        "[]",
        json.dumps(whole | {"values": [0.5, -1]}),
        json.dumps(whole | {"values": ["x", 1]}),
        '{"values": 3}',
    ):
        path.write_text(text)
        assert variance_files.find(tmp_path, "a" * 64, 2) is None
    in_cache = variance_files.keep(tmp_path / "hub" / "snapshots" / "1", own)
    assert in_cache.parent == tmp_path / "cache" / "variances"
    assert variance_files.find(tmp_path, "a" * 64, 2) == own
