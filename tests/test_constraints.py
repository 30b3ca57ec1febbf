"""constraints.txt: a version for all that requirements.txt names, and with `--long` an installation from both."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ddim_app.models.catalogue import ROOT

IMPORTS = "import ddim_app, diffusers, gradio, torch; from ddim_app import Arm, Engine, Recipe; from ddim_app.ui import build_ui"


def lines(name: str) -> list[Requirement]:
    read = (line.split("#")[0].strip() for line in (ROOT / name).read_text("utf-8").splitlines())
    return [Requirement(line) for line in read if line]


def test_all_that_is_required_has_one_version_that_it_allows() -> None:
    pins = {canonicalize_name(pin.name): str(pin.specifier) for pin in lines("constraints.txt")}
    assert len(pins) == len(lines("constraints.txt"))
    assert all(pin.startswith("==") for pin in pins.values())
    for wanted in lines("requirements.txt"):
        version = pins[canonicalize_name(wanted.name)].removeprefix("==")
        assert wanted.specifier.contains(version), f"{wanted} and {version}"


@pytest.mark.long
def test_an_installation_from_them_has_these_versions_and_imports_the_page(tmp_path: Path) -> None:
    """Takes what pip takes: two minutes where nothing else runs, and a package index."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "place"], check=True)
    python = tmp_path / "place" / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(*words: str) -> str:
        ended = subprocess.run([python, *words], cwd=ROOT, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
        return ended.stdout

    run("-m", "pip", "install", "--quiet", "--no-compile", "-r", "requirements.txt", "-c", "constraints.txt")
    run("-m", "pip", "check")
    pins = {canonicalize_name(pin.name): pin.specifier for pin in lines("constraints.txt")}
    installed = dict(line.split("==") for line in run("-m", "pip", "list", "--format", "freeze").split())
    here = {canonicalize_name(name): version for name, version in installed.items() if canonicalize_name(name) != "pip"}
    assert {name for name, version in here.items() if name not in pins or not pins[name].contains(version)} <= {"setuptools"}
    run("-c", IMPORTS)
