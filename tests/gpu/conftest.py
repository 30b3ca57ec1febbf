"""Which device is tested: the NVIDIA GPU, or what DDIM_DEVICE names. On a CPU the tests are a rehearsal of themselves."""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> torch.device:
    return torch.device(os.environ.get("DDIM_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))
