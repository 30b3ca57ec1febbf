"""Which module may know which, read from the import statements and from what a fresh interpreter has loaded."""

import ast
import functools
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ddim_app"
ORDER = [
    "schedule", "ddim", "forward", "coding", "designs", "latents", "paths", "images", "metrics", "smoothness",
    "sample", "recipe", "source", "latent_files", "inversion", "fixed_point", "exact", "diagnosis", "invert", "interpolate",
    "pairs", "codecs", "animation", "snippets", "model", "backends", "fidelity", "loop", "tuning", "networks", "lessons",
    "likelihood", "engine", "ui",
]  # fmt: skip
"""Imports point to the left only. `train` stands beside the engine; members that are not named here may not close a circle."""
CORE = [
    "schedule", "ddim", "forward", "coding", "designs", "latents", "paths", "images", "metrics", "smoothness",
    "sample", "recipe", "pairs", "codecs", "animation", "snippets", "loop",
]  # fmt: skip


def imports(path):
    """Full names that a file imports, wherever in it the statement is."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def members(package):
    """(member of ddim_app, file) for every source file."""
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package).with_suffix("").parts
        yield inside[0], path


def in_fresh_interpreter(code):
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


@functools.cache
def uses():
    """What each member of the package imports of the others."""
    known = {member: set() for member, _ in members(PACKAGE)}
    for member, path in members(PACKAGE):
        known[member] |= {name.split(".")[1] for name in imports(path) if name.startswith("ddim_app.")} - {member}
    return known


@pytest.mark.parametrize("member", ORDER)
def test_imports_point_one_way(member):
    later = set(ORDER[ORDER.index(member) + 1 :]) | {"train"}
    assert not uses()[member] & later


def test_imports_make_no_circle():
    order = list(graphlib.TopologicalSorter(uses()).static_order())
    assert order.index("schedule") < order.index("engine")


def test_training_knows_neither_engine_nor_page():
    assert not uses().get("train", set()) & {"engine", "ui"}


@pytest.mark.parametrize(
    ("library", "known_to"),
    [("diffusers", {"model", "benchmark"}), ("gradio", {"ui"}), ("accelerate", {"train"})],
)
def test_libraries_are_known_where_they_belong(library, known_to):
    users = {member for member, path in members(PACKAGE) for name in imports(path) if name.split(".")[0] == library}
    assert users <= known_to


def test_what_a_fresh_interpreter_has_loaded():
    """The core none of the heavy libraries; the engine no gradio. Importing opens no weights, as an audit hook sees, nor wakes
    a device."""
    code = (
        "import sys; seen = []; sys.addaudithook(lambda event, args: event == 'open' and seen.append(str(args[0])));"
        f"{'; '.join(f'import ddim_app.{name}' for name in CORE)}; print(*sys.modules); import ddim_app.engine, torch;"
        "weights = [path for path in seen if path.endswith(('.safetensors', '.bin', '.pt', '.ckpt')) or '/weights/' in path];"
        "print('gradio' in sys.modules, len(weights), torch.cuda.is_initialized(), len(seen) > 100)"
    )
    *loaded, gradio, weights, device, hook_works = in_fresh_interpreter(code)
    core = {name.split(".")[0] for name in loaded}
    assert {"ddim_app", "torch"} <= core
    assert not core & {"diffusers", "gradio", "accelerate", "transformers", "huggingface_hub", "safetensors"}
    assert (gradio, weights, device, hook_works) == ("False", "0", "False", "True")
