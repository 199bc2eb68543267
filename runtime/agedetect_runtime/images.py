"""Image -> RGB uint8 (S, S, 3). The only preprocessing: training and serving both call it."""

from __future__ import annotations

import io
import math
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from agedetect_runtime.colour import Profile, profile_of
from agedetect_runtime.encoded import open_encoded
from agedetect_runtime.errors import ImageError
from agedetect_runtime.memory import decoding, reserve
from agedetect_runtime.modes import to_rgb
from agedetect_runtime.orientation import turn_of
from agedetect_runtime.png import is_about_text, without_text
from agedetect_runtime.sources import Source, read_encoded
from agedetect_runtime.tiff import check_directory
from agedetect_runtime.truncation import truncation_is_an_error

# Room for the 108-megapixel photos that phones take; decoded as RGB that is 360 MB.
MAX_PIXELS = 120_000_000

# The shorter side below which no JPEG is shrunk, whatever the size asked for: face chips stay as they are.
_UNSHRUNK = 256

_JPEGS = ("JPEG", "MPO")
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_PILLOW_REFUSES = ("unsupported", "cannot handle")
_CUT_OFF = re.compile(r"truncated|\bEOF\b|only got|not enough", re.IGNORECASE)


@decoding()
def load_face(source: Source, image_size: int, resampling: str, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Open an image and resize its centre square: (S, S, 3) uint8, RGB, writable, S being `image_size`.

    `resampling` is "bilinear" or "bicubic", Pillow's filters. A JPEG file is decoded at a half, a quarter or an
    eighth where that still leaves 4 S pixels a side: libjpeg then averages what the filter would, and an age moves
    by what rounding the levels does (docs/performance.md). Raises ImageError as `open_rgb` does.
    """
    opened = _open_safely(source, max_pixels, enough=max(4 * image_size, _UNSHRUNK))
    # One that was shrunk is cropped as it lies, since its last row and column may stand for less than a whole pixel.
    image = opened.turned(opened.rgb) if opened.shrunk == 1 else opened.rgb
    width, height = image.size if opened.shrunk == 1 else opened.full_size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left / opened.shrunk, top / opened.shrunk, (left + side) / opened.shrunk, (top + side) / opened.shrunk)
    # Cropped first: a box's filter reaches over its edges, and Pillow 13 begins with the columns of a tall picture.
    x, y, right, bottom = int(box[0]), int(box[1]), math.ceil(box[2]), math.ceil(box[3])
    within = (box[0] - x, box[1] - y, box[2] - x, box[3] - y)
    square = image.crop((x, y, right, bottom))
    face = opened.in_srgb(square.resize((image_size, image_size), RESAMPLING[resampling], box=within))
    return np.array(face if opened.shrunk == 1 or opened.turn is None else face.transpose(opened.turn))


@decoding()
def load_picture(source: Source) -> NDArray[np.uint8]:
    """The whole of an image, for a model that resizes: (H, W, 3) uint8. Raises ImageError as `open_rgb` does."""
    return np.array(open_rgb(source))


def open_rgb(source: Source, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image upright (EXIF orientation applied) as 8-bit RGB, transparency over white, first frame.

    An array is uint8 (H, W, 3) RGB, (H, W, 4) RGBA, (H, W, 1) or (H, W) grey. Colours of an ICC profile become sRGB.
    Raises ImageError with the reason, without the file's name, for everything that is not a whole, readable
    image of at most `max_pixels` pixels; the size is read from the header, before any pixel is decoded.
    """
    return _open_safely(source, max_pixels).upright()


def open_stored(source: Source, *, enough: int, max_pixels: int = MAX_PIXELS) -> Opened:
    """Open an image as `open_rgb` does, but leave it as it is stored; its errors are the same.

    A JPEG file is decoded at a half, a quarter or an eighth where that leaves `enough` pixels on the shorter side.
    """
    return _open_safely(source, max_pixels, enough)


@dataclass(frozen=True)
class Opened:
    """Pixels as stored in the file, `shrunk` times smaller than its `full_size`, and the turn that rights them.

    Their colours are those of `profile`: to convert what was cut out and resized is cheaper, by its size, than all.
    """

    rgb: Image.Image
    turn: Image.Transpose | None
    full_size: tuple[int, int]
    shrunk: int = 1
    profile: Profile | None = None

    def upright(self) -> Image.Image:
        """The whole image, in sRGB."""
        return self.turned(self.in_srgb(self.rgb))

    def turned(self, image: Image.Image) -> Image.Image:
        return image if self.turn is None else image.transpose(self.turn)

    def in_srgb(self, image: Image.Image) -> Image.Image:
        return image if self.profile is None else self.profile.to_srgb(image)


def _open_safely(source: Source, max_pixels: int, enough: int | None = None) -> Opened:
    """`enough` pixels on the shorter side will do, and nobody but us is given the image; None: neither."""
    try:
        with truncation_is_an_error():
            return _open(source, max_pixels, enough)
    except ImageError:
        raise
    # Pillow's plugins raise almost anything on a damaged file, struct.error and RecursionError included.
    except Exception as error:
        raise ImageError(_reason(error, max_pixels)) from error


def _open(source: Source, max_pixels: int, enough: int | None) -> Opened:
    if isinstance(source, Image.Image):
        if isinstance(source, TiffImageFile):
            check_directory(source.tag_v2)
        return _to_rgb(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source), max_pixels)
    if isinstance(source, str | os.PathLike):
        status = Path(source).stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("is a folder")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait for ever
            raise ImageError("not a regular file")
        with Path(source).open("rb") as file:
            return _decode(file, status.st_size, max_pixels, enough)
    data = read_encoded(source)
    if data is None:
        raise ImageError(f"not an image: a value of type {type(source).__name__}")
    return _decode(io.BytesIO(data), len(data), max_pixels, enough)


