"""torch, imported when something of it is first used: `from ddim_app.lazy import Tensor, torch`.

The page is built from modules that have torch from here, so that it stands before torch is imported, which takes seconds, on a
cold disk many. Threads that need it at once wait for one import, as Python's own lock has it. Annotations that name more of torch
than Tensor are in quotes, since they would be evaluated.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import safetensors.torch as safetensors_torch
    import torch
    from torch import Tensor
else:

    class LazyModule(ModuleType):
        """A module that is imported when a name of it is first asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(import_module(self.__name__), name)

    torch, safetensors_torch = LazyModule("torch"), LazyModule("safetensors.torch")
    Tensor = Any

__all__ = ["Tensor", "safetensors_torch", "torch"]
