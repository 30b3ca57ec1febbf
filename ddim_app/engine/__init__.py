"""Runs of recipes on one device: the engine, its batch loop, what evaluates the networks, and the limits of a host."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddim_app.engine.engine import Emit, Engine
    from ddim_app.engine.tickets import Finished

__all__ = ["Emit", "Engine", "Finished"]


def __getattr__(name: str) -> Any:
    """The names of `engine.engine`, loaded when they are first asked for."""
    if name in __all__:
        from ddim_app.engine import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
