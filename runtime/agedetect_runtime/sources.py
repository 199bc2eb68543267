"""What an image can be given as: a path, encoded bytes, an open binary file, a Pillow image or an array."""

from __future__ import annotations

import io
import os
from pathlib import PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from agedetect_runtime.errors import ImageError

MAX_STREAM_BYTES = 2**30  # of an open file, which is read into memory: 120 megapixels of 16-bit RGBA fit

_SHOWN_CHARACTERS = 200


class BinaryFile(Protocol):
    """An open file in binary mode, such as `open(path, "rb")`, `io.BytesIO` or an upload."""

    def read(self, size: int = ..., /) -> bytes: ...


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | NDArray[np.uint8]


def read_encoded(source: object) -> bytes | None:
    """The encoded image of a bytes-like object or an open file; None for any other source.

    A file is read from its current position to its end and stays open. Raises ImageError for a file that is closed,
    in text mode, unreadable or larger than MAX_STREAM_BYTES.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike | Image.Image | np.ndarray) or not hasattr(source, "read"):
        return None
    if getattr(source, "closed", False):
        raise ImageError("the file is closed; keep it open until its age is known")
    if isinstance(source, io.TextIOBase):
        raise ImageError('the file is open in text mode; open it with mode "rb"')
    return _read(source)


def is_one_source(value: object) -> bool:
    """Whether a value is itself an image rather than an iterable of images. A (B, H, W, C) array is a batch of them."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf" and value.ndim < 4
    return isinstance(value, str | os.PathLike | bytes | bytearray | memoryview | Image.Image) or hasattr(value, "read")


def describe_source(source: object) -> str:
    """A short text for `repr`: a path as it is, clipped, and never any pixel or byte of an image."""
    if isinstance(source, str | PurePath):
        text = repr(source)
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS // 2]}...{text[-50:]}"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{memoryview(source).nbytes:,} bytes>"
    if isinstance(source, np.ndarray):
        return f"<{source.dtype} {source.shape}>"
    if isinstance(source, Image.Image):
        return f"<{source.mode} image, {source.width} x {source.height}>"
    return f"<{type(source).__name__}>"


def _read(file: BinaryFile) -> bytes:
    parts: list[bytes] = []
    left = MAX_STREAM_BYTES + 1
    try:
        while left > 0 and (part := file.read(left)):  # a raw file may give less than it has
            if not isinstance(part, bytes):
                raise ImageError(f"its read() gives {type(part).__name__}, not bytes; open the file in binary mode")
            parts.append(part)
            left -= len(part)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(f"cannot be read: {reason.lower()}") from error
    if left <= 0:
        raise ImageError(f"too large: more than {MAX_STREAM_BYTES} bytes in an open file")
    return b"".join(parts)
