"""Faces as small pictures inside a page, and the faces with the largest errors."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from agedetect.evaluation.predictions import Predictions
from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import open_rgb

PIXELS = 112


class WorstFace(NamedTuple):
    """`name` is the file's, without its folder; ages in years."""

    name: str
    predicted: float
    true: float
    thumbnail: Image.Image

    @property
    def caption(self) -> str:
        return f"predicted {self.predicted:.0f}, label {self.true:.0f}"


def worst_faces(predictions: Predictions, *, count: int = 24) -> list[WorstFace]:
    """The faces with the largest absolute errors, the worst first; often it is the label that is wrong."""
    order = np.argsort(-np.abs(predictions.error), kind="stable")[:count]
    found = [(predictions.faces[index], float(predictions.age[index])) for index in order]
    return [WorstFace(face.path.name, age, face.age, thumbnail(face.path)) for face, age in found]


def thumbnail(path: Path) -> Image.Image:
    """At most PIXELS wide and high, RGB; a grey tile for a face that can no longer be read."""
    try:
        image = open_rgb(path)
    except ImageError:
        return Image.new("RGB", (PIXELS, PIXELS), "grey")
    image.thumbnail((PIXELS, PIXELS))
    return image


def jpeg_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return data_uri("image/jpeg", file.getvalue())


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
