"""Which device there is, and what its networks compute in."""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from ddim_app.lazy import torch

T = TypeVar("T")


def best_device() -> "torch.device":
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def cores() -> int:
    """Cores that this process may use: those it is bound to, or fewer where its container has a share of the time."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(bound, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return bound


@functools.cache
def threads() -> int:
    """Threads for the network's calls: one for each core, or as many as torch was told to take before this was first asked."""
    return min(cores(), torch.get_num_threads())


def use_cores() -> None:
    """Gives torch's arithmetic on this thread all cores, and one to each thread that begins later.

    A thread takes, when it first computes, the number that was set last anywhere; see `spare_cores` for what that would cost.
    """
    torch.set_num_threads(threads())
    torch.get_num_threads()  # from here on this thread keeps its number
    other = threading.Thread(target=torch.set_num_threads, args=(1,))
    other.start()
    other.join()


def spare_cores() -> None:
    """Leaves torch's arithmetic on this thread one core, so that the thread that calls the network can have them all.

    OpenMP keeps a team of threads for every thread that computes in parallel, and as soon as all teams together have more
    threads than there are cores, each of them falls asleep at every barrier: calls then take 1.3 to 1.7 times as long.
    """
    threads()
    torch.set_num_threads(1)


def on_one_core(function: Callable[..., T], *values: Any) -> T:
    """What `function(*values)` returns or raises on a thread of its own, which ends with it.

    A team of threads that torch made on the caller's thread would stay; see `spare_cores` for what that costs.
    """
    threads()
    torch.get_num_threads()  # from here on the caller's thread keeps its number
    with ThreadPoolExecutor(1, "one-core", torch.set_num_threads, (1,)) as thread:
        return thread.submit(function, *values).result()


def computes_bf16(device: "torch.device") -> bool:
    """Whether bf16 is native there. Emulated bf16 is slower than fp32 and loses precision for nothing."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private in torch 2.10 to 2.13; where they are gone, fp32 is the safe answer.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def number_format(precision: str, device: "torch.device") -> str:
    """What the network computes in for a recipe's precision: "fp32", or for "fast" what the device is quick in.

    That is "bf16" where it is native, "fp16" on a GPU without it, and elsewhere fp32 again.
    """
    if precision != "fast":
        return "fp32"
    if computes_bf16(device):
        return "bf16"
    return "fp16" if device.type == "cuda" else "fp32"
