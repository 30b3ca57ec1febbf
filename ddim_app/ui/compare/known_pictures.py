"""Finished pictures of ladders, shared by all visitors."""

from collections import OrderedDict
from collections.abc import Hashable

from ddim_app.media.images import Pixels


class KnownPictures:
    """Pictures by what they were made with; the least recently used go first."""

    def __init__(self, most_bytes: int = 64_000_000) -> None:
        self._most, self._bytes = most_bytes, 0
        self._pixels: OrderedDict[Hashable, Pixels] = OrderedDict()

    def get(self, key: Hashable) -> Pixels | None:
        if key in self._pixels:
            self._pixels.move_to_end(key)
        return self._pixels.get(key)

    def put(self, key: Hashable, pixels: Pixels) -> None:
        self._bytes += pixels.nbytes - (self._pixels[key].nbytes if key in self._pixels else 0)
        self._pixels[key] = pixels
        self._pixels.move_to_end(key)
        while self._bytes > self._most:
            self._bytes -= self._pixels.popitem(last=False)[1].nbytes
