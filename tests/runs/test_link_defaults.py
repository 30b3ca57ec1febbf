"""What a link leaves out: the defaults of its version, which stay as they are for as long as its links are to open as they did."""

import dataclasses

import pytest

from ddim_app.runs.base import VERSION
from ddim_app.runs.key_values import slots
from ddim_app.runs.kinds import KINDS

SAMPLER = {"method": "ddim", "steps": 25, "spacing": "trailing", "eta": 0.0, "variance": "small", "clip": "clip"}
FAST, EXACT = ({"model": "avatars-32", "precision": precision} for precision in ("fast", "fp32"))
DEFAULTS = {
    "sampling": {**FAST, "seed": 0, "pictures": 1, "branch": 0, **SAMPLER},
    "path": {
        **FAST, "mode": "line", "way": "slerp", "frames": 9, "rows": 5, "columns": 5, "start": 0.0, "stop": 1.0, "strength": 0.25,
        "branch": 0, **SAMPLER, "noise": "slerp",
    },
    "invert": {
        **EXACT, "clamped": False, "noise_seed": 0, "self_interpolation": False, "method": "ddim-target", "steps": 50,
        "spacing": "trailing", "strength": 1.0, "tolerance": 0.0,
    },
    "lesson": {
        **FAST, "lesson": "look", "timesteps": [0], "steps": 25, "spacing": "trailing", "eta": 0.0, "clip": "clip", "seed": 0,
    },
    "likelihood": {**EXACT, "pictures": [], "mode": "quick", "evaluations": 100, "draws": 2, "seed": 0, "clip": "clip"},
    "mix": {
        **FAST, "levels": [500], "frames": 11, "chain": {**SAMPLER, "method": "ddpm", "steps": 100}, "source": SAMPLER,
        "q_noise": "independent", "step_noise": "shared", "noise_seed": 0, "branch": 0,
    },
    "decode": {**EXACT, "noise_seed": 0},
}  # fmt: skip
"""Those of version 1, those of None aside. A change here is a new version, whose reader fills in these for older links."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_of_version_1_are_as_they_were(kind: str) -> None:
    known = {key: slot.default for key, slot in slots(KINDS[kind].recipe).items()}
    assert VERSION == 1
    assert kind in DEFAULTS, "the defaults of a new kind belong into DEFAULTS"
    assert {key: value for key, value in known.items() if value not in (None, dataclasses.MISSING)} == DEFAULTS[kind]
