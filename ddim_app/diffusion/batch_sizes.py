"""The batch sizes that network calls are rounded up to.

Few sizes mean that shapes repeat, and that at one size a row's result does not depend on its neighbours.
"""

from ddim_app.lazy import Tensor, torch

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Sizes that threads can share out evenly; where a row is cut between two threads, its place in the batch shows."""


def bucket_of(rows: int) -> int:
    """The smallest bucket that holds `rows`; more than the largest stay as they are."""
    return next((bucket for bucket in BUCKETS if bucket >= rows), rows)


def half_bucket(rows: int) -> int:
    """The largest bucket of at most half the rows that a call of `rows` really has, to go on with when that was too large."""
    return max((bucket for bucket in BUCKETS if 2 * bucket <= bucket_of(rows)), default=BUCKETS[0])


def filled(x: Tensor, rows: int) -> Tensor:
    """x followed by copies of its first row, `rows` in all."""
    missing = rows - len(x)
    return x if missing <= 0 else torch.cat((x, x[:1].expand(missing, *x.shape[1:])))
