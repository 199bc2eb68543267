"""Colours of any ICC profile -> sRGB: levels of a phone's Display P3 that are taken for sRGB are too pale."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from agedetect_runtime.errors import ImageError

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a profile's header (ICC.1, 7.2.6): Pillow's
# A profile that moves no colour by more levels is sRGB, whose profiles differ by so much, and is not applied.
_SAME_LEVELS = 2
_KEPT = 32  # profiles whose transform is kept: a folder's pictures come from a few cameras
_GAMMA, _PRIMARIES = 1 / 2.2, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # of sRGB, as a PNG tells them
_REMEDY = "remove it to have the colours taken for sRGB"


@dataclass(frozen=True)
class Profile:
    """How colours of one profile become sRGB. `mode` is RGB, L or CMYK: that of the pixels that it is for."""

    mode: str
    transform: ImageCms.ImageCmsTransform

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """A new image, from CMYK for a CMYK profile, else from RGB."""
        if self.mode == "L":
            image = image.getchannel(0)
        converted = ImageCms.applyTransform(image, self.transform)
        if converted is None:  # only in place, which this is not
            raise ImageError("damaged: its colours cannot be converted")
        return converted


def profile_of(image: Image.Image) -> Profile | None:
    """The profile of an image; None where its levels are those of sRGB, or it says nothing.

    Raises ImageError where it tells its colours in a way that can't be used.
    """
    if "icc_profile" not in image.info:
        _check_png(image)
        return None
    data = image.info["icc_profile"]
    if not isinstance(data, bytes) or not data:  # what Pillow makes of pieces that don't fit together
        raise ImageError(f"unsupported: its colour profile cannot be read; {_REMEDY}")
    space, profile = _read(data)
    grey = image.mode in ("1", "L", "LA", "La", "I;16", "I;16B", "I", "F")
    if space != "RGB" and space != ("GRAY" if grey else image.mode):
        raise ImageError(f"unsupported: its colour profile is for {space}, its pixels are {image.mode}; {_REMEDY}")
    return profile


@lru_cache(_KEPT)
def _read(data: bytes) -> tuple[str, Profile | None]:
    """What pixels a profile is for, as its header says, and how it converts them; None where that changes nothing."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if space not in _MODES:
            return space, None
        mode = _MODES[space]
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(f"unsupported: its colour profile cannot be read; {_REMEDY}") from error
    read = Profile(mode, transform)
    return space, None if _is_srgb(read) else read


def _is_srgb(profile: Profile) -> bool:
    if profile.mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
    if profile.mode == "L":
        colours[:] = colours[..., :1]
    moved = np.asarray(profile.to_srgb(Image.fromarray(colours))).astype(int) - colours
    return bool(np.abs(moved).max() <= _SAME_LEVELS)


def _check_png(image: Image.Image) -> None:
    """A PNG may give a gamma and primaries instead of a profile; usually they are sRGB's."""
    if "srgb" in image.info:
        return
    gamma, primaries = image.info.get("gamma", _GAMMA), image.info.get("chromaticity", _PRIMARIES)
    if abs(gamma - _GAMMA) > 0.02 or max(abs(a - b) for a, b in zip(primaries, _PRIMARIES, strict=True)) > 0.01:
        raise ImageError(f"unsupported: PNG with a gamma of {gamma:g} or primaries other than sRGB's, and no profile")
