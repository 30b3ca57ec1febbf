"""Which package may know which, read from the import statements and from what a fresh interpreter has loaded."""

import ast
import collections
import graphlib
import re
import subprocess
import sys

import pytest

from ddim_app.models.catalogue import ROOT
from tests import packages
from tests.packages import files, imports, member, tree

MAY_USE = {
    "errors": "",
    "lazy": "",
    "diffusion": "errors lazy",
    "media": "errors lazy",
    "models": "errors lazy diffusion media",
    "backends": "errors lazy diffusion media models",
    "runs": "errors lazy diffusion media models backends",
    "engine": "errors lazy diffusion media models backends runs",
    "studies": "errors lazy diffusion media models backends runs engine",
    "train": "errors lazy diffusion media models backends",
    "commands": "errors lazy diffusion media models backends runs engine studies",
    "ui": "errors lazy diffusion media models backends runs engine studies",
}
"""The packages of `ddim_app`, and what each may import besides itself."""
TOP = {*MAY_USE, "__init__", "__main__", "_old_paths"}
LIBRARIES = {
    "diffusers": {
        "models/loading.py",
        "models/network_config.py",
        "studies/contenders.py",
        "studies/same_picture.py",
        "studies/sampling_benchmark.py",
        "train/benchmark.py",
    },
    "gradio": {"ui"},
    "accelerate": {"train"},
    "spaces": set(),
}
"""Who may import a library: packages or single modules."""
SHARED_NAMES = {"__init__", "__main__", "tab", "view", "endpoint"}
CORE = [
    "errors",
    "diffusion.reference",
    "diffusion.exact_inversion",
    "diffusion.lockstep",
    "media.animation",
    "runs.codecs",
    "runs.snippets",
]


def in_fresh_interpreter(code):
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_the_top_has_no_other_entries():
    entries = {member(place) for place, _ in files()}
    assert entries == TOP
    assert len(entries) <= 15


@pytest.mark.parametrize("package", MAY_USE)
def test_imports_point_one_way(package):
    allowed = {package, *MAY_USE[package].split()}
    used = {
        (str(place), name)
        for place, path in files()
        if member(place) == package
        for name in imports(path)
        if name.startswith("ddim_app.")
    }
    assert {(place, name) for place, name in used if name.split(".")[1] not in allowed} == set()


def test_the_figure_of_the_packages_is_up_to_date():
    """If not: `python -m tests.packages`."""
    assert packages.FIGURE.read_text("utf-8") == packages.figure()


def test_modules_make_no_circle():
    """Imports inside a function, which wait until they are needed, are left out."""
    known = {module_name(place) for place, _ in files()}
    uses = {
        module_name(place): {found for name in top_imports(path) if (found := nearest(name, known))} - {module_name(place)}
        for place, path in files()
        if place.name not in ("__init__.py", "__main__.py")
    }
    order = list(graphlib.TopologicalSorter(uses).static_order())
    assert order.index("diffusion.schedule") < order.index("engine.engine")


def top_imports(path):
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ddim_app"):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def module_name(place):
    return ".".join(place.with_suffix("").parts)


def nearest(name, known):
    """The module that an imported name lies in, without `ddim_app.`; None for a package."""
    inside = name.removeprefix("ddim_app.")
    return inside if inside in known else inside.rpartition(".")[0] if inside.rpartition(".")[0] in known else None


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_are_known_where_they_belong(library):
    users = {str(place) for place, path in files() for name in imports(path) if name.split(".")[0] == library}
    assert {user for user in users if user not in LIBRARIES[library] and user.split("/")[0] not in LIBRARIES[library]} == set()


def test_class_names_are_unique():
    places = collections.defaultdict(list)
    for place, path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(place))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_module_names_are_unique():
    """No module shares its name with one of another package, except commands and a tab's `tab`, `view` and `endpoint`."""
    places = collections.defaultdict(list)
    for place, _ in files():
        if member(place) != "commands" and place.stem not in SHARED_NAMES:
            places[place.stem].append(str(place))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_modules_and_functions_are_short():
    long_modules = {str(place): lines for place, path in files() if (lines := len(path.read_text("utf-8").splitlines())) > 300}
    functions = [
        (node.end_lineno - node.lineno + 1, f"{place}: {node.name}")
        for place, path in files()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lengths = sorted(length for length, _ in functions)
    assert long_modules == {}
    assert [name for length, name in functions if length > 40] == []
    assert lengths[len(lengths) // 2] <= 6


def test_there_is_one_root():
    """The folder of the project is found from a file's own place once; others find only what lies beside them."""
    finders = {str(place) for place, path in files() if "parents[" in (text := path.read_text("utf-8")) or ".parent.parent" in text}
    assert finders == {"models/catalogue.py"}
    assert (ROOT / "app.py").is_file()
    assert (ROOT / "weights").is_dir()


def test_what_a_fresh_interpreter_has_loaded():
    """The core none of the heavy libraries; the engine no gradio. Importing opens no weights, as an audit hook sees, nor wakes
    a device."""
    code = (
        "import sys; seen = []; sys.addaudithook(lambda event, args: event == 'open' and seen.append(str(args[0])));"
        f"{'; '.join(f'import ddim_app.{name}' for name in CORE)}; print(*sys.modules);"
        "import ddim_app.engine.engine, torch;"
        "weights = [path for path in seen if path.endswith(('.safetensors', '.bin', '.pt', '.ckpt')) or '/weights/' in path];"
        "print('gradio' in sys.modules, len(weights), torch.cuda.is_initialized(), len(seen) > 100)"
    )
    *loaded, gradio, weights, device, hook_works = in_fresh_interpreter(code)
    core = {name.split(".")[0] for name in loaded}
    assert {"ddim_app", "torch"} <= core
    assert not core & {"diffusers", "gradio", "accelerate", "transformers"}
    assert (gradio, weights, device, hook_works) == ("False", "0", "False", "True")


def test_nothing_is_imported_from_a_file_of_tests_or_fixtures():
    """What several of them need lies in a module of its own, and fixtures in a conftest.py above them."""
    wanted = re.compile(r"^\s*(?:from|import) tests\.(?:\w+\.)*(?:test_\w+|conftest)\b", re.MULTILINE)
    files = {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py") if wanted.search(path.read_text("utf-8"))}
    assert files == set()
