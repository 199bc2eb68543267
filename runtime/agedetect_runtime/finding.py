"""What is found in a photo: its faces, cut out for the model, and their ages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime.alignment import cut_chip, photo_pixels_per_chip_pixel
from agedetect_runtime.detection import ENOUGH_PIXELS, Face, FaceBox, find_faces
from agedetect_runtime.estimate import Result
from agedetect_runtime.memory import decoding
from agedetect_runtime.photo import Photo
from agedetect_runtime.sources import Source, describe_source
from agedetect_runtime.spec import UTKFACE_TEMPLATE, Template

if TYPE_CHECKING:
    from agedetect_runtime.yunet import YuNet

NO_FACE = "no face found"

# Pixels of a photo for one of a chip, on a side, that are enough to cut it from: more of them would move an age by no
# more than rounding the levels does (docs/faces.md).
_PIXELS_PER_CHIP_PIXEL = 2.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class FoundFace:
    """A face in a photo, as `detection.Face` describes it, and its age.

    `estimate` is a `Failure` where the model's answer is not a number.
    """

    box: FaceBox
    landmarks: NDArray[np.float32]
    score: float
    estimate: Result

    def __repr__(self) -> str:
        x, y, width, height = (round(length) for length in self.box)
        return f"FoundFace({width} x {height} at ({x}, {y}), score={self.score:.2f}, {self.estimate!r})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Finding:
    """The faces in `source`, the largest first; or none, and then `error` is the reason, in one line."""

    source: Source
    faces: tuple[FoundFace, ...]
    error: str | None = None

    def __repr__(self) -> str:
        what = f"error={self.error!r}" if self.error else f"{len(self.faces)} faces"
        return f"Finding({describe_source(self.source)}, {what})"


class CutFaces(NamedTuple):
    """Faces and their chips, uint8 (N, S, S, 3) RGB."""

    faces: list[Face]
    chips: NDArray[np.uint8]


@decoding()
def cut_faces(
    source: Source,
    detector: YuNet,
    *,
    side: int,
    template: Template = UTKFACE_TEMPLATE,
    resampling: str = "bilinear",
    largest: bool = False,
) -> CutFaces:
    """The faces of a photo, or the largest alone, and their chips of `side` pixels; `alignment.cut_chip` says how.

    A large JPEG photo is searched in a fraction of its pixels, and decoded once more where that is too few for a chip.
    Raises ImageError as `open_rgb` does.
    """
    photo = Photo.open(source, ENOUGH_PIXELS)
    faces = find_faces(photo, detector)[: 1 if largest else None]
    if faces and photo.shrunk > 1:
        finest = min(photo_pixels_per_chip_pixel(face.landmarks, side, template) for face in faces)
        photo = photo.with_pixels_of(max(1.0, finest / _PIXELS_PER_CHIP_PIXEL))
    chips = np.zeros((len(faces), side, side, 3), np.uint8)
    for chip, face in zip(chips, faces, strict=True):
        chip[:] = cut_chip(photo, face.landmarks, side, template=template, resampling=resampling)
    return CutFaces(faces, chips)


def findings(sources: Sequence[Source], cut: Sequence[CutFaces | str], results: Sequence[Result]) -> list[Finding]:
    """What was found in each photo: `cut` has its faces or a reason, `results` those of all faces in their order."""
    ages = iter(results)
    rows = []
    for source, item in zip(sources, cut, strict=True):
        if isinstance(item, str):
            rows.append(Finding(source, (), item))
            continue
        found = tuple(FoundFace(face.box, face.landmarks, face.score, next(ages)) for face in item.faces)
        rows.append(Finding(source, found, None if found else NO_FACE))
    return rows
