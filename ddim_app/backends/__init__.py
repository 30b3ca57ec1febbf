"""How one evaluation of the network is made on this machine: by torch, captured on a GPU, or by OpenVINO on a CPU."""

from ddim_app.backends.batch_invariance import invariant_buckets
from ddim_app.backends.devices import best_device, computes_bf16, number_format, spare_cores, threads, use_cores
from ddim_app.backends.eager import predictor, smallest
from ddim_app.backends.single_row import settle
from ddim_app.backends.switch import BackendSwitch

__all__ = [
    "BackendSwitch", "best_device", "computes_bf16", "invariant_buckets", "number_format", "predictor", "settle", "smallest",
    "spare_cores", "threads", "use_cores",
]  # fmt: skip
