"""The running average of the weights, which is what the run publishes as its model."""

from collections.abc import Iterable

import torch
from torch import nn


def decay(step: int, longest: float) -> float:
    """min(longest, (1 + step) / (10 + step)): after `step` updates the average spans about the last tenth of them.

    A fixed 0.9999 remembers 10,000 steps, so after 2,000 the start still has 82 % of the weight and a model from scratch
    samples noise. With this ramp the start's share is that of a product falling like 1 / step^9.
    """
    return min(longest, (1 + step) / (10 + step))


@torch.no_grad()
def update(average: nn.Module, current: nn.Module, step: int, longest: float) -> None:
    """Moves the averaged weights towards the current ones after the optimiser's step number `step` (0-based)."""
    pairs = list(zip(average.parameters(), current.parameters(), strict=True))
    torch._foreach_lerp_(_data(a for a, _ in pairs), _data(c for _, c in pairs), 1 - decay(step, longest))


def _data(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    return [parameter.data for parameter in parameters]
