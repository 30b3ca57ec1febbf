"""Draws docs/packages.svg, which package of `ddim_app` imports which, from the import statements: `python -m tests.packages`."""

import ast
import collections
import functools
import graphlib
from pathlib import Path

from ddim_app.models.catalogue import ROOT

PACKAGE, FIGURE = ROOT / "ddim_app", ROOT / "docs" / "packages.svg"
WIDTH, ROW, BOX = 760, 74, (112, 34)


def files() -> list[tuple[Path, Path]]:
    """Every source file, with its place in the package."""
    return [(path.relative_to(PACKAGE), path) for path in sorted(PACKAGE.rglob("*.py"))]


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def imports(path: Path) -> list[str]:
    """Full names that a file imports, wherever in it the statement is."""
    names = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{name.name}" for name in node.names]
    return names


def member(place: Path) -> str:
    """The package or top module that a file belongs to."""
    return place.with_suffix("").parts[0]


def uses() -> dict[str, set[str]]:
    """What each package imports of the others; files at the top but errors.py are left out, since they only pass on."""
    packages = {member(place) for place, _ in files() if len(place.parts) > 1} | {"errors"}
    found: dict[str, set[str]] = {name: set() for name in packages}
    for place, path in files():
        if member(place) in packages:
            names = {name.split(".")[1] for name in imports(path) if name.startswith("ddim_app.")}
            found[member(place)] |= (names & packages) - {member(place)}
    return found


def levels(found: dict[str, set[str]]) -> dict[str, int]:
    """How many arrows the longest way down from each package has."""
    height: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(found).static_order():
        height[name] = 1 + max((height[other] for other in found[name]), default=-1)
    return height


def figure() -> str:
    """The SVG: packages on their levels; an arrow to each that is imported and not reached by way of another."""
    found = uses()
    height, rows = levels(found), collections.defaultdict(list)
    for name in sorted(found):
        rows[height[name]].append(name)
    at = {name: (WIDTH * (i + 1) // (len(row) + 1), 30 + ROW * (max(rows) - level))
          for level, row in rows.items() for i, name in enumerate(row)}  # fmt: skip
    far = functools.cache(lambda name: {other for near in found[name] for other in {near, *far(near)}})  # type: ignore[misc]
    arrows = [(name, other) for name in sorted(found) for other in sorted(found[name])
              if not any(other in far(near) for near in found[name])]  # fmt: skip
    w, h = BOX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {60 + ROW * max(rows)}" '
        'font-family="sans-serif" font-size="15">',
        "<title>Packages of ddim_app: an arrow points to what is imported</title>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#5d6679"/></marker></defs>',
        *(f'<path d="M{at[a][0]} {at[a][1] + h // 2}L{at[b][0]} {at[b][1] - h // 2 - 1}" stroke="#5d6679" marker-end="url(#a)"/>'
          for a, b in arrows),
        *(f'<rect x="{x - w // 2}" y="{y - h // 2}" width="{w}" height="{h}" rx="6" fill="#eef4f2" stroke="#0f766e"/>'
          f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="#1d2330">{name}</text>' for name, (x, y) in sorted(at.items())),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    FIGURE.write_text(figure(), "utf-8")
    print(f"docs/{FIGURE.name}")
