"""Weights of before safetensors: a zip archive by `torch.save`, read without running anything that it says.

The archive holds `data.pkl`, a pickle that describes the tensors, and an entry with the bytes of each storage. A pickle is a
program, so it is neither given to `torch.load` nor to `pickle`: the few instructions that describe a state dict are followed
here, on records that can do nothing, and every other instruction, name or shape refuses the file.
"""

import hashlib
import json
import math
import os
import pickletools
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from ddim_app.models.zip_archives import CONVERT, UnsafePickleError, check_crc, entries, parts, small

DTYPES = {
    "torch.FloatStorage": ("F32", 4), "torch.HalfStorage": ("F16", 2), "torch.BFloat16Storage": ("BF16", 2),
    "torch.DoubleStorage": ("F64", 8), "torch.LongStorage": ("I64", 8), "torch.IntStorage": ("I32", 4),
}  # fmt: skip
"""Storages that may be named: what safetensors calls their numbers, and bytes of one."""
ORDERED, TENSOR, PARAMETER = "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"


@dataclass(frozen=True)
class Name:
    """What the pickle names and would call; here nothing more than the name."""

    text: str


@dataclass(frozen=True)
class Storage:
    """The numbers of an entry."""

    kind: str
    key: str
    numel: int


@dataclass(frozen=True)
class TensorView:
    """A contiguous part of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(eq=False)
class Mapping:
    """A dict or an OrderedDict of the pickle."""

    is_ordered: bool
    items: dict[str, Any] = field(default_factory=dict)


def convert(paths: Sequence[Path], folder: Path, begun: Callable[[], None] = lambda: None) -> Path:
    """The safetensors file in `folder` with the tensors of these pickles, written, after `begun` was called, when it is not there.

    Its name is the sha256 of the pickles. Raises UnsafePickleError, in which nothing of them was run, or OSError.
    """
    target = folder / f"{_sha256(paths)}.safetensors"
    if target.is_file():
        return target
    begun()
    folder.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=folder, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            _write([Archive(path) for path in paths], file)
        os.replace(part, target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return target


def _write(archives: "Sequence[Archive]", file: BinaryIO) -> None:
    """Writes a safetensors file: the length of a JSON header, the header, the tensors' bytes in its order."""
    tensors = [(name, view, archive) for archive in archives for name, view in archive.tensors.items()]
    tensors.sort(key=lambda item: (-DTYPES[item[1].storage.kind][1], item[0]))  # numbers of 8 bytes first, so that all are aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, view, _ in tensors:
        if name in header:
            raise UnsafePickleError(f"it has two tensors of the name {name}")
        dtype, itemsize = DTYPES[view.storage.kind]
        begin, end = end, end + view.numel * itemsize
        header[name] = {"dtype": dtype, "shape": view.shape, "data_offsets": (begin, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for _, view, archive in tensors:
        for part in archive.read(view):
            file.write(part)


class Archive:
    """A file of `torch.save`, checked in full when it is opened; `tensors` are those of its state dict."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = path.stat().st_size
        with path.open("rb") as file:
            self._entries = entries(file, self._size)
            roots = [name.removesuffix("data.pkl") for name in self._entries if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise UnsafePickleError(f"it is no file of torch.save: it has {len(roots)} entries data.pkl")
            self._root = roots[0]
            for entry in self._entries.values():
                check_crc(file, entry)
            order = self._entries.get(f"{self._root}byteorder")
            if order is not None and small(file, order) != b"little":
                raise UnsafePickleError(f"its numbers are not little-endian; {CONVERT}")
            description = small(file, self._entries[f"{self._root}data.pkl"])
        self.tensors = state_dict(description)
        self._check()

    def _check(self) -> None:
        """Refuses tensors that are not in their entries, or are more than the file could hold."""
        total = 0
        for name, view in self.tensors.items():
            itemsize = DTYPES[view.storage.kind][1]
            entry = self._entries.get(f"{self._root}data/{view.storage.key}")
            if entry is None or entry.size != view.storage.numel * itemsize:
                raise UnsafePickleError(f"the numbers of {name} are not all there")
            total += view.numel * itemsize
        if total > self._size:
            raise UnsafePickleError(f"it describes {total:,} bytes of tensors, and has {self._size:,}")

    def read(self, view: TensorView) -> Iterator[bytes]:
        """The bytes of a tensor, some at a time."""
        itemsize = DTYPES[view.storage.kind][1]
        start = self._entries[f"{self._root}data/{view.storage.key}"].start + view.offset * itemsize
        with self._path.open("rb") as file:
            yield from parts(file, start, view.numel * itemsize)


def _sha256(paths: Sequence[Path]) -> str:
    """The sha256 of a file, or of the hashes of several, in hexadecimal."""
    hashes = []
    for path in paths:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


# The pickle.


def state_dict(description: bytes) -> dict[str, TensorView]:
    """The tensors that `data.pkl` describes, by their names. Raises UnsafePickleError at whatever a state dict does not need."""
    try:
        tensors = Description().follow(description)
    except UnsafePickleError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise UnsafePickleError("the pickle in it is broken") from error
    wrong = next((name for name, value in tensors.items() if not isinstance(value, TensorView)), None)
    if wrong is not None or not tensors:
        what = f"{wrong[:40]!r} is none" if wrong is not None else "there is none"
        raise UnsafePickleError(f"it must hold tensors by their names and nothing else: {what}")
    return tensors


class Description:
    """A machine for the instructions of pickle that torch.save uses for a state dict; its values are records that do nothing."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def follow(self, description: bytes) -> dict[str, Any]:
        """What the top mapping holds."""
        for instruction, argument, _ in pickletools.genops(description):
            do = self._do.get(instruction.name)
            if do is None:
                raise UnsafePickleError(f"the pickle in it uses {instruction.name}, which no state dict needs")
            do(self, argument)
        if len(self._stack) != 1 or not isinstance(self._stack[0], Mapping):
            raise UnsafePickleError("it must hold tensors by their names: it holds something else")
        return self._stack[0].items

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, count: int) -> tuple[Any, ...]:
        """The top `count` values, removed; none from below the last mark."""
        place = len(self._stack) - count
        if place < (self._marks[-1] if self._marks else 0):
            raise UnsafePickleError("the pickle in it is broken")
        values = tuple(self._stack[place:])
        del self._stack[place:]
        return values

    def _pop_to_mark(self) -> tuple[Any, ...]:
        mark = self._marks.pop()
        values = tuple(self._stack[mark:])
        del self._stack[mark:]
        return values

    def _set(self, pairs: tuple[Any, ...]) -> None:
        """Puts keys and values, one after the other, into the mapping on top."""
        mapping = self._stack[-1]
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(mapping, Mapping) or not isinstance(key, str) or not key.isprintable():
                raise UnsafePickleError("it must hold tensors by their names: a name is no text")
            mapping.items[key] = value

    def _call(self) -> None:
        function, arguments = self._pop(2)
        self._push(called(function, arguments))

    def _build(self) -> None:
        """Attributes of an OrderedDict, which are the versions of its modules and not used; of nothing else."""
        (state,) = self._pop(1)
        target = self._stack[-1]
        if not (isinstance(target, Mapping) and target.is_ordered and isinstance(state, Mapping)):
            raise UnsafePickleError("the pickle in it sets attributes, which no state dict needs")

    _do: ClassVar[dict[str, Callable[["Description", Any], None]]] = {
        **dict.fromkeys(["PROTO", "FRAME", "STOP"], lambda self, argument: None),
        **dict.fromkeys(["BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"], _push),
        "NONE": lambda self, _: self._push(None),
        "NEWTRUE": lambda self, _: self._push(True),
        "NEWFALSE": lambda self, _: self._push(False),
        "EMPTY_DICT": lambda self, _: self._push(Mapping(False)),
        "EMPTY_TUPLE": lambda self, _: self._push(()),
        "MARK": lambda self, _: self._marks.append(len(self._stack)),
        "TUPLE": lambda self, _: self._push(self._pop_to_mark()),
        "TUPLE1": lambda self, _: self._push(self._pop(1)),
        "TUPLE2": lambda self, _: self._push(self._pop(2)),
        "TUPLE3": lambda self, _: self._push(self._pop(3)),
        "SETITEM": lambda self, _: self._set(self._pop(2)),
        "SETITEMS": lambda self, _: self._set(self._pop_to_mark()),
        **dict.fromkeys(["BINPUT", "LONG_BINPUT"], lambda self, key: self._memo.__setitem__(key, self._stack[-1])),
        "MEMOIZE": lambda self, _: self._memo.__setitem__(len(self._memo), self._stack[-1]),
        **dict.fromkeys(["BINGET", "LONG_BINGET"], lambda self, key: self._push(self._memo[key])),
        "GLOBAL": lambda self, text: self._push(named(text.replace(" ", "."))),
        "STACK_GLOBAL": lambda self, _: self._push(named(".".join(self._pop(2)))),
        "BINPERSID": lambda self, _: self._push(stored(*self._pop(1))),
        "REDUCE": lambda self, _: self._call(),
        "BUILD": lambda self, _: self._build(),
    }


def named(text: str) -> Name:
    """A name of the short list; nothing is imported for it."""
    if text not in (ORDERED, TENSOR, PARAMETER, *DTYPES):
        raise UnsafePickleError(
            f"the pickle in it names {text[:60]}, which no state dict of an fp32 or fp16 network needs; {CONVERT}"
        )
    return Name(text)


def stored(identity: Any) -> Storage:
    """The storage of a persistent id, ('storage', kind, key, place, count of numbers)."""
    match identity:
        case ("storage", Name(kind), str(key), str(), int(numel)) if kind in DTYPES and numel >= 0:
            return Storage(kind, key, numel)
    raise UnsafePickleError("the pickle in it refers to something that is no storage")


def called(function: Any, arguments: Any) -> Mapping | TensorView:
    """What a call of the short list would give."""
    match function, arguments:
        case Name(text=text), () if text == ORDERED:
            return Mapping(True)
        case Name(text=text), (TensorView() as view, bool(), Mapping()) if text == PARAMETER:
            return view
        case Name(text=text), (Storage() as source, int(offset), tuple(shape), tuple(strides), bool(), Mapping()) if text == TENSOR:
            return viewed(source, offset, shape, strides)
    raise UnsafePickleError("the pickle in it calls something with what no state dict needs")


def viewed(storage: Storage, offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]) -> TensorView:
    """A tensor of a storage, once it is contiguous and inside it."""
    numbers = (offset, *shape, *strides)
    if not all(type(number) is int and 0 <= number < 2**40 for number in numbers) or not len(shape) == len(strides) <= 8:
        raise UnsafePickleError("a tensor in it has no sizes that could be")
    step, is_contiguous = 1, True
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        is_contiguous &= size <= 1 or stride == step
        step *= size
    if not is_contiguous:
        raise UnsafePickleError(f"a tensor in it is not stored number after number; {CONVERT}")
    if offset + step > storage.numel:
        raise UnsafePickleError("a tensor in it goes beyond its storage")
    return TensorView(storage, offset, shape)
