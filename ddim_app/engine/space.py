"""The folder that Hugging Face builds a Space from: what its README has to say at the top, and how the folder is written."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddim_app.models.catalogue import ROOT

PARTS = ("app.py", "ddim_app", "weights", "docs", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
"""What a Space gets of the project, besides README.md and requirements.txt, which are changed."""
MANAGED = ("gradio", "spaces", "huggingface_hub", "huggingface-hub")
"""Installed by the platform, in the versions that it wants."""
ZERO_TORCH, ZERO_PYTHON = "torch==2.11.0", "3.12"
"""The newest that ZeroGPU has, and the Python that it is built for."""

COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
NEEDED = (
    "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "short_description", "models",
    "tags", "license",
)  # fmt: skip
ALLOWED = {
    *NEEDED, "datasets", "pinned", "thumbnail", "header", "fullWidth", "suggested_hardware", "preload_from_hub",
    "startup_duration_timeout", "disable_embedding", "custom_headers", "hf_oauth", "hf_oauth_scopes",
    "hf_oauth_expiration_minutes",
}  # fmt: skip
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def split(readme: str) -> tuple[dict[str, Any], str]:
    """(front matter, the rest) of a README; raises ValueError when there is none."""
    import yaml  # comes with huggingface_hub

    parts = re.fullmatch(r"---\n(.*?)\n---\n(.*)", readme, re.DOTALL)
    if parts is None:
        raise ValueError("README.md must begin with front matter between two lines of ---")
    try:
        values = yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        raise ValueError(f"the front matter is no YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(values, dict):
        raise ValueError("the front matter must be a list of keys and values")
    return values, parts[2]


def models(root: Path = ROOT) -> tuple[str, ...]:
    """Ids on the Hub that a Space's README names: the ones that its visitors may name."""
    try:
        named = split((root / "README.md").read_text("utf-8"))[0].get("models")
    except (OSError, ValueError):
        return ()
    return tuple(str(name) for name in named) if isinstance(named, list) else ()


def problems(folder: Path) -> list[str]:
    """What Hugging Face would refuse, or read otherwise than we mean it, in the folder of a Space; a sentence each."""
    try:
        values, _ = split((folder / "README.md").read_text("utf-8"))
    except (OSError, ValueError) as error:
        return [str(error)]
    lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    sentences = [f"{key} is missing" for key in NEEDED if key not in values]
    sentences += [f"{key} is no key of a Space" for key in values if key not in ALLOWED]
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "sdk": (lambda value: value == "gradio", "must be gradio"),
        "sdk_version": (_is_gradio_of_ours, "must be a version of gradio that requirements.txt allows, in full"),
        "python_version": (lambda value: value in ("3.11", "3.12", "3.13"), 'must be "3.11" to "3.13", in quotes'),
        "app_file": (lambda value: isinstance(value, str) and (folder / value).is_file(), "must be a file of the folder"),
        "short_description": (lambda value: isinstance(value, str) and 0 < len(value) <= 60, "must have 1 to 60 characters"),
        "colorFrom": (lambda value: value in COLOURS, f"must be one of {', '.join(COLOURS)}"),
        "colorTo": (lambda value: value in COLOURS, f"must be one of {', '.join(COLOURS)}"),
        "models": (lambda value: _are_texts(value) and all(map(HUB_ID.fullmatch, value)), "must be a list of ids on the Hub"),
        "tags": (_are_texts, "must be a list of words"),
        "license": (lambda value: isinstance(value, str) and value == value.lower(), "must be an identifier in small letters"),
        "header": (lambda value: value in ("mini", "default"), "must be mini or default"),
    }
    sentences += [
        f"{key} {words}; got {values[key]!r}" for key, (holds, words) in checks.items() if key in values and not holds(values[key])
    ]
    if folder.resolve() != ROOT:  # the project itself is also used without the platform
        sentences += [
            f"requirements.txt names {name}, which the platform installs" for name in MANAGED if name in map(package, lines)
        ]
    return sentences


def write(folder: Path, zero_gpu: bool) -> None:
    """Writes the folder of a Space; raises ValueError when there is something in it, or when it would not be right."""
    import yaml

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder.name} must be a new folder, or an empty one")
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
        else:
            shutil.copy(source, target)
    values, text = split((ROOT / "README.md").read_text("utf-8"))
    if zero_gpu:
        values |= {"python_version": ZERO_PYTHON, "suggested_hardware": "zero-a10g"}
        app = folder / "app.py"
        app.write_text("import spaces  # noqa: F401  (before torch, as ZeroGPU wants it)\n\n" + app.read_text("utf-8"), "utf-8")
    head = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{head}---\n{text}", "utf-8")
    (folder / "requirements.txt").write_text(requirements(zero_gpu), "utf-8")
    if wrong := problems(folder):
        raise ValueError("; ".join(wrong))


def requirements(zero_gpu: bool) -> str:
    """requirements.txt without what the platform installs, and for ZeroGPU with the torch that it has."""
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    kept = [line for line in lines if package(line) not in MANAGED]
    return "\n".join(ZERO_TORCH if zero_gpu and package(line) == "torch" else line for line in kept) + "\n"


def package(line: str) -> str:
    """The package that a line of requirements.txt names."""
    return re.split(r"[<>=!~;\[ #]", line.strip(), maxsplit=1)[0].lower()


def _is_gradio_of_ours(version: Any) -> bool:
    from packaging.requirements import Requirement  # comes with huggingface_hub

    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    wanted = next(Requirement(line.split("#")[0]) for line in lines if package(line) == "gradio")
    return isinstance(version, str) and bool(re.fullmatch(r"\d+\.\d+\.\d+", version)) and version in wanted.specifier


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(item, str) and item for item in value)
