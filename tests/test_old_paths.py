"""Import paths that snippets copied from an older page still use."""

import importlib
import subprocess
import sys
import warnings

import pytest

from ddim_app import _old_paths
from ddim_app.models.catalogue import ROOT
from ddim_app.runs.inversion import InversionArm

OLD_SNIPPET = """
from ddim_app.codecs import png
from ddim_app.engine import Engine
from ddim_app.images import to_pil, to_pixels
from ddim_app.invert import InvertRecipe, Way
from ddim_app.recipe import Arm, Recipe
from ddim_app.source import Source

recipe = Recipe(arms=(Arm(method="ddim", steps=2),), seed=7)
inversion = InvertRecipe(sources=(Source(seed=7),), arms=(Way(method="fixed-point", steps=2),))
print(recipe.to_json(), inversion.kind, Engine.__name__, png.__module__)
"""


def test_a_snippet_of_before_still_runs():
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", OLD_SNIPPET], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith('{"kind":"sampling"')
    assert ran.stdout.strip().endswith("invert Engine ddim_app.runs.codecs")


@pytest.mark.parametrize("old", _old_paths.OLD_PATHS)
def test_every_old_path_leads_to_modules_that_exist_and_warns(old):
    sys.modules.pop(f"ddim_app.{old}", None)
    with pytest.warns(DeprecationWarning, match=f"ddim_app.{old} is now ddim_app."):
        importlib.import_module(f"ddim_app.{old}")
    for home in _old_paths.OLD_PATHS[old]:
        importlib.import_module(f"ddim_app.{home}")
    sys.modules.pop(f"ddim_app.{old}", None)


def test_names_that_changed_are_found_under_the_old_ones():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for (module, old), new in _old_paths.OLD_NAMES.items():
            assert getattr(importlib.import_module(f"ddim_app.{module}"), old).__name__ == new
        assert importlib.import_module("ddim_app.invert").Way is InversionArm
        with pytest.raises(ImportError, match="cannot import name 'nothing'"):
            exec("from ddim_app.invert import nothing", {})
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ddim_app.no_such_module")
