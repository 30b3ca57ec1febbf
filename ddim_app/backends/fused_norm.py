"""Group normalisation and SiLU in one kernel, for networks on an NVIDIA GPU.

torch's own kernel for a GPU wants the other memory layout than convolutions do, takes no weights of another precision than
its input's, and leaves SiLU to a pass of its own: six kernels where one does. The kernel is Triton's, which torch brings along
on Linux; without it torch's kernels are used. Sums are fp32, and their order depends on nothing but the shape of a row.
"""

import copy
import importlib.util
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from ddim_app.backends.mixture import replaced

ELEMENTS = 4096
"""Elements of a group that one program of the kernel works on at a time."""


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


class FusedNorm(nn.Module):
    """GroupNorm of rows of any precision, with SiLU after it when asked."""

    def __init__(self, norm: nn.GroupNorm, activates: bool) -> None:
        super().__init__()
        self.norm, self.activates = norm, activates
        self.is_fused = has_triton()

    def forward(self, x: Tensor) -> Tensor:
        if self.is_fused and x.ndim == 4:
            return fused(x, self.norm, self.activates)
        weight, bias = self.norm.weight.to(x.dtype), self.norm.bias.to(x.dtype)
        y = group_norm(x, self.norm.num_groups, weight, bias, self.norm.eps)
        return silu(y) if self.activates else y


def fused(x: Tensor, norm: nn.GroupNorm, activates: bool) -> Tensor:
    """The norm of x (N, C, H, W) in channels_last, with SiLU when `activates`, by one program for each group of each row."""
    from ddim_app.backends.norm_kernel import normalise

    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.empty_like(x)
    rows, channels, height, width = x.shape
    each = channels // norm.num_groups
    wide = 1 << (each - 1).bit_length()
    pixels = min(1 << (height * width - 1).bit_length(), max(1, ELEMENTS // wide))
    normalise[(rows * norm.num_groups,)](
        x, y, norm.weight, norm.bias, channels, norm.num_groups, norm.eps, height * width, each, wide, pixels, activates,
        num_warps=8,
    )  # fmt: skip
    return y


def with_fused_norms(unet: nn.Module) -> nn.Module:
    """The network with its norms and the activations after them in one kernel each; it shares the weights of `unet`."""
    activates = isinstance(getattr(unet, "conv_act", None), nn.SiLU)

    def layer(name: str, module: nn.Module) -> nn.Module | None:
        if getattr(module, "time_embedding_norm", None) == "default" and isinstance(module.nonlinearity, nn.SiLU):
            return _block(module)
        if name == "conv_act" and activates:
            return nn.Identity()
        return FusedNorm(module, name == "conv_norm_out" and activates) if isinstance(module, nn.GroupNorm) else None

    return replaced(unet, layer)


def _block(block: Any) -> nn.Module:
    """A residual block whose two norms activate; what goes through its activation besides them keeps one of its own."""
    clone = copy.copy(block)
    clone._modules = dict(block._modules) | {
        "norm1": FusedNorm(block.norm1, True), "norm2": FusedNorm(block.norm2, True), "nonlinearity": nn.Identity(),
    }  # fmt: skip
    if block.time_emb_proj is not None and not block.skip_time_act:
        clone._modules["time_emb_proj"] = nn.Sequential(nn.SiLU(), block.time_emb_proj)
    return clone  # type: ignore[no-any-return]
