"""The analytic variances that bundled models bring along."""

import pytest

from ddim_app.models import variance_files
from ddim_app.models.catalogue import ROOT, load_model

BUNDLED = ("avatars-32", "avatars-64", "digits-32")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_brings_its_own(name: str) -> None:
    """Of these very weights; `python -m ddim_app variance` makes it anew where they change."""
    folder, model = ROOT / "weights" / name, load_model(name)
    assert len(list(folder.glob("variance-*.json"))) == 1
    residuals = variance_files.find(folder, model.sha256, model.schedule.num_train_timesteps)
    assert residuals is not None
    assert residuals.pictures == 500
    assert residuals.evaluations >= 32
    assert residuals.clip == "clip"
    # Nothing is left open where there is no noise, and without any signal nearly all of the picture is.
    assert max(residuals.values[:5]) < 1e-3
    assert residuals.values[0] < residuals.values[100] < residuals.values[500] < residuals.values[-1] <= 1
