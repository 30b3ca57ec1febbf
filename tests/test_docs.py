"""README, CONTRIBUTING and docs/: what they name is there, commands are read by their own parsers, and Python runs as printed."""

import argparse
import contextlib
import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from ddim_app.engine import Engine, options
from ddim_app.media import animation
from ddim_app.models.catalogue import ROOT
from ddim_app.train import config
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


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(text) <= 160
    assert text.index("pip install -r requirements.txt && python app.py") < text.index("bash tests/run.sh") < 39


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
