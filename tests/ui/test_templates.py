"""Gradio evaluates `${}` and `{{}}` in a template as code: nothing from outside may come into one."""

import ast
from pathlib import Path

import gradio as gr

from ddim_app.engine import Engine
from ddim_app.ui import build_ui
from tests import toys
from tests.packages import PACKAGE

CODE = ("html_template", "css_template", "js_on_load", "head")
PAYLOAD = "<img src=x onerror=document.title=1>${document.title++}{{constructor}}"


def templates(root: Path) -> list[tuple[str | None, ...]]:
    blocks = build_ui(Engine([root], allow_hub=False)).blocks.values()
    return [(block.elem_id, *(getattr(block, name) for name in CODE)) for block in blocks if isinstance(block, gr.HTML)]


def test_templates_are_the_same_whatever_the_models_are_called(tmp_path: Path) -> None:
    toys.save_tiny(tmp_path / "a" / "tiny")
    toys.save_tiny(tmp_path / "b" / PAYLOAD)
    plain, hostile = templates(tmp_path / "a"), templates(tmp_path / "b")
    assert plain == hostile
    assert len(plain) >= 6
    # With Gradio's own template the value is markup.
    assert [elem_id for elem_id, template, *_ in plain if "${" in template or "{{" in template] == []


def test_no_event_sets_a_template() -> None:
    for path in sorted((PACKAGE / "ui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            given = {keyword.arg for keyword in node.keywords} if isinstance(node, ast.Call) else set()
            if given & set(CODE):
                assert ast.unparse(node.func) == "gr.HTML", f"{path.name}:{node.lineno}"
