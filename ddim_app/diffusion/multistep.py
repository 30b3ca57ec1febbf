"""DPM-Solver++(2M), arXiv:2211.01095, Algorithm 2: the flow of DDIM(0) solved to second order, for one evaluation a step.

A step of DDIM(0) holds the predicted picture still while the noise falls. This one lets it go on as it went over the step before,
on a straight line in lambda = log sqrt(alpha_bar / (1 - alpha_bar)), half the log-SNR: with h the step in lambda and r the step
before in units of it, D = x0 + (x0 - x0 before) / (2 r), and then DDIM's own step with D in the place of x0.

It is of first order, DDIM's step itself, at the first step, which has none before, and into the clean level, where lambda is
infinite and a line would lead anywhere; and nowhere else.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ddim_app.diffusion.formulas import Roots, Scalar, placed, predict_eps
from ddim_app.diffusion.schedule import Level
from ddim_app.lazy import Tensor, torch


class Earlier(NamedTuple):
    """What a row keeps of the transition before."""

    level: Level
    """The level that it left."""
    pred_x0: Tensor
    """(C, H, W), the clean picture predicted there, after clipping."""


def weight(before: Level, cur: Level, nxt: Level) -> float:
    """1 / (2 r), how far the prediction of `cur` is carried on: its change since `before` times this; 0 into the clean level."""
    if nxt.is_clean:
        return 0.0
    # From a level that is all noise the step before was infinite, and so the weight is 0.
    return (_half_log_snr(nxt) - _half_log_snr(cur)) / (2 * (_half_log_snr(cur) - _half_log_snr(before)))


def carried_on(
    pred_x0: Tensor, eps: Tensor, x_t: Tensor, level: Roots, earlier: Sequence[Earlier | None], moves: Sequence[tuple[Level, Level]]
) -> tuple[Tensor, Tensor]:
    """(D, eps) for DDIM's step: of rows with an `earlier` that weighs something, D and the eps that explains x_t with it.

    Tensors (N, C, H, W); `moves` are the rows' (cur, nxt). D is not clipped, as in the authors' code: the predictions are.
    """
    weights = {
        i: share
        for i, (known, (cur, nxt)) in enumerate(zip(earlier, moves, strict=True))
        if known is not None and (share := weight(known.level, cur, nxt))
    }
    if not weights:
        return pred_x0, eps
    index = placed(torch.tensor(list(weights)), x_t.device)
    column = placed(torch.tensor(list(weights.values()), dtype=torch.float64).to(x_t.dtype), x_t.device).view(-1, 1, 1, 1)
    before = torch.stack([known.pred_x0 for i in weights if (known := earlier[i]) is not None])
    here = pred_x0.index_select(0, index)
    ahead = here + column * (here - before)
    derived = predict_eps(x_t.index_select(0, index), ahead, Roots(*(_of_rows(factor, index) for factor in level)))
    return pred_x0.index_copy(0, index, ahead), eps.index_copy(0, index, derived)


def _of_rows(factor: Scalar, index: Tensor) -> Scalar:
    return factor.index_select(0, index) if isinstance(factor, torch.Tensor) else factor


def _half_log_snr(level: Level) -> float:
    """lambda; minus infinity where a level is all noise."""
    return 0.5 * math.log(level.alpha_bar / (1 - level.alpha_bar)) if level.alpha_bar else -math.inf
