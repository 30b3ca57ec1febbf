"""Random numbers by name: each is a function of a seed, a purpose, a step and an index, whatever was drawn before.

NumPy guarantees the bits of SeedSequence and Philox for ever. SeedSequence mixes all the numbers of a key, so neither
neighbouring steps nor neighbouring seeds have anything in common, as they would with seed + step.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

# Last word of a key: one for each kind of number, so that no two kinds share a stream.
ORDER, CHOICE, NOISE, DROPOUT, HELD_OUT = range(0x7A11, 0x7A16)


def key(purpose: int, *numbers: int) -> np.ndarray:
    """128-bit Philox key of the numbers (each >= 0) for one purpose."""
    return np.random.SeedSequence([*numbers, purpose]).generate_state(2, np.uint64)


def words(philox_key: np.ndarray, index: int, count: int) -> np.ndarray:
    """`count` random uint64 that belong to (key, index) alone."""
    return np.random.Philox(key=philox_key, counter=[0, 0, 0, index]).random_raw(count)


def below(word: int, n: int) -> int:
    """A number in 0..n-1 from a 64-bit word."""
    return int(word) * n >> 64


def permutation(n: int, *numbers: int) -> np.ndarray:
    """A random order of 0..n-1 that belongs to the numbers."""
    return np.argsort(words(key(ORDER, *numbers), 0, n), kind="stable")


@dataclass
class DropoutRows:
    """Which rows the network is being called for; set before each call."""

    seed: int
    step: int = 0
    first: int = 0


class KeyedDropout(nn.Module):
    """Like nn.Dropout, but the same for a row whatever batch or process it is in.

    The mask comes from SplitMix64's finaliser over a counter, in integer arithmetic, so it is made on any device alike.
    """

    def __init__(self, p: float, layer: int, rows: DropoutRows) -> None:
        super().__init__()
        self.p, self.layer, self.rows = p, layer, rows

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        layer_key = key(DROPOUT, self.rows.seed, self.rows.step, self.layer)
        starts = np.concatenate([words(layer_key, self.rows.first + i, 1) for i in range(len(x))]).view(np.int64)
        per_row = torch.from_numpy(starts).to(x.device).view(-1, 1)
        counter = torch.arange(x[0].numel(), device=x.device) * -7046029254386353131  # 2^64 / golden ratio, as signed
        uniform = _mix(per_row + counter) >> 40 & 0xFFFFFF
        kept = (uniform >= round(self.p * 2**24)).view(x.shape)
        return x * kept / (1 - self.p)


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64, whose shifts must be logical."""
    z = (z ^ z >> 30 & 0x3FFFFFFFF) * -4658895280553007687
    z = (z ^ z >> 27 & 0x1FFFFFFFFF) * -7723592293110705685
    return z ^ z >> 31 & 0x1FFFFFFFF


def install_dropout(network: nn.Module, p: float, rows: DropoutRows) -> None:
    """Replaces the dropout of the residual blocks (an nn.Dropout named `dropout`) by the keyed one."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Dropout) and name.endswith(".dropout")]
    for layer, name in enumerate(names):
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, KeyedDropout(p, layer, rows))
