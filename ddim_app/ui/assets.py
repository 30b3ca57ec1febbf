"""The constant files of the page: templates, styles, scripts and texts beside the code that shows them."""

from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@cache
def asset(name: str) -> str:
    """The text of a file, named by its path from the package `ui`."""
    return (FOLDER / name).read_text("utf-8")


def component_files(name: str, *shared: str) -> dict[str, Any]:
    """Template, style and script of a custom component, as gr.HTML takes them; the script begins with the shared ones.

    Of the shared ones some are a script alone.
    """
    styles = [each for each in (name, *shared) if each == name or (FOLDER / f"components/{each}.css").is_file()]
    return {
        "html_template": asset(f"components/{name}.html"),
        "css_template": "".join(asset(f"components/{each}.css") for each in styles),
        "js_on_load": "".join(asset(f"components/{each}.js") for each in (*shared, name)),
    }
