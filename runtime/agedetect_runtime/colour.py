"""Colours of any profile -> sRGB, which is what a model sees: a phone's Display P3 looks paler when it is taken for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from agedetect_runtime.errors import ImageError

# A profile that moves no colour by more than this many levels is sRGB under another name, and is not applied: there are
# dozens of them, and their tables are rounded differently.
_SAME_LEVELS = 2
_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile's header (ICC.1, 7.2.6): Pillow's mode
_BAND_PIXELS = 2_000_000
_KEPT = 16  # profiles whose transform is kept: a folder's pictures come from a few cameras


class Profile(NamedTuple):
    """How to convert an image of `mode`, RGB, L or CMYK, to RGB; `transform` is None where its colours are sRGB."""

    mode: str
    transform: ImageCms.ImageCmsTransform | None


def profile_of(image: Image.Image) -> Profile | None:
    """The profile of a loaded image, None without one.

    Raises ImageError for a profile that can't be read, or is of other channels: its colours are unknown then.
    """
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = _profile(bytes(data))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise ImageError("unsupported: its colour profile cannot be read") from error
    if profile is None or (profile.mode != "RGB" and profile.mode != _channels(image)):
        raise ImageError(f"unsupported: its colour profile is not one for {image.mode} pixels")
    return profile
