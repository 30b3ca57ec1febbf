"""Recipes in, frames out, on one device.

engine              the Engine: models, plans, runs from their start to their end
run_handle          a run under way: an iterator of its events, stop() and result
batch_loop, tickets, row_batches    one network call for the rows of all runs
evaluators, backend_choice, fidelity    which network function evaluates a run's rows, and how far it is from fp32
limits, rate_shares what a run and a visitor may take, at a time and by the minute
request_log         what is logged and counted of them
options, space, zero_gpu    how a server is started, on a Space, and on a host that lends a GPU per request
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddim_app.engine.engine import Emit, Engine
    from ddim_app.engine.run_handle import RunHandle
    from ddim_app.engine.tickets import Finished

__all__ = ["Emit", "Engine", "Finished", "RunHandle"]


def __getattr__(name: str) -> Any:
    """The names of `engine.engine`, loaded when they are first asked for."""
    if name in __all__:
        from ddim_app.engine import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
