"""Whether the faces of a data set lie in their pictures where the models of this package expect them."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from agedetect.data.faces import Face
from agedetect_runtime.cores import usable_cores
from agedetect_runtime.detection import ENOUGH_PIXELS, find_faces
from agedetect_runtime.errors import ImageError
from agedetect_runtime.photo import Photo
from agedetect_runtime.spec import UTKFACE_TEMPLATE
from agedetect_runtime.yunet import YuNet

SAMPLE = 500
OFF = 0.06  # of the side: UTKFace's own faces have 0.03, and twice that costs years (docs/faces.md)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where `detector`, a file's name, sees the largest face of each of `pictures`, a seeded sample.

    `found` of them show one. A face's distance is the mean over its five landmarks from UTKFace's template, as a share
    of the side of the centre square, which is what a model gets: `median`, `lower` and `upper` quartile over the faces,
    None where there are none.
    """

    detector: str
    pictures: int
    found: int
    median: float | None
    lower: float | None
    upper: float | None

    @property
    def is_off(self) -> bool:
        return self.median is not None and self.median > OFF


def placement(faces: tuple[Face, ...], detector: YuNet, *, count: int = SAMPLE) -> Placement:
    """Of at most `count` of the faces. A picture that can no longer be read counts as one without a face."""
    chosen = random.Random(0).sample(faces, min(count, len(faces)))
    with ThreadPoolExecutor(usable_cores()) as pool:
        distances = [item for item in pool.map(lambda face: _distance(face, detector), chosen) if item is not None]
    lower, median, upper = np.quantile(distances, (0.25, 0.5, 0.75)).tolist() if distances else (None, None, None)
    return Placement(
        detector=detector.source.name,
        pictures=len(chosen),
        found=len(distances),
        median=median,
        lower=lower,
        upper=upper,
    )


def _distance(face: Face, detector: YuNet) -> float | None:
    try:
        photo = Photo.open(face.path, ENOUGH_PIXELS)
    except ImageError:
        return None
    found = find_faces(photo, detector)
    if not found:
        return None
    width, height = photo.size
    side = min(width, height)
    corner = (width - side) / 2, (height - side) / 2
    return float(np.linalg.norm((found[0].landmarks - corner) / side - UTKFACE_TEMPLATE, axis=1).mean())
