"""Faces as the training set cuts them: a similarity transform takes five landmarks to a template."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from agedetect_runtime.errors import ImageError
from agedetect_runtime.images import RESAMPLING
from agedetect_runtime.photo import Box, Photo
from agedetect_runtime.spec import UTKFACE_TEMPLATE, Template

_FINER = 2  # a chip is drawn at twice its side and then reduced, which leaves no jagged edges


class Similarity(NamedTuple):
    """point -> turn x point + shift, a point (x, y) being the complex number x + iy.

    `abs(turn)` is the scale. A complex factor turns and scales and can't mirror, so least squares over such factors
    is the solution of Umeyama, "Least-squares estimation of transformation parameters between two point patterns"
    (1991), with his correction for reflections.
    """

    turn: complex
    shift: complex

    @classmethod
    def between(cls, points: ArrayLike, targets: ArrayLike) -> Similarity:
        """The one that takes (N, 2) points closest to as many targets.

        Raises ImageError where the points are not finite or coincide.
        """
        start, goal = _complex(points), _complex(targets)
        moved = start - start.mean()
        spread = float((np.abs(moved) ** 2).sum())
        turn = complex((moved.conj() * (goal - goal.mean())).sum()) / spread if spread else 0j
        if not np.isfinite(spread) or not abs(turn):
            raise ImageError("the landmarks of a face coincide or are not numbers")
        return cls(turn, complex(goal.mean() - turn * start.mean()))

    @property
    def inverse(self) -> Similarity:
        return Similarity(1 / self.turn, -self.shift / self.turn)

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) -> (N, 2)."""
        moved = self.turn * _complex(points) + self.shift
        return np.stack([moved.real, moved.imag], axis=1)


def cut_chip(
    photo: Photo,
    landmarks: ArrayLike,
    side: int,
    *,
    template: Template = UTKFACE_TEMPLATE,
    resampling: str = "bilinear",
) -> NDArray[np.uint8]:
    """The face with these landmarks, (5, 2) in pixels of the photo, on the template: (S, S, 3) uint8, RGB.

    What lies outside the photo is black, as it is in UTKFace (docs/faces.md). Where the chip has fewer pixels than the
    photo, they are averaged over; where it has more, they are interpolated. `resampling` is the spec's.
    """
    fine = _FINER * side
    onto_chip = Similarity.between(landmarks, np.asarray(template) * fine)
    box = _box_of_chip(onto_chip, fine, photo)
    if box is None:
        return np.zeros((side, side, 3), np.uint8)
    chip = _draw(photo, box, onto_chip, fine).resize((side, side), RESAMPLING[resampling])
    return np.array(chip)


def photo_pixels_per_chip_pixel(landmarks: ArrayLike, side: int, template: Template = UTKFACE_TEMPLATE) -> float:
    """On a side; below 1 the chip is an enlargement."""
    return 1 / abs(Similarity.between(landmarks, np.asarray(template) * side).turn)


def _box_of_chip(onto_chip: Similarity, fine: int, photo: Photo) -> Box | None:
    """Whole pixels of the photo around what the chip shows, two pixels of either wider; None where it shows none."""
    corners = onto_chip.inverse([(0, 0), (fine, 0), (fine, fine), (0, fine)])
    margin = 2 * max(1 / abs(onto_chip.turn), photo.shrunk)
    left, top = np.floor(corners.min(0) - margin)
    right, bottom = np.ceil(corners.max(0) + margin)
    width, height = photo.size
    box = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _draw(photo: Photo, box: Box, onto_chip: Similarity, fine: int) -> Image.Image:
    """(fine, fine) pixels: the box is brought down to the chip's scale first, since interpolating doesn't average."""
    scale = min(abs(onto_chip.turn), 1 / photo.shrunk)
    width, height = (max(1, round(scale * length)) for length in (box[2] - box[0], box[3] - box[1]))
    region = photo.region(box, (width, height))
    across, down = width / (box[2] - box[0]), height / (box[3] - box[1])
    turn, shift = onto_chip.inverse
    shift -= complex(box[0], box[1])
    coefficients = (
        across * turn.real,
        -across * turn.imag,
        across * shift.real,
        down * turn.imag,
        down * turn.real,
        down * shift.imag,
    )
    return region.transform((fine, fine), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def _complex(points: ArrayLike) -> NDArray[np.complex128]:
    pairs = np.asarray(points, np.float64)
    complex_points: NDArray[np.complex128] = pairs[:, 0] + 1j * pairs[:, 1]
    return complex_points
