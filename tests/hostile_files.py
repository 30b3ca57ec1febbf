"""Hostile files, by class: pictures, recipes and model folders that want to be large, to be run, or to be taken for others."""

import io
import json
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests import toys


class Trap:
    """A pickle that leaves a mark when somebody opens it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def pickled(mark: Path) -> bytes:
    return pickle.dumps(Trap(mark))


def png(texts: dict[str, str]) -> bytes:
    info = PngInfo()
    for key, value in texts.items():
        info.add_itxt(key, value)
    buffer = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def claimed(width: int, height: int, depth: int = 8, data: bytes = b"") -> bytes:
    """A PNG that says it is that large."""
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data or zlib.compress(b"\0")) + chunk(b"IEND", b"")


def bombs() -> list[tuple[str, str, bytes]]:
    """(what, file name, bytes): small files that want to be large."""
    zeros = zlib.compress(bytes(100_000_000), 9)
    itxt = chunk(b"iTXt", b"ddim_recipe\0\1\0\0\0" + zeros)
    ztxt = chunk(b"zTXt", b"ddim_recipe\0\0" + zeros)
    small = png({})
    bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    gif = (
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0xF0, 0, 0)
        + bytes(6)
        + b",\0\0\0\0"
        + struct.pack("<HHB", 65535, 65535, 0)
        + b"\2\2L\1\0;"
    )
    tiff = (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", 2)
        + struct.pack("<HHII", 256, 4, 1, 200_000)
        + struct.pack("<HHII", 257, 4, 1, 200_000)
        + bytes(4)
    )
    many = b"".join(chunk(b"tEXt", b"k%d\0" % i + b"x" * 1000) for i in range(5_000))
    return [
        ("a PNG of 30,000 x 30,000", "a.png", claimed(30_000, 30_000)),
        ("a PNG of 2^31 - 1 squared", "a.png", claimed(2**31 - 1, 2**31 - 1)),
        ("a PNG of 1 x 2^31 - 1", "a.png", claimed(1, 2**31 - 1)),
        ("a PNG of 8,900 x 8,900, 16 bit, of zeros", "a.png", claimed(8_900, 8_900, 16, zeros)),
        ("a PNG of 0 x 0", "a.png", claimed(0, 0)),
        ("a BMP of 60,000 x 60,000", "a.bmp", bmp),
        ("a GIF of 65,535 x 65,535", "a.gif", gif),
        ("a TIFF of 200,000 x 200,000", "a.tiff", tiff),
        ("100 MB of text in a PNG, iTXt", "a.png", small[:33] + itxt + small[33:]),
        ("100 MB of text in a PNG, zTXt", "a.png", small[:33] + ztxt + small[33:]),
        ("5,000 texts in a PNG", "a.png", small[:33] + many + small[33:]),
        ("a file of 12 MB", "a.png", small + bytes(12_000_000)),
        ("zeros, compressed", "a.png", zeros),
    ]


def recipes() -> list[tuple[str, str]]:
    """Texts in the place of a recipe."""
    arm = '{"method":"ddim","steps":5}'
    return [
        ("nothing", ""),
        ("no JSON", "{"),
        ("a list", "[]"),
        ("a deep one", "[" * 100_000),
        ("a number", "7"),
        ("null", "null"),
        ("an unknown kind", '{"kind":"shell"}'),
        ("a kind that is a list", '{"kind":[]}'),
        ("a thousand arms", '{"arms":[' + ",".join([arm] * 1_000) + "]}"),
        ("arms of no kind", '{"arms":7}'),
        ("a step count of 10^30", '{"arms":[{"steps":1' + "0" * 30 + "}]}"),
        ("a seed of NaN", '{"arms":[' + arm + '],"seed":NaN}'),
        ("a model that is a path", '{"arms":[' + arm + '],"model":"../../etc"}'),
        ("an unknown version", '{"arms":[' + arm + '],"version":99}'),
        ("markup", '{"arms":[' + arm + '],"model":"<img src=x onerror=alert(1)>"}'),
        ("4 MB of it", '{"a":"' + "x" * 4_000_000 + '"}'),
    ]


def hostile_models(root: Path, mark: Path) -> list[tuple[str, str]]:
    """Writes folders of models that mean harm under `root`; (class, name) of each."""
    made: list[tuple[str, str]] = []

    def folder(kind: str, name: str) -> Path:
        made.append((kind, name))
        return toys.save_tiny(root / name)

    danger = pickled(mark)
    for i, file in enumerate(
        (
            "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.pt",
            "diffusion_pytorch_model.pth",
            "diffusion_pytorch_model.ckpt",
            "diffusion_pytorch_model.pkl",
            "pytorch_model.bin",
            "model.bin",
            "weights.pt",
            "a.pkl",
            "diffusion_pytorch_model.fp16.bin",
        )
    ):
        unet = folder("pickled weights", f"pickle-{i}") / "unet"
        (unet / "diffusion_pytorch_model.safetensors").unlink()
        (unet / file).write_bytes(danger)
    for i, content in enumerate(pickles(danger)):
        unet = folder("pickle as safetensors", f"renamed-{i}") / "unet"
        (unet / "diffusion_pytorch_model.safetensors").write_bytes(content)
    codes: list[dict[str, Any]] = [
        {"_class_name": "os.system"},
        {"_class_name": ["my_code", "Net"]},
        {"_class_name": "UNet2DConditionModel"},
        {"auto_map": {"AutoModel": "my_code.Net"}},
        {"trust_remote_code": True},
        {"_class_name": "../my_code"},
        {"custom_pipeline": "x"},
        {"_class_name": None},
        {"quantization_config": {"quant_method": "my_code"}},
        {"_library": "my_code"},
        {"_class_name": "FluxModel"},
    ]
    for i, change in enumerate(codes):
        path = folder("custom code", f"code-{i}")
        (path / "my_code.py").write_text(f"open({str(mark)!r}, 'w')")
        (path / "model_index.json").write_text(json.dumps({"_class_name": "MyPipeline", "unet": ["my_code", "Net"]}))
        config = path / "unet" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | change))
    links = [
        "/etc/passwd",
        "/dev/zero",
        "/dev/random",
        "/proc/self/environ",
        "/proc/self/mem",
        "loop",
        "/no/such",
        "..",
        "/dev/null",
        "/",
    ]
    for i, to in enumerate(links):
        unet = folder("symlink", f"link-{i}") / "unet"
        file = unet / ("config.json" if i % 2 else "diffusion_pytorch_model.safetensors")
        file.unlink()
        file.symlink_to(file.name if to == "loop" else to)
    for i, header in enumerate(huge_headers()):
        unet = folder("huge tensors", f"huge-{i}") / "unet"
        (unet / "diffusion_pytorch_model.safetensors").write_bytes(header)
    sizes: list[dict[str, Any]] = [
        {"sample_size": 10**9},
        {"block_out_channels": [10**7, 10**7]},
        {"layers_per_block": 10**7},
        {"sample_size": [1, 10**6]},
        {"norm_num_groups": 0},
        {"block_out_channels": []},
        {"attention_head_dim": -1},
        {"in_channels": 10**6},
        {"down_block_types": ["X"]},
        {"time_embedding_type": "x" * 10**6},
        {"act_fn": "eval"},
        {"center_input_sample": "x"},
    ]
    for i, change in enumerate(sizes):
        config = folder("huge or wrong config", f"config-{i}") / "unet" / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | change))
    return made


def pickles(danger: bytes) -> list[bytes]:
    """A pickle in as many dresses."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", danger)
    length = struct.pack("<Q", len(danger))
    return [
        danger,
        danger[:20],
        b"\x80\x04" + danger,
        b"PK\x03\x04" + danger,
        bytes(8) + danger,
        danger * 100,
        archive.getvalue(),
        length + danger,
        struct.pack("<Q", 2) + b"{}" + danger,
        zlib.compress(danger),
        b"cposix\nsystem\n(S'true'\ntR.",
    ]


def huge_headers() -> list[bytes]:
    """safetensors files whose headers say more than there is."""

    def file(header: Any, data: bytes = b"") -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    def tensor(shape: list[int], end: int, kind: str = "F32") -> dict[str, Any]:
        return {"conv_in.weight": {"dtype": kind, "shape": shape, "data_offsets": [0, end]}}

    return [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 10**12) + b"{}",
        file(b"[" * 100_000),
        file(tensor([10**9, 10**9], 4 * 10**18)),
        file(tensor([2**62, 4], 16), bytes(16)),
        file(tensor([4], 10**12)),
        file(tensor([-1], 4), bytes(4)),
        file({"__metadata__": "x"}),
        file(tensor([1], 4, "PICKLE"), bytes(4)),
        file({"a": 1}),
        file(b"\xff" * 100),
        b"",
        b"\0" * 7,
        file({}, bytes(1000)),
    ]
