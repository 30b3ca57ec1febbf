"""Every option of the command with a network that halves its 32 pixels twice."""

import pytest

from ddim_app.train import config
from tests.train_tools import HALVING_TWICE, save_drawings

COMMON = {"steps": 2, "batch-size": 2, "preview-every": 0, "checkpoint-every": 1}
RUNS = {
    "pictures": {
        "crop": "random", "mirror": True, "background": "#123456", "holdout": 3, "seed": 5, "accumulate": 2, "dropout": 0.1,
        "precision": "fp32", "small-set-shift": 0.1,
    },
    "loss": {
        "min-snr": 5, "timestep-density": "cosine", "beta-schedule": "squaredcos_cap_v2", "prediction": "v_prediction",
        "resolution": 16, "gradient-checkpointing": True, "crop": "random", "preview-every": 1, "precision": "bf16",
    },
    "optimiser": {
        "lr": 1e-3, "warmup": 1, "lr-decay": "none", "weight-decay": 0.1, "decay-norms": True, "clip-norm": 0.5, "ema-max": 0.9,
        "keep": 1, "keep-data": True,
    },
    "dry": {"dry-run": True},
    "clock": {"minutes": 0.1, "by-clock": True, "no-several-averages": True, "threads": 1, "tracker": "none"},
}  # fmt: skip
ELSEWHERE = {"data", "output", "preset", "init", "cache", "compile", "push-to-hub", "classes", "class-dropout"}
"""Options that all the runs below have, two that need minutes or the Hub, and those of classes, tried in `test_labelling`."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    (folder / "toy.toml").write_text(HALVING_TWICE)
    save_drawings(folder / "pictures", 14, side=40)
    return folder


@pytest.fixture(scope="module")
def run(place, worker):
    def run(name, **options):
        given = [part for option, value in options.items() for part in ([f"--{option}"] + ([] if value is True else [value]))]
        ran = worker.run("--data", place / "pictures", "--output", place / "runs" / name, "--cache", place / "cache", *given)
        assert ran.code == 0, ran.text
        return place / "runs" / name

    return run


@pytest.mark.parametrize("name", RUNS)
def test_a_run_with_these_options_ends_well(place, run, name):
    run(name, preset=place / "toy.toml", **COMMON | RUNS[name])


def test_a_fine_tuned_model_is_cropped_at_random_and_goes_on(place, run):
    begun = run("begun", preset=place / "toy.toml", **COMMON)
    run("tuned", init=begun, crop="random", resolution=24, **COMMON)


@pytest.mark.long
def test_a_compiled_run_ends_well(place, run):
    run("compiled", preset=place / "toy.toml", compile=True, **COMMON)


def test_every_option_is_tried():
    tried = {option for options in RUNS.values() for option in options} | set(COMMON)
    tried = {option.removeprefix("no-") for option in tried}
    assert {config.flag(name).removeprefix("--") for name in config.FIELDS} == tried | ELSEWHERE
