"""Any Pillow mode -> 8-bit RGB, also where Pillow's own conversion would clip, refuse or drop alpha."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
from PIL import Image, ImageCms

from agedetect_runtime.errors import ImageError

# "I" and "F" don't say their full scale: it is the smallest of these that holds the image's largest value.
_INTEGER_SCALES = (255.0, 65535.0, 2.0**31 - 1)
_BAND_PIXELS = 2_000_000  # converted at a time: 120 megapixels at once would take 2 GB on the way
_FLOAT_SCALES = (1.0, 255.0, 65535.0, 2.0**32 - 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode; `image` itself stays as it is.

    Transparency, a palette's or a colour key included, goes over white. 16-bit grey is scaled by 1/257, "I"
    and "F" from the smallest usual full scale (1 for "F", 255, 65535, 2^31) that holds their largest value;
    negative values are black. Raises ImageError where a pixel is not a number, or all of them are transparent.
    """
    convert = _conversion(image)
    if convert is None:
        return image.convert("RGB")
    rgb = Image.new("RGB", image.size)
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = (0, top, image.width, min(top + rows, image.height))
        rgb.paste(convert(image.crop(band)), band)
    if isinstance(convert, _OverWhite) and not convert.anything_seen:
        raise ImageError("unsupported: its alpha is 0 everywhere, so nothing of it is visible")
    return rgb


def _conversion(image: Image.Image) -> Callable[[Image.Image], Image.Image] | None:
    """The function that converts a part of the image to RGB; None where Pillow's own conversion is right."""
    if image.mode.startswith("I;16"):
        return partial(_grey, full_scale=65535.0)
    if image.mode == "I":
        scale = 65535.0 if image.format == "PPM" else _full_scale(image, _INTEGER_SCALES)
        return partial(_grey, full_scale=scale)
    if image.mode == "F":
        scale = _full_scale(image, _FLOAT_SCALES)
        if image.format is not None and 1.0 < scale < np.inf:
            raise ImageError("unsupported: floating-point levels above 1, whose white the file does not give")
        return partial(_grey, full_scale=scale)
    if image.mode == "LAB":
        return _lab_to_rgb()
    return _OverWhite() if image.has_transparency_data else None


def _grey(image: Image.Image, full_scale: float) -> Image.Image:
    values = np.asarray(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("holds pixels that are not numbers")
    scaled = np.clip(values * np.float32(255.0 / full_scale), 0.0, 255.0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _full_scale(image: Image.Image, scales: tuple[float, ...]) -> float:
    top = cast("float", image.getextrema()[1])  # these modes have one channel
    return next((scale for scale in scales if top <= scale), top)


class _OverWhite:
    def __init__(self) -> None:
        self.anything_seen = False

    def __call__(self, image: Image.Image) -> Image.Image:
        straight = image.convert("LA") if image.mode == "La" else image
        rgba = straight.convert("RGBA")
        self.anything_seen = self.anything_seen or rgba.getchannel("A").getextrema()[1] != 0
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _lab_to_rgb() -> Callable[[Image.Image], Image.Image]:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")

    def convert(image: Image.Image) -> Image.Image:
        converted = ImageCms.applyTransform(image, transform)
        if converted is None:  # only in place, which this is not
            raise ImageError("damaged: Lab colours cannot be converted")
        return converted

    return convert
