"""Pickled weights: honest ones become the very same tensors, and hostile ones are refused without being run."""

import io
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddim_app.models.pickled import convert
from ddim_app.models.zip_archives import UnsafePickleError

NUMBERS = b"\0\0\x80?" * 16
"""Sixteen times 1.0, as little-endian fp32."""


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def number(value):
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values):
    """A tuple."""
    return b"(" + b"".join(map(number, values)) + b"t"


def name(module, word):
    return f"c{module}\n{word}\n".encode()


REBUILD = name("torch._utils", "_rebuild_tensor_v2")
ORDERED = name("collections", "OrderedDict") + b")R"


def storage(kind="FloatStorage", key="0", numel=16, first="storage", module="torch"):
    return b"((" + text(first) + name(module, kind) + text(key) + text("cpu") + number(numel) + b"tQ"


def tensor(offset=0, shape=(4, 4), strides=(4, 1), hooks=ORDERED, **which):
    """A call of _rebuild_tensor_v2."""
    return REBUILD + storage(**which) + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89" + hooks + b"tR"


def mapping(*items, end=b"."):
    """An OrderedDict of names and values, as a whole pickle."""
    return b"\x80\x02" + ORDERED + b"(" + b"".join(text(key) + value for key, value in items) + b"u" + end


def archive(description, entries=None, *, method=zipfile.ZIP_STORED, extra=()):
    """The bytes of a file as torch.save makes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        made.writestr("archive/data.pkl", description)
        for key, data in (entries or {"data/0": NUMBERS}).items():
            made.writestr(f"archive/{key}", data)
        for key, data in extra:
            made.writestr(key, data)
    return file.getvalue()


def renamed(old, new, data):
    assert len(old) == len(new)
    return data.replace(old.encode(), new.encode())


GOOD = archive(mapping(("w", tensor())))


def read(data, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(data)
    return load_file(convert([path], tmp_path / "cache"))


def test_the_good_archive_of_these_tests_is_read(tmp_path):
    assert torch.equal(read(GOOD, tmp_path)["w"], torch.ones(4, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_what_torch_saves_becomes_the_same_tensors(tmp_path, dtype):
    tensors = OrderedDict({
        "a.weight": torch.arange(12).to(dtype).reshape(3, 4), "scalar": torch.ones((), dtype=dtype),
        "empty": torch.zeros((0, 3), dtype=dtype), "part": torch.arange(20).to(dtype)[5:9],
    })  # fmt: skip
    torch.save(tensors, tmp_path / "w.bin")
    found = load_file(convert([tmp_path / "w.bin"], tmp_path / "cache"))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) and found[key].dtype == dtype for key in tensors)


def test_modules_and_parameters_and_plain_dicts_are_read(tmp_path):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Conv2d(2, 2, 3))
    saved = {"module": module.state_dict(), "parameters": dict(module.named_parameters()), "plain": dict(module.state_dict())}
    for key, tensors in saved.items():
        torch.save(tensors, tmp_path / f"{key}.bin")
        found = load_file(convert([tmp_path / f"{key}.bin"], tmp_path / "cache"))
        assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())
        torch.save(tensors, tmp_path / f"{key}4.bin", pickle_protocol=4)
        assert load_file(convert([tmp_path / f"{key}4.bin"], tmp_path / "cache")).keys() == found.keys()


def test_a_pickle_is_converted_once_and_parts_become_one(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(2)}, tmp_path / "1.bin")
    torch.save({"b": torch.zeros(3)}, tmp_path / "2.bin")
    both = convert([tmp_path / "1.bin", tmp_path / "2.bin"], tmp_path / "cache")
    assert load_file(both).keys() == {"a", "b"}
    written = both.stat().st_mtime_ns
    monkeypatch.setattr("ddim_app.models.pickled._write", lambda *values: pytest.fail("converted again"))
    assert convert([tmp_path / "1.bin", tmp_path / "2.bin"], tmp_path / "cache") == both
    assert both.stat().st_mtime_ns == written


def reduces(function, *arguments):
    """A call of something that is named, in the place of a tensor."""
    return mapping(("w", name(*function) + b"(" + b"".join(map(text, arguments)) + b"tR"))


def legacy():
    file = io.BytesIO()
    torch.save({"w": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def float8():
    file = io.BytesIO()
    torch.save({"w": torch.ones(2).to(torch.float8_e4m3fn)}, file)
    return file.getvalue()


def doubled():
    """Two entries of one name, of which a careless reader takes the second."""
    return renamed("archive/data/1", "archive/data/0", archive(mapping(("w", tensor())), {"data/0": NUMBERS, "data/1": NUMBERS}))


def shared_bytes():
    """An entry whose header and bytes lie inside those of another."""
    inner = b"PK\3\4" + bytes(22) + struct.pack("<2H", 14, 0) + b"archive/data/1" + NUMBERS
    tensors = mapping(("w", tensor(numel=len(inner) // 4, shape=(len(inner) // 4,), strides=(1,))), ("v", tensor(key="1")))
    data = bytearray(archive(tensors, {"data/0": inner, "data/1": NUMBERS}))
    header = [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"][2]
    data[header + 42 : header + 46] = struct.pack("<I", data.index(inner))
    return bytes(data)


def other_local_name():
    return GOOD[:30] + b"archive/data.pkX" + GOOD[46:]


def damaged():
    place = GOOD.index(NUMBERS)
    return GOOD[:place] + b"\1" + GOOD[place + 1 :]


def large_directory():
    data = bytearray(GOOD)
    data[-10:-6] = struct.pack("<I", 2**31)
    return bytes(data)


def nested_tuples(depth=60):
    """A key of 2^60 elements that share their memory, which would be walked when it is hashed."""
    return b"\x80\x02" + ORDERED + b")" + b"q\x01h\x01\x86" * depth + tensor() + b"s."


LARGE, TRUE = tensor(numel=16_000, shape=(16_000,), strides=(1,)), b"\x88"
STATE = b"}" + text("_rebuild_tensor_v2") + text("x") + b"s"
HOSTILE = {
    "reduce os.system": (archive(reduces(("os", "system"), "touch TRACE")), "names os.system"),
    "reduce eval": (archive(reduces(("builtins", "eval"), "1")), "names builtins.eval"),
    "reduce open": (archive(reduces(("_io", "open"), "TRACE", "w")), "names _io.open"),
    "a name that weights_only allows": (archive(reduces(("torch", "device"), "cpu")), "names torch.device"),
    "nested torch": (archive(reduces(("torch._utils", "_rebuild_tensor_v2.__globals__"))), "names torch._utils._rebuild"),
    "a name from the stack": (archive(mapping(("w", text("os") + text("system") + b"\x93"))), "names os.system"),
    "NEWOBJ": (archive(mapping(("w", name("collections", "OrderedDict") + b")\x81"))), "uses NEWOBJ"),
    "OBJ": (archive(mapping(("w", b"(" + name("collections", "OrderedDict") + b"o"))), "uses OBJ"),
    "INST": (archive(mapping(("w", b"(ios\nsystem\n"))), "uses INST"),
    "EXT": (archive(mapping(("w", b"\x82\x01"))), "uses EXT1"),
    "PERSID": (archive(mapping(("w", b"Pstorage\n"))), "uses PERSID"),
    "a long number": (archive(mapping(("w", b"\x8b\xff\xff\xff\x7f"))), "broken"),
    "BUILD on a function": (archive(b"\x80\x02" + REBUILD + STATE + b"b."), "sets attributes"),
    "BUILD on a tensor": (archive(mapping(("w", tensor() + STATE + b"b"))), "sets attributes"),
    "BUILD with a tuple": (archive(mapping(("w", tensor()), end=b"N}\x86b.")), "sets attributes"),
    "calls a mapping": (archive(mapping(("w", ORDERED + b")R"))), "calls something"),
    "calls with too much": (archive(mapping(("w", name("collections", "OrderedDict") + b"}\x85R"))), "calls something"),
    "nested": (archive(mapping(("state_dict", ORDERED + b"(" + text("w") + tensor() + b"u"))), "'state_dict' is none"),
    "a number for a tensor": (archive(mapping(("step", number(3)))), "'step' is none"),
    "nothing": (archive(b"\x80\x02" + ORDERED + b"."), "there is none"),
    "a list": (archive(b"\x80\x02]."), "uses EMPTY_LIST"),
    "a tensor alone": (archive(b"\x80\x02" + tensor() + b"."), "something else"),
    "no end": (archive(mapping(("w", tensor()), end=b"")), "broken"),
    "a stack that is empty": (archive(b"\x80\x02R."), "broken"),
    "a mark that is missing": (archive(b"\x80\x02t."), "broken"),
    "below the mark": (archive(b"\x80\x02" + ORDERED + text("w") + b"(" + tensor() + b"s."), "broken"),
    "a memo that is empty": (archive(mapping(("w", b"h\x07"))), "broken"),
    "a mapping in itself": (archive(b"\x80\x02" + ORDERED + b"q\x01" + text("w") + b"h\x01s."), "'w' is none"),
    "a memo of two billion": (archive(mapping(("w", tensor() + b"r\xff\xff\xff\x7f"), ("v", b"j\xff\xff\xff\x6f"))), "broken"),
    "a key of nested tuples": (archive(nested_tuples()), "a name is no text"),
    "stride 0": (archive(mapping(("w", tensor(shape=(100_000, 100_000), strides=(0, 0))))), "number after number"),
    "transposed": (archive(mapping(("w", tensor(strides=(1, 4))))), "number after number"),
    "huge numel": (archive(mapping(("w", tensor(numel=2**50, shape=(2**39,), strides=(1,))))), "are not all there"),
    "huge sizes": (archive(mapping(("w", tensor(shape=(2**2000,), strides=(1,))))), "no sizes that could be"),
    "a negative size": (archive(mapping(("w", tensor(shape=(-1, 4))))), "no sizes that could be"),
    "a size of True": (
        archive(mapping(("w", REBUILD + storage() + number(0) + TRUE + b"\x85" + numbers(1) + b"\x89" + ORDERED + b"tR"))),
        "no sizes that could be",
    ),
    "beyond its storage": (archive(mapping(("w", tensor(offset=1)))), "beyond its storage"),
    "a storage of another size": (archive(mapping(("w", tensor(numel=32)))), "are not all there"),
    "a storage of another kind": (archive(mapping(("w", tensor(kind="DoubleStorage")))), "are not all there"),
    "a storage that is missing": (archive(mapping(("w", tensor(key="7")))), "are not all there"),
    "a storage outside": (archive(mapping(("w", tensor(key="../data.pkl")))), "are not all there"),
    "one storage, a thousand tensors": (
        archive(mapping(*((f"w{i}", LARGE) for i in range(1000))), {"data/0": NUMBERS * 1000}), "bytes of tensors"
    ),
    "a foreign persistent id": (archive(mapping(("w", tensor(first="module")))), "is no storage"),
    "a persistent id of text": (archive(mapping(("w", text("0") + b"Q"))), "is no storage"),
    "float8": (float8(), "convert it where you trust it"),
    "quantised": (archive(mapping(("w", tensor(kind="QInt8Storage")))), "names torch.QInt8Storage"),
    "metadata of a conjugate": (archive(mapping(("w", tensor(hooks=ORDERED + b"}")))), "calls something"),
    "two tensors of a header's name": (archive(mapping(("__metadata__", tensor()))), "two tensors of the name __metadata__"),
    "big-endian": (archive(mapping(("w", tensor())), {"data/0": NUMBERS, "byteorder": b"big"}), "not little-endian"),
    "deflated": (archive(mapping(("w", tensor())), method=zipfile.ZIP_DEFLATED), "stored as they are"),
    "two entries of one name": (doubled(), "two zip entries of the name"),
    "entries over each other": (shared_bytes(), "lie over each other"),
    "two names of an entry": (other_local_name(), "two names each"),
    "two pickles": (archive(mapping(("w", tensor())), extra=[("other/data.pkl", b"N.")]), "it has 2 entries data.pkl"),
    "no pickle": (archive(b"", extra=[]).replace(b"data.pkl", b"data.pkX"), "it has 0 entries data.pkl"),
    "a long description": (archive(mapping(("w", tensor()), end=b"0" * 1_000_000 + b".")), "at most 1,000,000"),
    "a long directory": (large_directory(), "directory is broken"),
    "cut off": (GOOD[:-1], "cut off"),
    "half": (GOOD[: len(GOOD) // 2], "cut off"),
    "with a comment": (GOOD + b"x", "cut off"),
    "a bit that fell": (damaged(), "a checksum is wrong"),
    "legacy": (legacy(), "before torch 1.6"),
    "a bare pickle": (pickle.dumps({"w": 1}), "before torch 1.6"),
    "tar": (b"storages".ljust(100, b"\0") + b"0" * 412, "before torch 1.6"),
    "empty": (b"", "before torch 1.6"),
    "only a beginning": (b"PK\x03\x04", "at most 4,000,000,000"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_one_sentence(tmp_path, monkeypatch, case):
    data, words = HOSTILE[case]
    monkeypatch.chdir(tmp_path)
    defaults = torch._utils._rebuild_tensor_v2.__defaults__
    tracemalloc.start()
    try:
        with pytest.raises(UnsafePickleError) as caught:
            read(data, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert peak < 30_000_000
    assert torch._utils._rebuild_tensor_v2.__defaults__ == defaults
    assert not (tmp_path / "TRACE").exists()
    assert not list(tmp_path.glob("cache/*")), "nothing half-written stays"


def test_metadata_that_torch_writes_is_passed_over(tmp_path):
    versions = b"}" + text("_metadata") + ORDERED + text("") + b"}" + text("version") + number(1) + b"sssb."
    assert read(archive(mapping(("w", tensor()), end=versions)), tmp_path).keys() == {"w"}


def test_conversion_takes_little_memory(tmp_path):
    """Of a file of 40 MB, less than half of it at a time; the rest goes from disk to disk."""
    path = tmp_path / "large.bin"
    torch.save({f"w{i}": torch.full((1_000_000,), float(i)) for i in range(10)}, path)
    tracemalloc.start()
    try:
        convert([path], tmp_path / "cache")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 2


def test_a_file_that_changes_is_another_conversion(tmp_path):
    path = Path(tmp_path / "w.bin")
    for value in (1.0, 2.0):
        torch.save({"w": torch.full((2,), value)}, path)
        assert torch.equal(load_file(convert([path], tmp_path / "cache"))["w"], torch.full((2,), value))


@pytest.mark.parametrize("whole", [False, True], ids=["description", "archive"])
def test_whatever_bytes_fall_the_file_is_read_or_refused(tmp_path, whole):
    """No other exception, and no tensor of other numbers than the storage has."""
    chance, good = random.Random(0), mapping(("w", tensor()), ("v", tensor(shape=(16,), strides=(1,))))
    refused = 0
    for _ in range(400):
        data = bytearray(archive(good) if whole else good)
        for _ in range(chance.choice((1, 1, 2, 8))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            found = read(bytes(data) if whole else archive(bytes(data)), tmp_path)
            assert all(set(value.flatten().tolist()) <= {1.0} for value in found.values() if value.dtype == torch.float32)
        except UnsafePickleError:
            refused += 1
    assert 200 < refused < 400
