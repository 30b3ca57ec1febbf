"""Rows of several runs put together for one call, and its answers taken apart and put together again."""

import functools
from collections.abc import Callable, Sequence

from ddim_app.backends import host_copy
from ddim_app.diffusion.output_check import peaks
from ddim_app.diffusion.sampler import Copy, Moved, Query, advance, conditions
from ddim_app.engine.tickets import Portion, Ticket
from ddim_app.lazy import Tensor, torch


def inputs(portions: Sequence[Portion]) -> tuple[Tensor, ...]:
    """What a network is given for the rows of several portions."""
    classes = [y for portion in portions for y in portion.classes]
    return cat([portion.x_t.float() for portion in portions]), *conditions([t for portion in portions for t in portion.t], classes)


def moved_together(portions: Sequence[Portion], outputs: Sequence[Tensor]) -> list[Moved]:
    """The rows of several portions after their transitions, which are made together; all are of one kind."""
    moves = [move for portion in portions for move in portion.moves or ()]
    moved = advance(cat([portion.x_t for portion in portions]), cat(outputs), moves)
    copy = host_copy.begin(moved[:3])
    if len(portions) == 1:
        return [moved._replace(copy=copy)]
    sizes = [portion.transitions for portion in portions]
    tensors = zip(*(torch.split(tensor, sizes) for tensor in moved[:3]), strict=True)
    shared = functools.cache(lambda: list(zip(*(torch.split(tensor, sizes) for tensor in copy()), strict=True))) if copy else None
    copies = [shared and functools.partial(_part, shared, i) for i in range(len(portions))]
    return [Moved(x_next, pred_x0, eps, copy) for (x_next, pred_x0, eps), copy in zip(tensors, copies, strict=True)]


def _part(copies: Callable[[], Sequence[Sequence[Tensor]]], i: int) -> Sequence[Tensor]:
    return copies()[i]


def note_peaks(portions: Sequence[Portion], output: Tensor) -> None:
    """Leaves each run what gives the largest absolute value of its rows of the output, NaN where there is one.

    It is on its way from a GPU before the rows' own tensors, so whoever waits for those has waited for it.
    """
    values = peaks(output)
    copy = host_copy.begin([values])
    parts = functools.cache(lambda: torch.split(copy()[0] if copy else values, [len(portion.t) for portion in portions]))
    for i, portion in enumerate(portions):
        portion.ticket.peaks.append(functools.partial(_largest, parts, i))


def _largest(parts: Callable[[], Sequence[Tensor]], i: int) -> float:
    return float(parts()[i].max())


def portion_of(ticket: Ticket, query: Query, room: int) -> Portion:
    """The next rows of the query that a run waits for: at most `room`, or two where these stay together."""
    x_t, t, _, moves, classes, _ = query
    start = len(t) - ticket.asked
    end = min(start + room, len(t))
    if moves and end < len(t) and moves[end] is None:
        end += 1 if end == start + 1 else -1
    if end - start == len(t):
        return Portion(ticket, x_t, t, moves, classes)
    rows = slice(start, end)
    return Portion(ticket, x_t[rows], t[rows], moves and moves[rows], classes[rows])


def joined(answers: Sequence[Tensor | Moved]) -> Tensor | Moved:
    """The answers to the parts of one query as the answer to all of it."""
    if len(answers) == 1:
        return answers[0]
    moved = [answer for answer in answers if isinstance(answer, Moved)]
    if not moved:
        return torch.cat([answer for answer in answers if isinstance(answer, torch.Tensor)])
    copies = [answer.copy for answer in moved if answer.copy is not None]
    x_next, pred_x0, eps = (torch.cat(parts) for parts in zip(*(answer[:3] for answer in moved), strict=True))
    return Moved(x_next, pred_x0, eps, functools.partial(_cat_copies, copies) if copies else None)


def _cat_copies(copies: Sequence[Copy]) -> list[Tensor]:
    return [torch.cat(parts) for parts in zip(*(copy() for copy in copies), strict=True)]


def cat(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
