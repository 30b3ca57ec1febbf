"""Of the averages that a run keeps, one that is better by more than chance is offered, and can be made the model."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from ddim_app.models import loading
from ddim_app.train import averages, state
from ddim_app.train.config import TrainError
from ddim_app.train.run_folder import RunFolder
from tests import toys
from tests.train.losses import course


def scaled(network, factor):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(factor)
    return network


@pytest.fixture
def home(tmp_path):
    """A finished run: its model is the last average, and the best one, of step 100, has halved weights."""
    folder = toys.save_tiny(tmp_path / "run")
    made, network = RunFolder(folder), loading.load(folder).unet
    facts = {"settings": {}, "init": None, "steps": 300, "global_batch": 4}
    made.write_run(facts)
    (folder / "README.md").write_text("# run\n\nThe weights are the running average after step 300 of 300 (finished).\n\nEnd\n")
    for line in course(1.0, 0.5, 0.6, 0.7):
        made.log({"kind": "held_out", **line})
    optimizer = torch.optim.AdamW(network.parameters())
    last = state.TrainingState(network, {"": network, "long": network}, optimizer, step=300)
    state.save(made.checkpoints, last.tensors(), last.facts(), 1)
    averages.keep_best(made, scaled(loading.load(folder).unet, 0.5), 100, 0.5)
    return made


def test_a_better_average_is_offered_with_the_command_that_takes_it(home, capsys):
    text = averages.offer(home)
    assert re.search(
        r"^What the model was at step 100 \(`best`\) has a held-out loss 28\.6 ± 0\.\d % lower than the model has now\.", text
    )
    before = load_file(home.path / "unet" / "diffusion_pytorch_model.safetensors")
    averages.main(text.split("ddim_app.train.averages ")[1].split())
    taken = load_file(home.path / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(taken[name], 0.5 * before[name]) for name in before)
    card = (home.path / "README.md").read_text()
    assert "The weights are the running average after step 100 of 300 (best), 400 pictures seen.\n\nEnd" in card
    averages.main([str(home.path), "--take", "last"])
    again = load_file(home.path / "unet" / "diffusion_pytorch_model.safetensors")
    assert state.digest(again) == state.digest(before)
    assert "is now the average `last`" in capsys.readouterr().out


@pytest.mark.parametrize("means", [(1.0, 0.5, 0.4), (1.0, 0.5, 0.5001), (1.0, 0.5, 0.503)])
def test_nothing_is_offered_where_the_last_is_as_good(home, means):
    home.metrics.write_text("".join(json.dumps({"kind": "held_out", **line}) + "\n" for line in course(*means)))
    assert averages.offer(home) is None


def test_the_averages_are_listed(home, capsys):
    averages.main([str(home.path)])
    last, best = capsys.readouterr().out.splitlines()
    assert last == "last   step 300       held-out loss 0.70000"
    assert best.startswith("best   step 100       held-out loss 0.50000  28.6 ± 0.")
    home.metrics.unlink()
    averages.main([str(home.path)])
    assert "has no held-out losses" in capsys.readouterr().out


def test_what_cannot_be_taken_is_said_in_a_sentence(home, tmp_path):
    averages.best_file(home).write_bytes(b"cut short")
    assert averages.kept_best(home) is None
    with pytest.raises(SystemExit, match="--take best: it cannot be read from"):
        averages.main([str(home.path), "--take", "best"])
    with pytest.raises(SystemExit, match="RUN must be the folder of a training run"):
        averages.main([str(tmp_path / "nowhere"), "--take", "last"])
    averages.keep_best(home, torch.nn.Linear(2, 2), 1, 1.0)
    with pytest.raises(TrainError, match="another architecture"):
        averages.take(home, "best")
