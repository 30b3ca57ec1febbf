"""The engine of a command, with the models that were named on its line."""

from typing import TYPE_CHECKING

from ddim_app.models.catalogue import local
from ddim_app.models.hub import say

if TYPE_CHECKING:
    from ddim_app.engine import Engine


def local_engine(*models: str) -> "Engine":
    """An engine that takes the models of weights/ and runs/, folders, and ids of the Hub, with these loaded; raises FieldError."""
    from ddim_app.engine import Engine  # here, since it takes seconds

    engine = Engine(catalogue=local())
    for name in models:
        engine.model(name, say)
    return engine
