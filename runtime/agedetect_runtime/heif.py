"""HEIC and HEIF, which phones write: opened by pillow-heif, where it is installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, BinaryIO

from PIL import Image

from agedetect_runtime.errors import ImageError

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # ISO/IEC 23008-12
_AVIF = {b"avif", b"avis"}


def is_heif(start: bytes) -> bool:
    """By the first 32 bytes of a file."""
    brands = {start[place : place + 4] for place in range(16, 32, 4)}
    return start[4:8] == b"ftyp" and start[8:12] in _BRANDS and not brands & _AVIF


def open_heif(file: BinaryIO) -> Image.Image:
    """Read its header; it is turned upright by its own transform. Raises ImageError where pillow-heif is missing."""
    try:
        decoder: Any = import_module("pillow_heif")  # whose functions have no types
    except ImportError as error:
        raise ImageError("unsupported: HEIC, without its decoder; pip install pillow-heif") from error
    try:
        image: Image.Image = decoder.HeifImageFile(file)
    except SyntaxError as error:
        raise ImageError("truncated or damaged in its header") from error
    return image
