"""Which way up an image is: as its EXIF says, and nothing else. XMP is often left over from before it was turned."""

from __future__ import annotations

from PIL import Image

_ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_XMP = ("XML:com.adobe.xmp", "xmp")


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How to turn a loaded image upright; None if it is."""
    xmp = {key: image.info.pop(key) for key in _XMP if key in image.info}  # else Pillow falls back on it
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken EXIF raises anything; the pixels are still good
        return None
    finally:
        image.info.update(xmp)
    return _TRANSPOSE.get(value) if isinstance(value, int) else None


def forget_xmp(image: Image.Image) -> None:
    """Before an opened file is loaded: a TIFF turns itself then."""
    for key in _XMP:
        image.info.pop(key, None)
