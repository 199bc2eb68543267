"""PNG files that Pillow reads wrong, or refuses for their texts. https://www.w3.org/TR/png-3"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from PIL import UnidentifiedImageError

from agedetect_runtime.errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_COPY = 64_000_000  # bytes in memory beside the pixels; a PNG of 12 megapixels has half of it
_MOST_CHUNKS = 100_000  # libpng writes 8 kB of pixels in each
_KIND = re.compile(rb"\w{4}")  # letters, says the standard; Pillow takes as much
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TEXT_ERROR = re.compile(r"MAX_TEXT_CHUNK|MAX_TEXT_MEMORY|in zTXt chunk")  # of Pillow's PngImagePlugin
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


def is_about_text(error: Exception) -> bool:
    """Whether Pillow may have refused a PNG for its texts; in a header, all that it says is that it knows no format."""
    return isinstance(error.__cause__, UnidentifiedImageError) or _TEXT_ERROR.search(str(error)) is not None


def without_text(file: BinaryIO) -> BinaryIO | None:
    """A copy of a PNG without its texts; None for any other file, and a PNG without texts.

    Raises ImageError for one that leaves more than MAX_COPY bytes.
    """
    file.seek(0)
    if file.read(len(SIGNATURE)) != SIGNATURE or not any(chunk.kind in _TEXTS for chunk in _chunks(file)):
        return None
    size = sum(chunk.end - chunk.start for chunk in _chunks(file) if chunk.kind not in _TEXTS)
    if size > MAX_COPY:
        limit = f"{size / 1e6:.0f} MB, the limit is {MAX_COPY / 1e6:.0f}"
        raise ImageError(f"damaged, and too large to be read without its texts: {limit}")
    kept = io.BytesIO()
    kept.write(SIGNATURE)
    for kind, start, end in _chunks(file):
        if kind not in _TEXTS:
            file.seek(start)
            kept.write(file.read(end - start))
    kept.seek(0)
    return kept


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Up to IEND, the end of the file, which may cut the last one, or what is no chunk.

    Raises ImageError for more than _MOST_CHUNKS.
    """
    start, size = len(SIGNATURE), file.seek(0, io.SEEK_END)
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or not _KIND.fullmatch(head, 4):
            return
        length, kind = struct.unpack(">I4s", head)
        end = min(size, start + 12 + length)
        yield _Chunk(kind, start, end)
        if kind == b"IEND":
            return
        start = end
    raise ImageError(f"unsupported: PNG of more than {_MOST_CHUNKS} chunks")
