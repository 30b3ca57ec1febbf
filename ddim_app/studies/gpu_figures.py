"""Single figures of a GPU: what it is, its peak, the time of a call, the work of a network."""

import itertools
import statistics
import time
from collections.abc import Callable

import torch

from ddim_app.models.loading import Model


def card(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, a rehearsal"


def keeps_channels_last(device: torch.device) -> bool:
    x = torch.randn(2, 32, 8, 8, device=device).contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.group_norm(x, 8).is_contiguous(memory_format=torch.channels_last)


def matmul_peak(device: torch.device) -> float:
    """FLOP/s of a bf16 matrix product of random numbers."""
    n = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / timed(lambda: a @ b, device, 10)


def timed(call: Callable[[], object], device: torch.device, times: int, warm: int = 3) -> float:
    """Median seconds of a call, by events on a GPU."""
    for _ in range(warm):
        call()
    if device.type != "cuda":
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]  # type: ignore[no-untyped-call]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize(device)
    return float(statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(marks))) / 1000


def flops(model: Model) -> float:
    """Floating-point operations of one evaluation of one row."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.unet(torch.zeros(1, *model.shape), torch.zeros(1, dtype=torch.int64))
    return float(counter.get_total_flops())
