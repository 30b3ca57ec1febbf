"""Figures go to the tracker that is asked for. The packages are stand-ins of what Accelerate calls of them."""

import sys
import types

import pytest
from accelerate import PartialState, tracking

from ddim_app.train import trackers
from ddim_app.train.config import TrainError
from ddim_app.train.run_folder import RunFolder


@pytest.fixture
def wandb(monkeypatch):
    """A package wandb that remembers what it is told."""
    PartialState(cpu=True)
    told = types.ModuleType("wandb")
    told.calls = []
    run = types.SimpleNamespace(
        log=lambda values, step: told.calls.append(("log", values, step)), finish=lambda: told.calls.append(("finish",))
    )
    told.init = lambda **options: told.calls.append(("init", options)) or run
    monkeypatch.setitem(sys.modules, "wandb", told)
    monkeypatch.setattr(tracking, "is_wandb_available", lambda: True)
    return told


def test_wandb_gets_numbers_and_goes_on_where_the_run_was(wandb, tmp_path):
    trackers.check_tracker("wandb")
    for _ in range(2):
        tracker = trackers.open_tracker("wandb", RunFolder(tmp_path / "cats"))
    tracker.log(trackers.figures({"kind": "train", "step": 10, "loss": 0.5, "file": "x"}), step=10)
    tracker.finish()
    first, second, logged, ended = wandb.calls
    assert first == second
    assert first[1]["project"] == trackers.PROJECT
    assert (first[1]["name"], first[1]["resume"]) == ("cats", "allow")
    assert logged == ("log", {"train/loss": 0.5}, 10)
    assert ended == ("finish",)


def test_wandb_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tracking, "is_wandb_available", lambda: False)
    with pytest.raises(TrainError, match="--tracker wandb needs its package: pip install wandb"):
        trackers.check_tracker("wandb")


@pytest.mark.parametrize("name", ["none", "tensorboard"])
def test_without_a_tracker_nothing_is_opened(monkeypatch, tmp_path, name):
    monkeypatch.setattr(tracking, "is_tensorboard_available", lambda: False)
    trackers.check_tracker(name)
    assert trackers.open_tracker(name, RunFolder(tmp_path)) is None
