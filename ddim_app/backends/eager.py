"""The network by torch, on whatever device there is."""

import torch
from torch import Tensor, nn

from ddim_app.backends import cuda, fused_norm, mixture
from ddim_app.backends.single_row import SingleRow
from ddim_app.diffusion.batch_sizes import BUCKETS, bucket_of, filled
from ddim_app.diffusion.formulas import placed
from ddim_app.diffusion.sampler import Predict
from ddim_app.models.loading import Model

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def predictor(model: Model, device: torch.device, fmt: str, pinned: int | None = None) -> Predict:
    """The model's network as a function on `device`, computing in `fmt`, with fp32 (or fp64) rows in and fp32 rows out.

    Calls are filled up to a bucket, or to the bucket `pinned` and nothing else, by repeating a row: at one shape a row's
    result does not depend on its neighbours. In 16 bits the weights are rounded once, here, so later changes of the model's
    are not seen; `mixture` says what stays in fp32. Weights and rows are channels_last, the layout that convolutions want on
    CPU and GPU alike.
    """
    unet = network(model, device, fmt)
    evaluate = evaluator(unet, device)
    alone = SingleRow(unet, evaluate, is_paired=smallest(fmt) == 2) if device.type == "cpu" else None
    return in_buckets(evaluate, device, pinned, smallest(fmt), alone, bool(model.classes.names))


def smallest(fmt: str) -> int:
    """The smallest bucket in a number format.

    Some layers take another path for a single row and round otherwise. In fp32 no picture shows it (0.03 of 255 levels at
    most); in 16 bits one in ten would be more than 4 levels off, so there a lone row is evaluated as two, or with the same bits
    (see `single_row`).
    """
    return 2 if fmt in DTYPES else 1


def network(model: Model, device: torch.device, fmt: str) -> nn.Module:
    """The model's network as `fmt` wants it."""
    unet = model.unet.to(device).to(memory_format=torch.channels_last)
    unet = mixture.rounded(unet, DTYPES[fmt]) if fmt in DTYPES else unet
    return fused_norm.with_fused_norms(unet) if device.type == "cuda" else unet


def evaluator(unet: nn.Module, device: torch.device) -> Predict:
    """The network as a plain function; on a GPU it is captured."""
    if device.type == "cuda":
        return cuda.captured(unet, device)
    return lambda x, *given: unet(x, *(placed(each, x.device) for each in given), return_dict=False)[0]


def in_buckets(
    evaluate: Predict, device: torch.device, pinned: int | None, smallest: int = BUCKETS[0], alone: Predict | None = None,
    classes: bool = False,
) -> Predict:  # fmt: skip
    """`evaluate` with its calls filled up to a bucket, or cut and filled to the one that is pinned.

    `alone` evaluates a lone row with the bits that it has in the smallest bucket. Of a model with `classes`, rows that name
    none, as in measurements of memory and speed, are of the first.
    """

    @torch.inference_mode()
    def predict(x: Tensor, t: Tensor, *y: Tensor) -> Tensor:
        if classes and not y:
            y = (torch.zeros_like(t),)
        if pinned and len(t) > pinned:
            return torch.cat([predict(*part) for part in zip(*(torch.split(each, pinned) for each in (x, t, *y)), strict=True)])
        bucket = pinned or max(smallest, bucket_of(len(t)))
        if alone is not None and len(t) == 1 and bucket == smallest:
            given = (each.to(device) for each in (t, *y))
            return alone(x.to(device, torch.float32).contiguous(memory_format=torch.channels_last), *given).float()
        rows = filled(x, bucket).to(device, torch.float32)
        if device.type != "cuda":  # where the captured graph's own rows are in that layout
            rows = rows.contiguous(memory_format=torch.channels_last)
        return evaluate(rows, *(filled(each, bucket) for each in (t, *y)))[: len(t)].float()

    return predict
