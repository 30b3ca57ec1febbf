"""The Triton kernel of `fused_norm`; imported where Triton is."""

import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def normalise(  # type: ignore[no-untyped-def]
    x, y, weight, bias, channels, groups, eps, pixels: tl.constexpr,
    each: tl.constexpr, wide: tl.constexpr, block: tl.constexpr, activates: tl.constexpr,
):  # fmt: skip
    """One group of one row, its pixels in blocks; `each` channels of a group in `wide` lanes, a power of two.

    Mean, then variance around it (a sum of squares loses digits), then the result: the group is read three times, the second
    and third time from a cache.
    """
    program = tl.program_id(0)
    row, group = program // groups, program % groups
    start = row.to(tl.int64) * channels * pixels + group * each
    lanes = tl.arange(0, wide)
    inside = lanes[None, :] < each
    total = tl.zeros([block, wide], tl.float32)
    for first in range(0, pixels, block):
        at = first + tl.arange(0, block)
        mask = (at[:, None] < pixels) & inside
        total += tl.load(x + start + at[:, None] * channels + lanes[None, :], mask, 0.0).to(tl.float32)
    mean = tl.sum(tl.sum(total, 1), 0) / (pixels * each)
    squares = tl.zeros([block, wide], tl.float32)
    for first in range(0, pixels, block):
        at = first + tl.arange(0, block)
        mask = (at[:, None] < pixels) & inside
        values = tl.load(x + start + at[:, None] * channels + lanes[None, :], mask, 0.0).to(tl.float32)
        apart = tl.where(mask, values - mean, 0.0)
        squares += apart * apart
    scale = 1.0 / tl.sqrt(tl.sum(tl.sum(squares, 1), 0) / (pixels * each) + eps)
    channel = group * each + lanes
    factor = tl.load(weight + channel, lanes < each, 0.0).to(tl.float32) * scale
    offset = tl.load(bias + channel, lanes < each, 0.0).to(tl.float32)
    for first in range(0, pixels, block):
        at = first + tl.arange(0, block)
        mask = (at[:, None] < pixels) & inside
        place = start + at[:, None] * channels + lanes[None, :]
        values = tl.load(x + place, mask, 0.0).to(tl.float32)
        result = (values - mean) * factor[None, :] + offset[None, :]
        if activates:
            result = result / (1.0 + tl.exp(-result))
        tl.store(y + place, result.to(y.dtype.element_ty), mask)
