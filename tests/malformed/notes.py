"""What a file says beside its pixels: EXIF and colour profiles, good and bad."""

from __future__ import annotations

import random
import zlib

import numpy as np
from PIL import Image, ImageCms

from malformed.outcomes import (
    NEARLY,
    SEEN,
    UNPACKED,
    Files,
)
from malformed.pictures import (
    PICTURE,
    Levels,
    chunk,
    encoded,
    png,
)


def orientation_files() -> Files:
    """The picture laid down so that its EXIF turns it upright: EXIF 2.3 says where row 0, column 0 is."""
    stored: dict[int, Levels] = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: np.rot90(PICTURE, 2).transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }
    files: Files = {}
    for orientation, levels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        laid = np.ascontiguousarray(levels)
        files[f"orientation {orientation}.jpg"] = (encoded(laid, "JPEG", quality=95, exif=exif), NEARLY)
        files[f"orientation {orientation}.png"] = (encoded(laid, "PNG", exif=exif), SEEN)
    for name, raw in {
        "no TIFF": b"Exif\0\0no TIFF header",
        "directory beyond its end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "orientation as text": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0six\0",
        "orientation 0": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0",
        "orientation 99": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0",
        "cut": b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01",
        "empty": b"Exif\0\0",
    }.items():
        files[f"EXIF, {name}.jpg"] = (encoded(PICTURE, "JPEG", quality=95, exif=raw), NEARLY)
    return files


def profile_files() -> Files:
    """Colour profiles are ignored, whatever is in them."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiles = {"sRGB": srgb, "Lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()}
    profiles |= {"cut": srgb[:100], "noise": random.Random(1).randbytes(500), "128 kB": srgb + bytes(2**17)}
    files: Files = {}
    for name, profile in profiles.items():
        files[f"profile, {name}.jpg"] = (encoded(PICTURE, "JPEG", quality=95, icc_profile=profile), NEARLY)
        files[f"profile, {name}.png"] = (encoded(PICTURE, "PNG", icc_profile=profile), SEEN)
    bomb = b"icc\0\0" + zlib.compress(bytes(64 * 2**20))
    files["profile that unpacks to 64 MB.png"] = (png(PICTURE, 8, 2, extra=chunk(b"iCCP", bomb)), UNPACKED)
    return files