def _decode(file: BinaryIO, size: int, max_pixels: int, enough: int | None) -> Opened:
    try:
        with open_encoded(file, size) as image:
            return _to_rgb(image, max_pixels, enough)
    except (ImageError, SyntaxError, ValueError) as error:
        plain = without_text(file) if is_about_text(error) else None  # texts are no part of the picture
        if plain is None:
            raise
    with open_encoded(plain, size) as image:
        return _to_rgb(image, max_pixels, enough)


def _to_rgb(image: Image.Image, max_pixels: int, enough: int | None = None) -> Opened:
    _check_size(image, max_pixels)
    full_size = image.size
    shrunk = 1 if enough is None else _shrink(image, enough)
    if image.format is not None:
        reserve(image, full_size)
    image.load()
    _check_size(image, max_pixels)  # an icon's header may understate what it holds
    profile = profile_of(image)
    turn = turn_of(image)  # after load(): TIFF turns itself, PNG may carry EXIF at its end
    as_decoded = enough is not None and image.mode == "RGB" and "transparency" not in image.info
    if profile is not None and profile.mode == "CMYK":
        rgb, profile = profile.to_srgb(image), None
    else:
        rgb = image if as_decoded else to_rgb(image)  # which copies: a third of the time of a large photo
    rgb.info.clear()  # else whoever is given the upright image would find the orientation and turn it again
    return Opened(rgb, turn, full_size, shrunk, profile)


def _shrink(image: Image.Image, enough: int) -> int:
    """Have a JPEG decoded at a fraction of its size, at least `enough` pixels a side; how many times smaller."""
    if image.format not in _JPEGS or min(image.size) < 2 * enough:
        return 1
    width = image.width
    drafted = image.draft(None, (enough, enough))
    return 1 if drafted is None else round(width / drafted[1][2])


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"too large: {width}x{height} pixels, the limit is {max_pixels}")
    if width * height == 0:
        raise ImageError("has no pixels")


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1 if array.ndim == 2 else 0
    if array.dtype != np.uint8 or channels not in (1, 3, 4) or array.size == 0:
        raise ImageError(
            f"array of shape {array.shape} and dtype {array.dtype}; "
            "give uint8 of shape (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)"
        )
    pixels = array[:, :, 0] if array.ndim == 3 and channels == 1 else array
    return Image.fromarray(np.ascontiguousarray(pixels))


def _reason(error: Exception, max_pixels: int) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        pixels = re.search(r"\d+ pixels", text)
        # Pillow warns at its limit and refuses at twice that; a program may have made its warnings errors.
        factor = 2 if isinstance(error, Image.DecompressionBombError) else 1
        limit = min(max_pixels, factor * (Image.MAX_IMAGE_PIXELS or max_pixels))
        return f"too large: {pixels.group() if pixels else 'unknown size'}, the limit is {limit}"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror.lower()}"
    if text.lower().startswith(_PILLOW_REFUSES):
        return f"unsupported: {text[:100]}"
    if isinstance(error, EOFError | struct.error) or _CUT_OFF.search(text):
        return "truncated"
    return f"damaged: {text[:100]}" if text else "damaged"
