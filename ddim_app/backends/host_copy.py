"""Tensors of a GPU on their way into the host's memory, while the GPU goes on with other work."""

from collections.abc import Sequence

from ddim_app.diffusion.sampler import Copy
from ddim_app.lazy import Tensor, torch

_streams: "dict[torch.device, torch.cuda.Stream]" = {}


def begin(tensors: Sequence[Tensor]) -> Copy | None:
    """Starts copying tensors of one shape and gives the function that waits for the copies; None where they are no GPU's.

    The copy has a stream of its own, so the next network call runs beside it, and waiting for it is not waiting for that call.
    """
    device = tensors[0].device
    if device.type != "cuda":
        return None
    packed = torch.stack(list(tensors))
    pinned = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
    stream = _streams.setdefault(device, torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        pinned.copy_(packed, non_blocking=True)
        packed.record_stream(stream)
        done = stream.record_event()

    def arrived() -> Sequence[Tensor]:
        """The copies in their pinned memory, which torch uses again when the last reader has let go of them."""
        done.synchronize()
        return pinned.unbind()

    return arrived
