"""PNG files that Pillow reads wrong, or refuses for their texts. https://www.w3.org/TR/png-3"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from agedetect_runtime.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_GREY, _RGB = 0, 2
_SRGB = (1, 13)  # primaries and transfer function of H.273


class _Chunk(NamedTuple):
    kind: bytes
    start: int  # of the whole chunk
    end: int


def check_png(file: BinaryIO) -> None:
    """Raise ImageError for a sound PNG that Pillow would show in other colours than it has."""
    header = file.read(33)
    if len(header) < 33 or not header.startswith(SIGNATURE):
        return
    depth, colour_type = header[24], header[25]
    for kind, start, _ in _chunks(file):
        if kind == b"IDAT":
            return
        if kind == b"tRNS" and colour_type in (_GREY, _RGB) and depth in (2, 4, 16):
            raise ImageError(f"unsupported: PNG of {depth} bits with a transparent colour")
        if kind == b"cICP":
            file.seek(start + 8)
            if (space := tuple(file.read(2))) != _SRGB:
                raise ImageError(f"unsupported: PNG in the colour space {space[0]}/{space[1]} of H.273, not sRGB")


def without_text(file: BinaryIO) -> BinaryIO | None:
    """A PNG without its texts; None for any other file, and a PNG without texts."""
    file.seek(0)
    chunks = list(_chunks(file)) if file.read(8) == SIGNATURE else []
    if not any(chunk.kind in _TEXTS for chunk in chunks):
        return None
    kept = io.BytesIO()
    kept.write(SIGNATURE)
    for kind, start, end in chunks:
        if kind not in _TEXTS:
            file.seek(start)
            kept.write(file.read(end - start))
    kept.seek(0)
    return kept


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    start = len(SIGNATURE)
    while True:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        end = start + 12 + length
        yield _Chunk(kind, start, end)
        start = end
