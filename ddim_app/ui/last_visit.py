"""The settings that a browser has kept, as far as they are settings."""

from typing import Any

from gradio.components import Component

from ddim_app.engine import Engine
from ddim_app.errors import FieldError
from ddim_app.runs import codecs
from ddim_app.ui.controls import NO_CLASS, Controls


def remembered(engine: Engine, settings: Controls, memory: Any) -> dict[Component, Any]:
    """The values of the settings' fields that `memory` has; none where one is wrong, since the browser's store is anybody's."""
    fields = settings.fields
    memory = {**NO_CLASS, **memory} if isinstance(memory, dict) else {}
    if not fields.keys() <= memory.keys():
        return {}
    found: dict[Component, Any] = {}
    try:
        for tab, own in {"": {}, **settings.own}.items():
            kept = {name: memory.get(f"{name}_{tab}", memory[name]) if name in own else memory[name] for name in fields}
            recipe = codecs.checked(kept)
            values = codecs.compare_values(recipe) or {}
            found |= {field: values[name] for name, field in (own or fields).items() if name in values}
    except FieldError:
        return {}
    return found if engine.is_here(recipe.model) or engine.catalogue.is_on_hub(recipe.model) else {}
