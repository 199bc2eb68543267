"""Little images of noise: every seed another picture, the same one on every machine."""

from __future__ import annotations

import io
import random
from pathlib import Path

from PIL import Image


def noise(seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    data = random.Random(seed).randbytes(size[0] * size[1] * 3)
    return Image.frombytes("RGB", size, data)


def save_noise(path: Path, seed: int, size: tuple[int, int] = (8, 8)) -> Path:
    """Write `noise(seed, size)` in the format of the suffix, folders included; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed, size).save(path)
    return path


def png_bytes(seed: int) -> bytes:
    file = io.BytesIO()
    noise(seed).save(file, "PNG")
    return file.getvalue()


def stored_jpeg(photo: Image.Image, orientation: int) -> bytes:
    """A JPEG file with the pixels stored so that its EXIF orientation, 1 to 8, rights them."""
    way = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    (photo if way is None else photo.transpose(way)).save(file, "JPEG", exif=exif, quality=95, subsampling=0)
    return file.getvalue()
