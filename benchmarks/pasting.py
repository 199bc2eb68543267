"""Photos of 12 megapixels with faces of a known size at known places, pasted in from pictures of faces."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from agedetect_runtime.detection import find_faces
from agedetect_runtime.images import open_rgb
from agedetect_runtime.photo import Photo
from agedetect_runtime.yunet import YuNet

_SIZE = (4000, 3000)


class Pasted(NamedTuple):
    """A photo, and the centres of its faces in pixels."""

    photo: Image.Image
    centres: list[tuple[float, float]]


def paste(path: str, widths: Sequence[int], yunet: YuNet) -> Pasted | None:
    """The largest face of a picture, once in each width, in rows and columns; None where none is found in it."""
    picture = open_rgb(path)
    face = next(iter(find_faces(Photo.open(picture), yunet)), None)
    if face is None:
        return None
    photo, centres = _background(picture), []
    columns = max(1, round((len(widths) * _SIZE[0] / _SIZE[1]) ** 0.5))
    cell = _SIZE[0] // columns, _SIZE[1] // -(-len(widths) // columns)
    shifts = random.Random(path)
    for index, width in enumerate(widths):
        scale = width / face.box.width
        pasted = picture.resize([max(1, round(scale * side)) for side in picture.size], Image.Resampling.BICUBIC)
        room = [max(0, space - side) for space, side in zip(cell, pasted.size, strict=True)]
        left = index % columns * cell[0] + shifts.randint(0, room[0])
        top = index // columns * cell[1] + shifts.randint(0, room[1])
        photo.paste(pasted, (left, top))
        x, y = face.box.x + face.box.width / 2, face.box.y + face.box.height / 2
        centres.append((left + scale * x, top + scale * y))
    return Pasted(photo, centres)


def paste_file(folder: Path, path: str, widths: Sequence[int], yunet: YuNet) -> str | None:
    """The same as a JPEG file, with a sensor's noise, made once and kept in `folder`."""
    place = folder / f"{len(widths)}x{widths[0]}_{Path(path).stem}.jpg"
    if not place.exists():
        pasted = paste(path, widths, yunet)
        if pasted is None:
            return None
        noise = np.random.default_rng(0).normal(0, 5, (*_SIZE[::-1], 1)).astype(np.float32)
        levels = np.clip(np.asarray(pasted.photo) + noise, 0, 255).astype(np.uint8)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(place, quality=92)
    return str(place)


def _background(picture: Image.Image) -> Image.Image:
    """Its colours, without its face."""
    return picture.resize((4, 3), Image.Resampling.BOX).resize(_SIZE, Image.Resampling.BICUBIC)
