"""The folder of a Space: its front matter by Hugging Face's rules, what it is built from, and that it starts."""

import re
import sys
from pathlib import Path

import pytest

from ddim_app.__main__ import main
from ddim_app.engine import space
from ddim_app.engine.options import read

ROOT = Path(__file__).parent.parent.parent
FLOORS = {"gradio": (6, 31), "diffusers": (0, 42, 1), "torch": (2, 10), "pillow": (12, 3)}
"""Releases that closed holes which this app would be open to."""


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_requirements_have_the_floors_that_close_known_holes(name: str, floor: tuple[int, ...]) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    (line,) = [line for line in lines if space.package(line) == name]
    lowest = re.search(r">=\s*([\d.]+)", line)
    assert lowest is not None, line
    assert tuple(map(int, lowest[1].split("."))) >= floor


def test_the_readme_is_that_of_a_space() -> None:
    assert space.problems(ROOT) == []


WRONG = [
    ("sdk: gradio\n", "sdk: docker\n", "sdk must be gradio; got 'docker'"),
    ("sdk_version: 6.31.0\n", "sdk_version: 5.0.0\n", "sdk_version must be a version of gradio"),
    ("sdk_version: 6.31.0\n", "sdk_version: 6.31\n", "sdk_version must be a version of gradio"),
    ('python_version: "3.12"\n', "python_version: 3.10\n", 'python_version must be "3.11" to "3.13"'),
    ("app_file: app.py\n", "app_file: main.py\n", "app_file must be a file of the folder"),
    ("short_description: ", "short_description: Sixty characters are all that is taken, and so ", "short_description must have"),
    ("colorFrom: green\n", "colorFrom: teal\n", "colorFrom must be one of red"),
    ("models: [google/ddpm-cifar10-32]\n", "models: [ddpm]\n", "models must be a list of ids"),
    ("models: [google/ddpm-cifar10-32]\n", "", "models is missing"),
    ("license: apache-2.0\n", "license: Apache-2.0\n", "license must be an identifier"),
    ("license: apache-2.0\n", "license: apache-2.0\nhardware: t4\n", "hardware is no key of a Space"),
    ("title: DDIM Explorer\n", "title: [DDIM\n", "the front matter is no YAML"),
    ("---\ntitle", "title", "README.md must begin with front matter"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "sentence"), WRONG)
def test_what_the_platform_would_refuse_is_said(tmp_path: Path, right: str, wrong: str, sentence: str) -> None:
    readme = (ROOT / "README.md").read_text()
    assert right in readme
    (tmp_path / "README.md").write_text(readme.replace(right, wrong, 1))
    (tmp_path / "requirements.txt").write_text("torch\n")
    (tmp_path / "app.py").touch()
    assert any(problem.startswith(sentence) for problem in space.problems(tmp_path))


def test_the_folder_of_a_cpu_space(tmp_path: Path) -> None:
    space.write(tmp_path / "space", zero_gpu=False)
    folder = tmp_path / "space"
    packages = [space.package(line) for line in (folder / "requirements.txt").read_text().splitlines()]
    assert {"gradio", "spaces", "huggingface_hub"}.isdisjoint(packages)
    assert {"torch", "diffusers", "pillow"} <= set(packages)
    assert (folder / "app.py").read_text() == (ROOT / "app.py").read_text()
    mine = {path.relative_to(ROOT) for path in (ROOT / "ddim_app").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    theirs = {path.relative_to(folder) for path in (folder / "ddim_app").rglob("*") if path.is_file()}
    assert theirs == {path for path in mine if path.suffix != ".pyi"}
    weights = "weights/avatars-32/unet/diffusion_pytorch_model.safetensors"
    assert (folder / weights).read_bytes() == (ROOT / weights).read_bytes()
    assert not (folder / "tests").exists()


def test_the_folder_of_a_zero_gpu_space(tmp_path: Path) -> None:
    space.write(tmp_path / "space", zero_gpu=True)
    folder = tmp_path / "space"
    assert "torch==2.11.0" in (folder / "requirements.txt").read_text().splitlines()
    assert space.split((folder / "README.md").read_text())[0]["python_version"] == "3.12"
    first = next(line for line in (folder / "app.py").read_text().splitlines() if line.startswith(("import", "from")))
    assert first.startswith("import spaces")


def test_a_folder_with_something_in_it_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").touch()
    monkeypatch.setattr(sys, "argv", ["ddim_app", "deploy", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "must be a new folder, or an empty one" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_on_a_space_only_the_models_of_its_readme_may_be_named() -> None:
    options = read([], {"SPACE_ID": "me/ddim"})
    assert options.hosted
    assert options.allow_hub == ("google/ddpm-cifar10-32",)
