"""What `import ddim_app` gives, and what it costs."""

import re
import subprocess
import sys

import pytest

import ddim_app
from ddim_app import _old_paths
from ddim_app.models.catalogue import ROOT
from ddim_app.runs.kinds import KINDS


@pytest.mark.parametrize("name", ddim_app.HOMES)
def test_every_name_is_there_and_says_what_it_is(name):
    assert len(ddim_app.__getattr__(name).__doc__.split()) > 4


def test_the_version_is_the_changelogs_newest():
    newest = re.findall(r"^## \[(\d[^]]*)]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    asked = [sys.executable, "-m", "ddim_app", "--version"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    assert ddim_app.__version__ == newest == said


def test_the_names_are_few():
    assert len(ddim_app.__all__) == 10
    assert set(ddim_app.__all__) <= ddim_app.HOMES.keys()


def test_snippets_of_every_kind_of_run_can_import_from_here():
    assert {kind.recipe.__name__ for kind in KINDS.values()} <= ddim_app.HOMES.keys()


def test_it_loads_nothing_heavy():
    code = "import ddim_app, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "PIL", "gradio"} & set(loaded)
    assert "ddim_app._old_paths" in loaded


def test_a_name_that_does_not_exist_is_an_import_error():
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from ddim_app import nothing", {})


def test_old_modules_do_not_hide_what_has_their_name_now():
    """`ddim_app.sample` and `ddim_app.invert` were modules, and are functions."""
    same = set(_old_paths.OLD_PATHS) & ddim_app.HOMES.keys()
    code = "".join(f"import ddim_app.{name}, ddim_app; assert callable(ddim_app.{name})\n" for name in sorted(same))
    assert same == {"invert", "sample"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True)
