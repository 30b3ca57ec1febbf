"""The network on an NVIDIA GPU: one captured graph for each batch size.

A small network on a large GPU waits for Python to launch its kernels, some hundreds of them. A graph launches them at once.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ddim_app.diffusion.formulas import placed
from ddim_app.diffusion.sampler import Predict

WARM_CALLS = 3
"""Before a capture, so that cuDNN has chosen its algorithms and the allocator has its blocks."""
MOST_GRAPHS = 16
"""Batch sizes with a graph of their own; each keeps its activations."""


def captured(unet: nn.Module, device: torch.device) -> Predict:
    """The network as a function that replays one graph per batch size; it never waits for the device.

    Its output is overwritten by the next call of that size, so it is copied out. Convolutions and products in fp32 are fp32
    and not TF32.
    """
    graphs: dict[int, tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}
    # Graphs run one at a time and their outputs are copied out at once, so all may use the same memory.
    pool = torch.cuda.graph_pool_handle()

    def evaluate(x: Tensor, *given: Tensor) -> Tensor:
        size = len(x)
        if size not in graphs:
            if len(graphs) == MOST_GRAPHS:
                del graphs[next(iter(graphs))]
            graphs[size] = _capture(unet, x, [placed(each, device) for each in given], pool)
        graph, (rows, *others), output = graphs[size]
        rows.copy_(x, non_blocking=True)
        for place, each in zip(others, given, strict=True):
            place.copy_(each.pin_memory() if each.device.type == "cpu" else each, non_blocking=True)
        graph.replay()
        return output.clone()

    return evaluate


def _capture(unet: nn.Module, x: Tensor, given: list[Tensor], pool: Any) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
    """(graph, its inputs, its output) for rows such as x, with their timesteps and classes."""
    inputs = [x.clone(memory_format=torch.channels_last), *(each.clone() for each in given)]
    aside = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(aside), _ieee():
        for _ in range(WARM_CALLS):
            unet(*inputs, return_dict=False)
    torch.cuda.current_stream(x.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Other threads put models and noise on the device meanwhile.
    with torch.cuda.graph(graph, pool, capture_error_mode="thread_local"), _ieee():
        output = unet(*inputs, return_dict=False)[0]
    return graph, inputs, output


def _ieee() -> AbstractContextManager[None]:
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=False, allow_tf32=False)
