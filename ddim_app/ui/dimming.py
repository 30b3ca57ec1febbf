"""Dims a part of a tab while its settings are not those of what it shows; `window.settings` in wait.js compares them."""

import json
from collections.abc import Collection
from typing import Any

import gradio as gr

from ddim_app.ui.fields import HERE, PRIVATE
from ddim_app.ui.run_tab import RunTab


class Dimmed:
    """A part of the page, by its name in page.css, and those inputs of its tab that it is drawn with.

    `unused` names the inputs that it is not drawn with; those that the tab does not show are none either. `shape` is JavaScript
    that takes out of `own`, the settings by their names, what makes no difference.
    """

    def __init__(self, part: str, tab: RunTab, unused: Collection[str] = (), shape: str = "") -> None:
        self._part, self._tab, self._shape = part, tab, shape
        self._fields = {
            name: field for name, field in tab.named_inputs.items() if name not in unused and _is_shown(field, tab.name)
        }  # fmt: skip
        names = list(tab.named_inputs)
        self._places = {name: names.index(name) for name in self._fields}

    def connect(self, *events: Any) -> None:
        """Adds the events: changes of the settings, whoever makes them, seen while the tab is open and as it is opened.

        After `events` it is dimmed whatever the settings are.
        """
        changes = [field.change for field in self._fields.values()]
        begin = json.dumps({name: field.value for name, field in self._fields.items()}, ensure_ascii=False)
        seen = gr.on([self._tab.place.select, *changes], None, None, None, js=f"() => {{ {self._here} return []; }}", **PRIVATE)
        compared = f"{self._own} window.settings('{self._part}', shaped(own), shaped({begin})); return [];"
        seen.then(None, self._tab.inputs, None, js=f"(...values) => {{ {compared} }}", **PRIVATE)
        if events:
            js = f"() => {{ {self._here} window.stale('{self._part}'); return []; }}"
            gr.on(list(events), None, None, None, js=js, **PRIVATE)

    @property
    def asked(self) -> str:
        """JavaScript for a run of the `values` of all inputs, which is to fill the part."""
        return f"{{ {self._own} window.asked('{self._part}', shaped(own)); }}"

    @property
    def _here(self) -> str:
        return HERE.format(self._tab.name)

    @property
    def _own(self) -> str:
        """JavaScript that takes the part's settings out of `values`."""
        places = json.dumps(self._places, ensure_ascii=False)
        taken = f"Object.fromEntries(Object.entries({places}).map(([name, i]) => [name, values[i]]))"
        return f"const shaped = own => {{ {self._shape} return own; }}, own = {taken};"


def _is_shown(field: Any, tab: str) -> bool:
    """Whether the tab shows the field, and the browser knows its value."""
    return not isinstance(field, gr.State) and ("only" not in field.elem_classes or f"in-{tab}" in field.elem_classes)
