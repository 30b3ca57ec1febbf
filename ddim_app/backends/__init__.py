"""How one evaluation of the network is made on this machine: by torch, captured on a GPU, or by OpenVINO on a CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ddim_app.backends.devices import best_device, computes_bf16, number_format, on_one_core, spare_cores, threads, use_cores

if TYPE_CHECKING:
    from ddim_app.backends.batch_invariance import invariant_buckets
    from ddim_app.backends.eager import predictor, smallest
    from ddim_app.backends.single_row import settle
    from ddim_app.backends.switch import BackendSwitch

__all__ = [
    "BackendSwitch", "best_device", "computes_bf16", "invariant_buckets", "number_format", "on_one_core", "predictor", "settle",
    "smallest", "spare_cores", "threads", "use_cores",
]  # fmt: skip

HOMES = {
    "BackendSwitch": "switch", "invariant_buckets": "batch_invariance", "predictor": "eager", "settle": "single_row",
    "smallest": "eager",
}  # fmt: skip
"""The modules of the names that need torch, loaded when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"ddim_app.backends.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
