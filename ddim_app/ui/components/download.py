"""Files that the page hands to the browser inside its own stream, so that nothing is written to the server's disk."""

import base64
import uuid
from typing import Any

import gradio as gr

from ddim_app.ui.assets import asset


def place(elem_id: str) -> gr.HTML:
    """The component that saves what it is given by `file`, and shows a `note` that stands in its place."""
    return gr.HTML(
        {}, html_template='<p role="status" aria-live="polite"></p>', css_template="p { margin: 0; min-height: 1.4em; }",
        js_on_load=asset("components/download.js"), apply_default_css=False, elem_id=elem_id, elem_classes="line",
    )  # fmt: skip


def file(name: str, mime: str, data: bytes) -> dict[str, Any]:
    """A place's value that makes the browser save the file."""
    return {"id": uuid.uuid4().hex, "name": name, "mime": mime, "data": base64.b64encode(data).decode("ascii")}
