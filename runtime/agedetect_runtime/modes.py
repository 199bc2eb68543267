"""Any Pillow mode -> 8-bit RGB, also where Pillow's own conversion would clip, refuse or drop alpha."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from agedetect_runtime.errors import ImageError

# "I" and "F" don't say their full scale: it is the smallest of these that holds the image's largest value.
_INTEGER_SCALES = (255.0, 65535.0, 2.0**31 - 1)
_FLOAT_SCALES = (1.0, 255.0, 65535.0, 2.0**32 - 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode; `image` itself stays as it is.

    Transparency, a palette's or a colour key included, goes over white. 16-bit grey is scaled by 1/257, "I"
    and "F" from the smallest usual full scale (1 for "F", 255, 65535, 2^31) that holds their largest value;
    negative values are black. Raises ImageError where a pixel is not a number.
    """
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image), 65535.0)
    if image.mode == "I":
        return _grey(np.asarray(image), _full_scale(image, _INTEGER_SCALES))
    if image.mode == "F":
        return _grey(np.asarray(image), _full_scale(image, _FLOAT_SCALES))
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def _grey(values: NDArray[np.generic], full_scale: float) -> Image.Image:
    scaled = np.clip(values.astype(np.float32) * np.float32(255.0 / full_scale), 0.0, 255.0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")


def _full_scale(image: Image.Image, scales: tuple[float, ...]) -> float:
    top = float(np.asarray(image).max())
    if not np.isfinite(np.asarray(image)).all():
        raise ImageError("holds pixels that are not numbers")
    return next((scale for scale in scales if top <= scale), top)


def _over_white(image: Image.Image) -> Image.Image:
    straight = image.convert("LA") if image.mode == "La" else image
    rgba = straight.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only in place, which this is not
        raise ImageError("damaged: Lab colours cannot be converted")
    return converted
