"""Where the faces in a photo are: the detector at several scales, and one answer for each face."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime.photo import Photo
from agedetect_runtime.yunet import Candidates, YuNet

MIN_SCORE = 0.6  # found by measurement (docs/faces.md); OpenCV's 0.9 loses the small and the blurred
MAX_OVERLAP = 0.3  # intersection over union above which two boxes are one face: OpenCV's FaceDetectorYN

# The pixels in which a photo is searched, as many as it has at most: in _PIXELS for the small faces, and in
# _COARSE_PIXELS for what is larger than _LARGE there. YuNet finds a third of the faces of 10 pixels, three quarters of
# those of 16, and nearly all from 24 to 500 (docs/faces.md).
_PIXELS, _COARSE_PIXELS = 1000 * 750, 320 * 240
_LARGE = 200  # pixels; a detector's window may cut a larger face in two

_REDUCING_GAP = 1.0  # whole pixels first, as often as they fit: the search needs no better

# The shorter side of a photo that can be searched in _PIXELS without loss, whatever its shape.
ENOUGH_PIXELS = math.isqrt(_PIXELS) + 1


class FaceBox(NamedTuple):
    """In pixels of the whole upright photo, from its upper left corner; it may reach beyond the photo."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face in a photo.

    `landmarks`, float32 (5, 2), are the eyes, the nose and the corners of the mouth, left to right as seen, in the
    box's coordinates. `score` is the detector's, from 0 to 1.
    """

    box: FaceBox
    landmarks: NDArray[np.float32]
    score: float


def find_faces(photo: Photo, detector: YuNet) -> list[Face]:
    """The faces of a photo, the largest first; of equals, the upper one, then the left one.

    The same photo gives the same list. Raises ProviderError where ONNX Runtime fails.
    """
    scale, coarse_scale = _scale(photo, _PIXELS), _scale(photo, _COARSE_PIXELS)
    found = _search(photo, detector, scale)
    if coarse_scale < scale:
        is_small = found.boxes[:, 2] * scale < _LARGE
        found = Candidates.joined([found.take(is_small), _search(photo, detector, coarse_scale)])
    kept = one_each(found.take(_are_within(found, (0, 0, *photo.size))))  # beyond its edges the detector sees black
    faces = [
        Face(FaceBox(*box), points, score)
        for box, points, score in zip(kept.boxes.tolist(), kept.landmarks, kept.scores.tolist(), strict=True)
    ]
    return sorted(faces, key=lambda face: (-face.box.width * face.box.height, face.box.y, face.box.x))


def one_each(found: Candidates) -> Candidates:
    """Non-maximum suppression: of boxes that overlap by more than MAX_OVERLAP, the one with the best score."""
    left, top, width, height = found.boxes.T
    order = np.lexsort((left, top, -found.scores))
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        across = np.minimum(left[best] + width[best], left[rest] + width[rest]) - np.maximum(left[best], left[rest])
        down = np.minimum(top[best] + height[best], top[rest] + height[rest]) - np.maximum(top[best], top[rest])
        common = np.clip(across, 0, None) * np.clip(down, 0, None)
        union = width[best] * height[best] + width[rest] * height[rest] - common
        order = rest[common <= MAX_OVERLAP * union]
    return found.take(np.array(kept, np.intp))


def _scale(photo: Photo, pixels: int) -> float:
    width, height = photo.size
    return min(1.0, math.sqrt(pixels / (width * height)))


def _search(photo: Photo, detector: YuNet, scale: float) -> Candidates:
    """Candidates in pixels of the photo, from a picture of it that is `scale` times as large."""
    width, height = photo.size
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.asarray(photo.region((0, 0, width, height), size, gap=_REDUCING_GAP))
    parts = []
    for left, top, right, bottom, own in _windows(size, detector.window):
        found = detector.candidates(pixels[top:bottom, left:right], MIN_SCORE).moved(1, left, top)
        parts.append(found.take(_are_within(found, own)).moved(1 / scale))
    return Candidates.joined(parts)


Window = tuple[int, int, int, int, tuple[float, float, float, float]]


def _windows(size: tuple[int, int], window: tuple[int, int] | None) -> Iterator[Window]:
    """Parts that the detector takes, overlapping by _LARGE: left, top, right, bottom and the region that is their own.

    A face belongs to the window whose own region has its centre; up to _LARGE pixels wide, it lies in there whole.
    """
    width, height = size
    rows, columns = window or (height, width)
    for top, bottom, first, last in _spans(height, rows):
        for left, right, begin, end in _spans(width, columns):
            yield left, top, right, bottom, (begin, first, end, last)


def _spans(length: int, window: int) -> Iterator[tuple[int, int, float, float]]:
    """Along one side: where a window starts and ends, and what of it is its own."""
    common = min(_LARGE, window // 2)
    count = 1 if length <= window else math.ceil((length - common) / (window - common))
    starts = [round(index * (length - window) / max(1, count - 1)) for index in range(count)]
    borders = [-math.inf, *((start + window + after) / 2 for start, after in pairwise(starts)), math.inf]
    for index, start in enumerate(starts):
        yield start, min(length, start + window), borders[index], borders[index + 1]


def _are_within(found: Candidates, own: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    x, y = (found.boxes[:, :2] + found.boxes[:, 2:] / 2).T
    within: NDArray[np.bool_] = (own[0] <= x) & (x < own[2]) & (own[1] <= y) & (y < own[3])
    return within
