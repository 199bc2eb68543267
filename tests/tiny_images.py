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
