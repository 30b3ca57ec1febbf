"""How much memory the tensors of a call on the CPU take."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that are alive while it is on; the peak is what a call needs, scratch space aside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._enter(tensor)
        return result

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        pointer, size = storage.data_ptr(), storage.nbytes()
        if pointer not in self._storages:
            self._now += size
            self.peak = max(self.peak, self._now)
        self._storages[pointer] = self._storages.get(pointer, 0) + 1
        weakref.finalize(tensor, self._leave, pointer, size)

    def _leave(self, pointer: int, size: int) -> None:
        self._storages[pointer] -= 1
        if not self._storages[pointer]:
            del self._storages[pointer]
            self._now -= size
