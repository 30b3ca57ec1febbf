"""Norm and activation in one kernel are what they are apart. The kernel itself needs Triton, and runs on a CPU when interpreted."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import silu

from ddim_app.backends import fused_norm, mixture
from ddim_app.models.loading import load
from tests import toys

INTERPRETED = """
import torch
from torch.nn.functional import silu
from ddim_app.backends.fused_norm import fused
for channels, groups, side, dtype, activates in [
    (16, 8, 8, torch.float32, True), (24, 8, 5, torch.float32, False), (32, 32, 4, torch.bfloat16, True),
    (128, 8, 16, torch.float32, True),
]:
    norm = torch.nn.GroupNorm(groups, channels)
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    x = (3 + 2 * torch.randn(3, channels, side, side)).to(dtype)
    with torch.no_grad():
        expected = norm(x.float())
        expected = silu(expected) if activates else expected
        apart = (fused(x, norm, activates).float() - expected).abs().max() / expected.abs().max()
    assert apart < (1e-5 if dtype == torch.float32 else 1e-2), (channels, groups, side, dtype, apart)
print("equal")
"""


@pytest.mark.skipif(not fused_norm.has_triton(), reason="Triton is not installed; it comes with torch for NVIDIA GPUs")
def test_the_kernel_is_group_norm_and_silu():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run([sys.executable, "-c", INTERPRETED], capture_output=True, text=True, env=environment, check=False)
    assert ran.stdout.strip() == "equal", ran.stderr[-2000:]


@pytest.mark.parametrize("fmt", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"resnet_time_scale_shift": "scale_shift"},
        {"act_fn": "gelu"},
        {"add_attention": True, "attention_head_dim": 8, "down_block_types": ("DownBlock2D", "AttnDownBlock2D")},
    ],
    ids=["default", "scale-shift", "another-activation", "attention"],
)
def test_a_network_with_fused_norms_is_that_network(config, fmt, tmp_path, monkeypatch):
    """The kernel stands in for by torch; what is tested is which activations it takes over."""
    monkeypatch.setattr(fused_norm, "fused", by_torch)
    monkeypatch.setattr(fused_norm, "has_triton", lambda: True)
    unet = load(toys.save_tiny(tmp_path / "model", **config)).unet
    unet = mixture.rounded(unet, torch.bfloat16) if fmt == "bf16" else unet
    x, t = toys.pictures(3, (3, 8, 8)).float(), torch.tensor([1, 500, 999])
    with torch.inference_mode():
        expected = unet(x, t, return_dict=False)[0]
        output = fused_norm.with_fused_norms(unet)(x, t, return_dict=False)[0]
        again = unet(x, t, return_dict=False)[0]
    assert torch.equal(expected, again)
    assert float((output - expected).abs().max()) < (1e-6 if fmt == "fp32" else 0.05)


def by_torch(x, norm, activates):
    y = nn.functional.group_norm(x.float(), norm.num_groups, norm.weight, norm.bias, norm.eps)
    return (silu(y) if activates else y).to(x.dtype)
