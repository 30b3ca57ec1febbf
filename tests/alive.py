"""What is alive in this process, counted by objects: no allocator blurs that, as it does the size of a process."""

import gc

import torch
from PIL import Image


def tensors_and_pictures() -> int:
    """How many there are that something still refers to."""
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor | Image.Image) for each in gc.get_objects())
