"""How many rows one network call may have on this device."""

from pathlib import Path

from ddim_app.diffusion.batch_sizes import BUCKETS
from ddim_app.diffusion.noise import Shape
from ddim_app.diffusion.sampler import Predict
from ddim_app.lazy import torch

CPU_ROWS = 16
"""Throughput of small UNets on a CPU is flat from here on, while every visitor waits for the whole call."""
GPU_ROWS = 256
NO_MEMORY = ("out of memory", "can't allocate memory", "could not create a primitive")
SHARE = 0.5
"""The part of the free memory that one call's activations may take."""


class TooLargeError(RuntimeError):
    """Not even one row fits into what is free."""


def max_rows(predict: Predict, shape: Shape, device: "torch.device", most: int | None = None) -> int:
    """Rows that fit into one call, a bucket of them, from the measured memory of a row and what is free.

    At most `most`, which is else what a device does best with. Raises TooLargeError where all of it would not do for one.
    """
    most = most or (CPU_ROWS if device.type == "cpu" else GPU_ROWS)
    rows = free_bytes(device) / bytes_per_row(predict, shape, device)
    if rows < 1:
        raise TooLargeError(f"one row needs {1 / rows:.1f} times the memory that is free")
    return max((bucket for bucket in BUCKETS if bucket <= min(most, int(SHARE * rows))), default=1)


def bytes_per_row(predict: Predict, shape: Shape, device: "torch.device") -> float:
    """Growth of a call's peak memory with each row, measured between two and four rows."""
    two, four = (_peak(predict, shape, device, rows) for rows in (2, 4))
    return max(1.0, (four - two) / 2)


def free_bytes(device: "torch.device") -> int:
    """Memory that a call could use: the device's, or on the CPU what the machine and the container's limit leave."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    import psutil  # comes with accelerate

    available = int(psutil.virtual_memory().available)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return available if limit is None or used is None else max(0, min(available, limit - used))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return None


def _peak(predict: Predict, shape: Shape, device: "torch.device", rows: int) -> int:
    x, t = torch.zeros(rows, *shape, device=device), torch.zeros(rows, dtype=torch.int64, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        predict(x, t)
        return int(torch.cuda.max_memory_allocated(device))
    from ddim_app.models.live_bytes import LiveBytes  # a class of torch's

    live = LiveBytes()
    with live:
        predict(x, t)
    return live.peak


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA raises OutOfMemoryError; MPS and the CPU allocator a plain RuntimeError that says so, oneDNN one that does not."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    )
