"""Guidance by classes: rows that are evaluated twice, for their class and for the null class, and what is made of both."""

from collections.abc import Sequence
from itertools import accumulate

from ddim_app.diffusion.formulas import placed
from ddim_app.lazy import Tensor, torch


def repeated(x_t: Tensor, widths: Sequence[int]) -> Tensor:
    """Each row of x_t as often as it is evaluated."""
    if all(width == 1 for width in widths):
        return x_t
    return x_t.index_select(0, placed(torch.tensor([i for i, width in enumerate(widths) for _ in range(width)]), x_t.device))


def guided(x_t: Tensor, output: Tensor, widths: Sequence[int], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """(x_t, output) with one row again where `repeated` made two, for the class and for none: none + w (class - none).

    That is classifier-free guidance (arXiv:2207.12598, Eq. 6), with w = 1 + the paper's w. It is said of eps, and holds as well for
    pred_x0 and v, which are affine in eps at the same x_t. A learned variance stays that of the class.
    """
    if all(width == 1 for width in widths):
        return x_t, output
    last = [end - 1 for end in accumulate(widths)]
    rows, others = placed(torch.tensor([[end - width + 1 for end, width in zip(last, widths, strict=True)], last]), x_t.device)
    both, C = output.index_select(0, rows), x_t.shape[1]
    of_class, of_none = both[:, :C], output.index_select(0, others)[:, :C]
    w = placed(torch.tensor(weights, dtype=output.dtype), x_t.device).view(-1, 1, 1, 1)
    is_guided = placed(torch.tensor(widths), x_t.device).view(-1, 1, 1, 1) > 1
    mixed = torch.where(is_guided, of_none + w * (of_class - of_none), of_class)
    return x_t.index_select(0, rows), torch.cat((mixed, both[:, C:]), 1)
