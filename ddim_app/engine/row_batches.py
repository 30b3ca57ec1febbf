"""Rows of several runs put together for one call, and its answers taken apart and put together again."""

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ddim_app.backends import host_copy
from ddim_app.diffusion.sampler import Copy, Moved, advance
from ddim_app.engine.tickets import Portion


def moved_together(portions: Sequence[Portion], outputs: Sequence[Tensor]) -> list[Moved]:
    """The rows of several portions after their transitions, which are made together; all are of one kind."""
    moves = [move for portion in portions for move in portion.moves or ()]
    moved = advance(cat([portion.x_t for portion in portions]), cat(outputs), moves)
    copy = host_copy.begin(moved[:3])
    ends = list(itertools.accumulate(len(portion.t) for portion in portions))
    parts = [slice(end - len(portion.t), end) for portion, end in zip(portions, ends, strict=True)]
    return [
        Moved(moved.x_next[part], moved.pred_x0[part], moved.eps[part], copy and functools.partial(_part, copy, part))
        for part in parts
    ]


def _part(copy: Copy, part: slice) -> list[Tensor]:
    return [tensor[part] for tensor in copy()]


def joined(answers: Sequence[Tensor | Moved]) -> Tensor | Moved:
    """The answers to the parts of one query as the answer to all of it."""
    if len(answers) == 1:
        return answers[0]
    moved = [answer for answer in answers if isinstance(answer, Moved)]
    if not moved:
        return torch.cat([answer for answer in answers if isinstance(answer, Tensor)])
    copies = [answer.copy for answer in moved if answer.copy is not None]
    x_next, pred_x0, eps = (torch.cat(parts) for parts in zip(*(answer[:3] for answer in moved), strict=True))
    return Moved(x_next, pred_x0, eps, functools.partial(_cat_copies, copies) if copies else None)


def _cat_copies(copies: Sequence[Copy]) -> list[Tensor]:
    return [torch.cat(parts) for parts in zip(*(copy() for copy in copies), strict=True)]


def cat(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
