"""README, CONTRIBUTING and docs/: what they name is there, commands are read by their own parsers and run, as Python does."""

import argparse
import contextlib
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from ddim_app.engine import Engine, options
from ddim_app.media import animation
from ddim_app.models.catalogue import ROOT
from ddim_app.train import config
from tests import train_tools
from tests.browser import pictures
from tests.wire import served

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
WITHOUT_OPTIONS = {
    "tests.browser.timing",
    "tests.browser.timing_live",
    "tests.timing_server",
    "tests.golden.make",
    "tests.packages",
    "ddim_app.ui.first_run",
}
ADDRESS = "http://127.0.0.1:7860"
COMMAND = r"^(?:\$ )?(?:python |torchrun |accelerate |pip |bash |hf |ruff )"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


class Parsed(Exception):  # noqa: N818  (it is no error)
    """Ends a command once its words were read."""


def name(page: Path) -> str:
    return page.name


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> set[str]:
    """Commands of this project in a page's fences, indented blocks and code spans, from `-m NAME` or `app.py` on."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    lines = [line for _, body in FENCE.findall(text) for line in body.splitlines()] + re.findall(r"^    (.*)$", text, re.MULTILINE)
    started = [part.split("#")[0] for line in spans + lines for part in line.split("&&")]
    found = (re.search(r"(?:^|\$ |python |torchrun |launch ).*?(?:-m )?\b((?:ddim_app|tests)[\w.]*|app\.py)( .*|$)", part)
             for part in started if re.search(r"-m (ddim_app|tests)|python app\.py", part))  # fmt: skip
    return {match[1] + match[2] for match in found if match and "COMMAND" not in match[2] and "..." not in match[2]}


def read_by_its_parser(command: str) -> None:
    """Raises SystemExit with a code above 0 where the command's own parser refuses it, ImportError where there is none."""
    program, *words = shlex.split(command)
    if program == "ddim_app" and len(words) == 1:
        words.append("--help")  # its name alone
    if program == "app.py":
        options.read(words, {})
    elif program == "ddim_app.train":
        config.parse(words)
    elif program == "tests":
        kinds = importlib.import_module("tests.__main__").KINDS
        assert words[0] in kinds, command
    elif program == "tests.browser.pictures":
        assert set(words) <= {*pictures.SCENES}, command
    elif program in WITHOUT_OPTIONS:
        assert not words, command
        assert importlib.util.find_spec(program), command
    else:
        module = importlib.import_module("ddim_app.__main__" if program == "ddim_app" else program)
        sys.argv = [program, *words]
        module.main()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_read_by_its_parser(page, monkeypatch, capsys):
    real = argparse.ArgumentParser.parse_args

    def read_only(parser, *given, **named):
        real(parser, *given, **named)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read_only)
    monkeypatch.setattr(sys, "argv", sys.argv)
    for command in sorted(commands(page)):
        try:
            read_by_its_parser(command)
        except Parsed:
            continue
        except SystemExit as ended:
            if ended.code:
                pytest.fail(f"{command}: {capsys.readouterr().err}")


def blocks(page: Path) -> list[tuple[str, list[str], list[str]]]:
    """(why it is not run, or nothing; the commands; what is printed below them) of each block of commands."""
    found = []
    for match in FENCE.finditer(text := page.read_text("utf-8").replace("\\\n", " ")):
        language, lines = match[1], match[2].splitlines()
        if language not in ("bash", "console"):
            assert not re.search(COMMAND, match[2], re.MULTILINE), f"{page.name}: a block of commands is `bash` or `console`"
            continue
        typed = [line.removeprefix("$ ") for line in lines if language == "bash" or line.startswith("$ ")]
        why = re.search(r"<!-- not run: (.+) -->\s*$", text[: match.start()])
        found.append((why[1] if why else "", typed, [line for line in lines if line and language == "console" and line[0] != "$"]))
    return found


def run_as_printed(command: str) -> None:
    """Calls a command of this project in this process."""
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"], f"{command}: say before the block why it is not run: <!-- not run: ... -->"
    if words[2] == "ddim_app.train":  # a process of its own, since it answers signals
        here = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *words[1:]], check=True, env=here)
        return
    module = importlib.import_module("ddim_app.__main__" if words[2] == "ddim_app" else words[2])
    sys.argv = words[2:]
    try:
        module.main()
    except SystemExit as ended:
        if ended.code:  # of --help it is 0
            raise


