"""A folder of pictures, among them files that are none."""

import io
import os
import struct
import zlib

from PIL import Image

from tests.train_tools import drawings


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_claiming(width, height):
    """A PNG whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + encoded(drawing(3), "PNG")[33:]
    )


def drawing(seed, side=24):
    return Image.fromarray(drawings(1, side, seed)[0])


def save_hostile(folder):
    """Files that must be rejected, by name."""
    folder.mkdir()
    # As far as pixels are missing: of a PNG the last sixteenths hold none.
    for kind, parts in (("JPEG", 14), ("PNG", 13), ("WEBP", 15)):
        whole = encoded(drawing(100), kind)
        for i in range(1, parts + 1):
            (folder / f"cut {i:02d}.{kind.lower()}").write_bytes(whole[: len(whole) * i // 16])
    for name, content in {
        "huge.png": png_claiming(30_000, 30_000), "wide.png": png_claiming(2**31 - 1, 1), "zero.jpg": b"",
        "text.png": b"no picture\n" * 99,
        "notes.txt": b"hello", "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.ppm": encoded(drawing(5), "PPM"),
        "a.pcx": encoded(drawing(6), "PCX"),
        "print.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.pdf": encoded(drawing(7), "PDF"),
        "magic only.gif": b"GIF89a", "magic only.bmp": b"BM", "magic only.tiff": b"II*\x00\x08\x00\x00\x00",
        "nulls.webp": bytes(4096),
        "new\nline.jpg": b"\xff\xd8\xff\xe0", "Thumbs.db": b"\xd0\xcf\x11\xe0",
    }.items():  # fmt: skip
        (folder / name).write_bytes(content)
    os.symlink(folder / "nowhere", folder / "dangling.png")
    os.symlink(folder, folder / "loop")
    os.mkfifo(folder / "pipe.png")
    (folder / "bytes \udcff.jpg").write_bytes(b"x")
    return len(os.listdir(folder))
