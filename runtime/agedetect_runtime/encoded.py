"""An image file as Pillow opens it: the format by its content, and nothing that Pillow would read wrong."""

from __future__ import annotations

from importlib.util import find_spec
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from agedetect_runtime.errors import ImageError
from agedetect_runtime.heif import is_heif, open_heif
from agedetect_runtime.orientation import forget_xmp
from agedetect_runtime.png import check_png
from agedetect_runtime.tiff import SIGNATURES as TIFF_SIGNATURES
from agedetect_runtime.tiff import check_tiff
from agedetect_runtime.windows import check_bmp, check_tga

# What `listing` knows, by content. Pillow's other plugins start programs (EPS), or recognise what they can't decode.
_FORMATS = ["JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "WEBP", "TIFF", "ICO", "JPEG2000", "TGA"]
if find_spec("PIL.AvifImagePlugin"):  # since Pillow 11.3
    _FORMATS.append("AVIF")
_PNG = b"\x89PNG"
_SIGNATURES = (b"\xff\xd8\xff", _PNG, b"GIF8", b"RIFF", b"BM", *TIFF_SIGNATURES)


def open_encoded(file: BinaryIO, size: int) -> Image.Image:
    """Read the header of a file of `size` bytes. Raises ImageError for what is no image, or one that isn't supported.

    Whatever Pillow raises about a damaged file goes through.
    """
    if size == 0:
        raise ImageError("empty file")
    start = file.read(70)
    file.seek(0)
    if start.startswith(b"RIFF") and int.from_bytes(start[4:8], "little") + 8 > size:
        raise ImageError("truncated")  # libwebp only says that it can't
    if is_heif(start):
        return open_heif(file)
    _check_layout(file, start)
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        begun = start.startswith(_SIGNATURES)
        raise ImageError("truncated or damaged in its header" if begun else "not an image") from error
    if image.format == "TGA":  # which no signature tells, so Pillow has tried all others
        check_tga(start)
    forget_xmp(image)
    return image


def _check_layout(file: BinaryIO, start: bytes) -> None:
    if start.startswith(TIFF_SIGNATURES):
        check_tiff(file)
    elif start.startswith(_PNG):
        check_png(file)
    elif start.startswith(b"BM"):
        check_bmp(start)
