"""Memory for decoding: how much one image may take, and all that the threads of a process decode at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from agedetect_runtime.errors import ImageError

MAX_BYTES = 1_320_000_000  # 120 megapixels of most formats

# At the peak of decoding and converting (tests/memory_peak.py; rounded up): what the decoder keeps of the
# whole image, Pillow's four bytes a pixel, and as many again where it is converted.
_BYTES_PER_PIXEL = {"JPEG": 9, "MPO": 9, "TIFF": 16, "WEBP": 19, "AVIF": 20, "HEIF": 20, "JPEG2000": 25}
_OTHERS = 11
_COEFFICIENTS = 8  # two bytes for each of at most four channels of a JPEG
_SMALL = 20_000_000  # not worth waiting for

_changed = threading.Condition()
_held: dict[int, int] = {}  # bytes, by thread; 0 while it decodes nothing large
_patience: dict[int, float | None] = {}  # seconds, by thread
_waiting: set[int] = set()


def _forget_other_threads() -> None:
    """In a forked child: they are not there, and may have held the lock."""
    global _changed
    _changed = threading.Condition()
    _held.clear()
    _patience.clear()
    _waiting.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(after_in_child=_forget_other_threads)


@contextmanager
def decoding(patience: float | None = None) -> Iterator[None]:
    """While this thread decodes an image and uses its pixels: `reserve` waits in it until there is room.

    For at most `patience` seconds, after which it goes on without: for a thread that others wait for.
    """
    thread = threading.get_ident()
    with _changed:
        _held[thread], _patience[thread] = 0, patience
    try:
        yield
    finally:
        give_up(thread)


def reserve(image: Image.Image, full_size: tuple[int, int]) -> None:
    """Before an image is loaded. Raises ImageError for one that takes more than MAX_BYTES, by format and size.

    Another image of the same thread gives back what the one before it took.
    """
    pixels, full_pixels = image.width * image.height, full_size[0] * full_size[1]
    need = pixels * _BYTES_PER_PIXEL.get(image.format or "", _OTHERS)
    if isinstance(image, JpegImageFile) and _comes_in_passes(image):
        need += full_pixels * _COEFFICIENTS
    if need > MAX_BYTES:
        size = f"{full_size[0]}x{full_size[1]} pixels of {image.format}"
        raise ImageError(f"too large: {size} take {need / 1e9:.2f} GB to decode, the limit is {MAX_BYTES / 1e9:.2f}")
    thread = threading.get_ident()
    with _changed:
        if thread not in _held:
            return
        _held[thread] = 0
        _changed.notify_all()
        if need > _SMALL:
            _waiting.add(thread)
            _changed.wait_for(lambda: sum(_held.values()) + need <= MAX_BYTES, _patience[thread])
            _waiting.discard(thread)
            _held[thread] = need


def _comes_in_passes(image: JpegImageFile) -> bool:
    """Whether a JPEG is progressive or has a scan for each channel: libjpeg keeps all of it then.

    Pillow stops behind the header of the first scan, which says how many channels it has.
    """
    if image.fp is None or "progressive" in image.info:
        return True
    place, length = image.fp.tell(), 6 + 2 * image.layers
    image.fp.seek(max(0, place - length - 2))
    whole = image.fp.read(5) == b"\xff\xda" + length.to_bytes(2, "big") + bytes([image.layers])
    image.fp.seek(place)
    return not whole


def is_waiting(thread: int | None) -> bool:
    """Whether a thread waits for room: it isn't late."""
    return thread in _waiting


def give_up(thread: int | None) -> None:
    """Give back what a thread holds: it is done, or will perhaps never be."""
    with _changed:
        if thread is not None and thread in _held:
            del _held[thread], _patience[thread]
            _changed.notify_all()