@pytest.mark.parametrize("page", [page for page in PAGES if any(not why for why, _, _ in blocks(page))], ids=name)
def test_blocks_of_commands_run_as_printed(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    for why, typed, printed in blocks(page):
        for command in [] if why else typed:
            run_as_printed(command)
        said = capsys.readouterr().out.splitlines()
        assert why or set(printed) <= set(said), said


def test_every_page_with_a_block_of_commands_was_read():
    every = [block for page in PAGES for block in blocks(page)]
    assert sum(not why for why, _, _ in every) >= 4
    assert all(typed for _, typed, _ in every)


def test_commands_that_only_tell_run_as_printed(tmp_path, monkeypatch, capfd):
    """Those within the text: help, lists, and the report on pictures before a training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    train_tools.save_drawings(Path("my_photos"), 25)
    tell = sorted(command for page in PAGES for command in commands(page) if command.endswith(("--help", "--dry-run")))
    assert tell
    for command in tell:
        run_as_printed(f"python -m {command}")
        assert capfd.readouterr().out


def test_commands_are_found():
    assert {"app.py", "ddim_app.train --data my_photos", "ddim_app models"} <= commands(ROOT / "README.md")
    assert sum(len(commands(page)) for page in PAGES) > 40
    with pytest.raises(SystemExit):
        read_by_its_parser("app.py --no-such-option")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_and_picture_is_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        assert place.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(place), f"{page.name}: {target}"


def test_every_picture_is_shown_and_every_page_is_linked():
    shown = {target for page in PAGES for target in re.findall(r"\]\((?:docs/)?([^)#\s/]+)[^)]*\)", prose(page))}
    assert {file.name for file in (ROOT / "docs").iterdir()} - shown == set()


def test_scenes_make_the_pictures_that_are_there():
    made = re.findall(r'keep\(page, "([\w-]+)"', Path(pictures.__file__).read_text("utf-8"))
    assert len(made) == len(pictures.SCENES)
    assert [place for place in made if not (ROOT / "docs" / f"{place}.png").is_file()] == []


def test_every_picture_is_made_by_a_scene_or_a_command_that_contributing_names():
    made = {f"{place}.png" for place in re.findall(r'keep\(page, "([\w-]+)"', Path(pictures.__file__).read_text("utf-8"))}
    named = set(re.findall(r"`(?:docs/)?([\w-]+\.(?:png|svg))`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert {file.name for file in (ROOT / "docs").iterdir() if file.suffix != ".md"} == made | named


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(text) <= 160
    assert text.index("pip install -r requirements.txt && python app.py") < text.index("bash tests/run.sh") < 39


def test_contributing_is_a_page():
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 60


def test_the_workflow_runs_what_everybody_runs_on_each_python():
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    assert re.search(r"^ +python: (.+)$", workflow, re.MULTILINE)[1] == '["3.11", "3.12", "3.13"]'
    assert re.findall(r"^ +- run: (.+)$", workflow, re.MULTILINE) == ["bash .ci/run"]
    assert (ROOT / ".ci" / "run").is_file()


@pytest.mark.parametrize("page", [page for page in PAGES if "```python\n" in page.read_text("utf-8")], ids=name)
def test_python_runs_as_printed(page, tmp_path, monkeypatch, tiny_root, capsys):
    """But for the address of the server, and with 3 steps."""
    monkeypatch.chdir(tmp_path)
    film = animation.gif_bytes([Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")], 100, hold=100, recipe="{}")
    Path("ddim-explorer-7.gif").write_bytes(film)
    blocks = [
        re.sub(r"steps=\d+", "steps=3", code) for language, code in FENCE.findall(page.read_text("utf-8")) if language == "python"
    ]
    needs_server = any(ADDRESS in code for code in blocks)
    with served(Engine([tiny_root], allow_hub=False)) if needs_server else contextlib.nullcontext(ADDRESS) as url:
        for code in blocks:
            exec(code.replace(ADDRESS, url), {})
    assert "None" not in capsys.readouterr().out
