"""The constant files of the page: templates, styles, scripts and texts beside the code that shows them."""

from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@cache
def asset(name: str) -> str:
    """The text of a file, named by its path from the package `ui`."""
    return (FOLDER / name).read_text("utf-8")


def component_files(name: str) -> dict[str, Any]:
    """Template, style and script of a custom component, as gr.HTML takes them."""
    return {
        "html_template": asset(f"components/{name}.html"),
        "css_template": asset(f"components/{name}.css"),
        "js_on_load": asset(f"components/{name}.js"),
    }
