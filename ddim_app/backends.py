"""How one evaluation of the network is made on this machine."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ddim_app.buckets import BUCKETS, bucket_of, filled
from ddim_app.latents import Shape
from ddim_app.model import Model
from ddim_app.sample import Predict


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is native there. Emulated bf16 is slower than fp32 and loses precision for nothing."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private in torch 2.10 to 2.13; where they are gone, fp32 is the safe answer.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def number_format(precision: str, device: torch.device) -> str:
    """What the network computes in for a recipe's precision: "bf16" or "fp32"."""
    return "bf16" if precision == "fast" and computes_bf16(device) else "fp32"


def predictor(model: Model, device: torch.device, fmt: str, pinned: int | None = None) -> Predict:
    """The model's network as a function on `device`, computing in `fmt`, with fp32 (or fp64) rows in and fp32 rows out.

    Calls are filled up to a bucket, or to the bucket `pinned` and nothing else, by repeating a row: at one shape a row's
    result does not depend on its neighbours. bf16 is autocast over fp32 weights: norms and sums stay fp32, which against an
    fp32 run is 9 dB closer than weights cast to bf16. Weights and rows are channels_last, the layout that convolutions want
    on CPU and GPU alike.
    """
    unet = model.unet.to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def predict(x: Tensor, t: Tensor) -> Tensor:
        if pinned and len(t) > pinned:
            return torch.cat([predict(*part) for part in zip(torch.split(x, pinned), torch.split(t, pinned), strict=True)])
        rows, times = filled(x, pinned or bucket_of(len(t))), filled(t, pinned or bucket_of(len(t)))
        rows = rows.to(torch.float32).contiguous(memory_format=torch.channels_last)
        with _autocast(device, fmt == "bf16"):
            output: Tensor = unet(rows, times, return_dict=False)[0]
        return output[: len(t)].float()

    return predict


def invariant_buckets(predict_in: Callable[[int], Predict], shape: Shape, device: torch.device, most: int = 16) -> list[set[int]]:
    """Groups of buckets in which a row has the same bits, whichever neighbours it has.

    `predict_in(bucket)` is the predictor pinned to a bucket. A bucket in which a row's place or neighbours matter is in no
    group.
    """
    noise = torch.randn(most, *shape, generator=torch.Generator().manual_seed(0)).to(device)
    t = torch.arange(most, device=device) * 37 + 5
    groups: dict[bytes, set[int]] = {}
    for bucket in (bucket for bucket in BUCKETS if bucket <= most):
        predict = predict_in(bucket)
        among = predict(noise[:bucket], t[:bucket])
        # Where threads divide a batch: its ends and its middle.
        places = {0, bucket // 2 - 1, bucket // 2, bucket - 1}
        if all(torch.equal(predict(noise[i : i + 1], t[i : i + 1])[0], among[i]) for i in places):
            groups.setdefault(among[: BUCKETS[0]].cpu().numpy().tobytes(), set()).add(bucket)
    return list(groups.values())


def _autocast(device: torch.device, enabled: bool) -> AbstractContextManager[None]:
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
