"""A row alone on a CPU in 16 bits: the work of one row, with the bits that it has among others.

Some layers, such as linear ones and norms of large pictures, compute a row by another path when it is alone, and round
otherwise; convolutions, which are nearly all of the work, need not. So those layers, as they are found on this machine, get the
row twice, and the whole is traced and frozen, which takes Python out of it. It serves only if its bits are those of two rows.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial

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
        if thread.name == THREAD:
            thread.join()


class Positional(nn.Module):
    """A UNet as tracing takes it: tensors by their places in, one tensor out."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t, return_dict=False)[0]  # type: ignore[no-any-return]


class DoubledRow(nn.Module):
    """A layer that gets its lone row twice."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.cat((x, x)))[:1]  # type: ignore[no-any-return]


class WatchedLayer(nn.Module):
    """A layer that notes whether a row of two comes out as it does alone."""

    def __init__(self, layer: nn.Module, name: str, odd: set[str]) -> None:
        super().__init__()
        self.layer, self.name, self.odd = layer, name, odd

    def forward(self, x: Tensor) -> Tensor:
        pair: Tensor = self.layer(x)
        if len(x) == 2 and not torch.equal(self.layer(x[:1]), pair[:1]):
            self.odd.add(self.name)
        return pair


def watched(unet: nn.Module, odd: set[str]) -> nn.Module:
    """The network for pairs of equal rows that notes in `odd` the layers whose bits for a lone row are others."""

    def layer(name: str, module: nn.Module) -> nn.Module | None:
        return WatchedLayer(module, name, odd) if isinstance(module, nn.Linear | nn.Conv2d | nn.GroupNorm) else None

    return Positional(replaced(unet, layer))


def network(unet: nn.Module, odd: set[str], x: Tensor, t: Tensor) -> Predict:
    """The network for lone rows such as x, traced and frozen; its odd layers get the row twice."""
    paired = Positional(replaced(unet, lambda name, module: DoubledRow(module) if name in odd else None)).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that tracing will go one day; then two rows serve
        return torch.jit.freeze(torch.jit.trace(paired, (x, t), check_trace=False))  # type: ignore[no-any-return, no-untyped-call]


class SingleRow:
    """Evaluates lone rows as two; after `PATIENCE` of them makes a network of their own, and changes over once its bits agree.

    Bits are compared in calls that are made anyway, since they may depend on the thread that makes them.
    """

    def __init__(self, unet: nn.Module, evaluate: Predict) -> None:
        self._unet, self._evaluate = unet, evaluate
        self._stages = self._course()
        self._guard = threading.Lock()
        self._example: tuple[Tensor, Tensor] | None = None
        self._agreed = 0
        self.is_ready = False
        """Whether lone rows are evaluated as such."""

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        with self._guard:
            self._example = x, t
            evaluate = next(self._stages)
        return evaluate(x, t)

    def _course(self) -> Iterator[Predict]:
        """What evaluates each call in turn."""
        for _ in range(PATIENCE):
            yield self._as_two
        odd: set[str] = set()
        noting = watched(self._unet, odd)
        for _ in range(COMPARED):
            yield partial(_in_pair, noting)
        made: Future[Predict | None] = Future()
        try:
            # No daemon: a process that ends while a thread is inside torch aborts.
            threading.Thread(target=self._prepare, args=(odd, made), name=THREAD).start()
        except RuntimeError:  # no thread to be had
            made.set_result(None)
        while not made.done():
            yield self._as_two
        alone = made.result()
        if alone is not None:
            for _ in range(COMPARED):
                yield partial(self._compared, alone)
            self.is_ready = self._agreed == COMPARED
        while True:
            yield alone if alone is not None and self.is_ready else self._as_two

    def _as_two(self, x: Tensor, t: Tensor) -> Tensor:
        return _in_pair(self._evaluate, x, t)

    def _compared(self, alone: Predict, x: Tensor, t: Tensor) -> Tensor:
        right = self._as_two(x, t)
        try:
            self._agreed += torch.equal(alone(x, t), right)
        except Exception:  # whatever it is, two rows serve
            log.exception("the network for lone rows failed, so they go on as two")
        return right

    def _prepare(self, odd: set[str], made: "Future[Predict | None]") -> None:
        assert self._example is not None
        try:
            made.set_result(network(self._unet, odd, *self._example))
        except Exception:  # whatever it is, two rows serve
            log.exception("a network for lone rows could not be made, so they go on as two")
            made.set_result(None)


def _in_pair(evaluate: Predict, x: Tensor, t: Tensor) -> Tensor:
    """A lone row by a function of pairs."""
    return evaluate(torch.cat((x, x)).contiguous(memory_format=torch.channels_last), torch.cat((t, t)))[:1]
