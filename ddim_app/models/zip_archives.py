"""Zip archives as `torch.save` writes them: where the bytes of each entry lie, once nothing about the archive is odd.

Stricter than zipfile: entries are stored as they are, no two share a name or a byte, and every number agrees with the file.
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, NamedTuple

MAX_DESCRIPTION = 1_000_000
"""Bytes of an archive's directory, and of the pickle that describes its tensors; that of 114 million numbers has 60,000."""
MAX_FILE = 4_000_000_000
"""Bytes; a longer archive would need the fields of zip64."""
PART = 1 << 22
"""Bytes that are read at a time."""
CONVERT = (
    "convert it where you trust it, with UNet2DModel.from_pretrained(FOLDER, use_safetensors=False)"
    ".save_pretrained(FOLDER, safe_serialization=True)"
)


class UnsafePickleError(ValueError):
    """A file that is not read; the message says why, without the file's name."""


class Entry(NamedTuple):
    """A file in the archive: where its bytes begin, how many they are, and their checksum."""

    start: int
    size: int
    crc: int


def entries(file: BinaryIO, size: int) -> dict[str, Entry]:
    """The entries of a zip archive, all stored, none over another (APPNOTE 6.3, sections 4.3.7 to 4.3.16)."""
    if at(file, 0, 4) != b"PK\x03\x04":
        raise UnsafePickleError(f"it is in the format of before torch 1.6, or in none of torch.save; {CONVERT}")
    if not 22 < size <= MAX_FILE:
        raise UnsafePickleError(f"it has {size:,} bytes, and at most {MAX_FILE:,} are read")
    count, length, offset = _directory(file, size)
    if length > MAX_DESCRIPTION or offset + length > size:
        raise UnsafePickleError("its zip directory is broken or too long; it may be cut off")
    directory, found, spans, place = at(file, offset, length), dict[str, Entry](), [(offset, size)], 0
    for _ in range(count):
        if directory[place : place + 4] != b"PK\x01\x02" or place + 46 > length:
            raise UnsafePickleError("its zip directory is broken")
        flags, method = struct.unpack_from("<2H", directory, place + 8)
        crc, packed, full, name_length, extra, comment = struct.unpack_from("<3I3H", directory, place + 16)
        header = struct.unpack_from("<I", directory, place + 42)[0]
        raw = directory[place + 46 : place + 46 + name_length]
        place += 46 + name_length + extra + comment
        if method or packed != full or flags & ~0x0808:  # a data descriptor and UTF-8 are what torch.save sets
            raise UnsafePickleError(f"its zip entries must be stored as they are, not packed or encrypted; {CONVERT}")
        name, start = raw.decode("utf-8", "replace"), _data_start(file, header, raw)
        if name in found:
            raise UnsafePickleError(f"it has two zip entries of the name {name[:40]!r}")
        found[name] = Entry(start, full, crc)
        spans.append((header, start + full))
    spans.sort()
    if any(start < end for (_, end), (start, _) in pairwise(spans)):
        raise UnsafePickleError("its zip entries lie over each other")
    return found


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """(entries, bytes, place) of the archive's directory, from the record that ends it."""
    signature, *_, count, length, offset, comment = struct.unpack("<4s4H2IH", at(file, size - 22, 22))
    if signature != b"PK\x05\x06" or comment:
        raise UnsafePickleError("it does not end as a zip archive does; it may be cut off: fetch it again")
    if size >= 98 and at(file, size - 42, 4) == b"PK\x06\x07":
        signature, *_, count, length, offset = struct.unpack("<4sQ2H2I4Q", at(file, size - 98, 56))
        if signature != b"PK\x06\x06":
            raise UnsafePickleError("its zip directory is broken")
    return int(count), int(length), int(offset)


def _data_start(file: BinaryIO, header: int, name: bytes) -> int:
    """Where the bytes of an entry begin, behind its local header, which must have the same name."""
    local = at(file, header, 30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise UnsafePickleError("its zip directory is broken")
    name_length, extra = struct.unpack_from("<2H", local, 26)
    if at(file, header + 30, name_length) != name:
        raise UnsafePickleError("its zip entries have two names each")
    return int(header + 30 + name_length + extra)


def check_crc(file: BinaryIO, entry: Entry) -> None:
    crc = 0
    for part in parts(file, entry.start, entry.size):
        crc = zlib.crc32(part, crc)
    if crc != entry.crc:
        raise UnsafePickleError("it is damaged: a checksum is wrong; fetch it again")


def small(file: BinaryIO, entry: Entry) -> bytes:
    if entry.size > MAX_DESCRIPTION:
        raise UnsafePickleError(f"its description has {entry.size:,} bytes, and at most {MAX_DESCRIPTION:,} are read")
    return at(file, entry.start, entry.size)


def parts(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    for place in range(start, start + size, PART):
        yield at(file, place, min(PART, start + size - place))


def at(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)
