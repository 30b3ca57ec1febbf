"""A row alone on a CPU: a network that is traced and frozen, which takes Python out of it, and has the bits of the plain one.

In 16 bits a row must have the bits that it has among others. Some layers, such as linear ones and norms of large pictures,
compute a row by another path when it is alone, and round otherwise; convolutions, which are nearly all of the work, need not.
So those layers, as they are found on this machine, get the row twice. It serves only if its bits are those of two rows.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ddim_app.backends.mixture import replaced
from ddim_app.diffusion.sampler import Predict

log = logging.getLogger(__name__)

PATIENCE = 50
"""Calls of a lone row after which preparing pays; it takes a second or more, on a thread of its own."""
COMPARED = 4
"""Calls in which bits are compared, before the network is made and again with it."""
THREAD = "lone-row"


def settle() -> None:
    """Waits for the networks that are being made for lone rows; for measurements."""
    for thread in threading.enumerate():
        if thread.name.startswith(THREAD):
            thread.join()


class CalledThrough(nn.Module):
    """A module that is called through a function of it and its input."""

    def __init__(self, inside: nn.Module, call: Callable[..., Tensor]) -> None:
        super().__init__()
        self.inside, self.call = inside, call

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.call(self.inside, *inputs)


def positional(unet: nn.Module) -> nn.Module:
    """A UNet as tracing takes it: tensors by their places in, one tensor out."""
    return CalledThrough(unet, lambda unet, *given: unet(*given, return_dict=False)[0]).eval()


def watched(unet: nn.Module, odd: set[str]) -> nn.Module:
    """The network for pairs of equal rows that notes in `odd` the layers whose bits for a lone row are others."""

    def note(name: str, layer: nn.Module, x: Tensor) -> Tensor:
        pair: Tensor = layer(x)
        if len(x) == 2 and not torch.equal(layer(x[:1]), pair[:1]):
            odd.add(name)
        return pair

    def layer(name: str, module: nn.Module) -> nn.Module | None:
        is_watched = isinstance(module, nn.Linear | nn.Conv2d | nn.GroupNorm)
        return CalledThrough(module, partial(note, name)) if is_watched else None

    return positional(replaced(unet, layer))


def network(unet: nn.Module, odd: set[str], *example: Tensor) -> Predict:
    """The network for lone rows such as the example's, traced and frozen; its odd layers get the row twice."""

    def layer(name: str, module: nn.Module) -> nn.Module | None:
        return CalledThrough(module, lambda layer, x: layer(torch.cat((x, x)))[:1]) if name in odd else None

    paired = positional(replaced(unet, layer))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that tracing will go one day; then they go on as before
        return torch.jit.freeze(torch.jit.trace(paired, example, check_trace=False))  # type: ignore[no-any-return, no-untyped-call]


class SingleRow:
    """Evaluates lone rows plainly; after `PATIENCE` of them makes a network of their own, and changes over once its bits agree.

    Plainly is as two equal rows where `is_paired`, else alone. Bits are compared in calls that are made anyway, since they may
    depend on the thread that makes them.
    """

    def __init__(self, unet: nn.Module, evaluate: Predict, is_paired: bool = True) -> None:
        self._unet = unet
        self._plain: Predict = partial(_in_pair, evaluate) if is_paired else evaluate
        self._is_paired = is_paired
        self._stages = self._course()
        self._guard = threading.Lock()
        self._example: Any = ()
        self._agreed = 0
        self.is_ready = False
        """Whether the network of their own serves."""

    def __call__(self, *given: Tensor) -> Tensor:
        with self._guard:
            self._example = given
            evaluate = next(self._stages)
        return evaluate(*given)

    def _course(self) -> Iterator[Predict]:
        """What evaluates each call in turn."""
        for _ in range(PATIENCE):
            yield self._plain
        odd: set[str] = set()
        if self._is_paired:
            noting = watched(self._unet, odd)
            for _ in range(COMPARED):
                yield partial(_in_pair, noting)
        alone: Predict | None = None
        try:
            # No daemon: a process that ends while a thread is inside torch aborts.
            executor = ThreadPoolExecutor(1, THREAD)
            made = executor.submit(network, self._unet, odd, *self._example)
            executor.shutdown(wait=False)
            while not made.done():
                yield self._plain
            alone = made.result()
        except Exception:  # whatever it is, be it that there is no thread to be had
            log.exception("a network for lone rows could not be made, so they go on as before")
        if alone is not None:
            for _ in range(COMPARED):
                yield partial(self._compared, alone)
            self.is_ready = self._agreed == COMPARED
        while True:
            yield alone if alone is not None and self.is_ready else self._plain

    def _compared(self, alone: Predict, *given: Tensor) -> Tensor:
        right = self._plain(*given)
        try:
            self._agreed += torch.equal(alone(*given), right)
        except Exception:  # whatever it is, they go on as before
            log.exception("the network for lone rows failed, so they go on as before")
        return right


def _in_pair(evaluate: Predict, x: Tensor, *given: Tensor) -> Tensor:
    """A lone row by a function of pairs."""
    rows = torch.cat((x, x)).contiguous(memory_format=torch.channels_last)
    return evaluate(rows, *(torch.cat((each, each)) for each in given))[:1]
