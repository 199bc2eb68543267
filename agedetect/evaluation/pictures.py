"""How a labelled picture becomes a model's input: as it is, its largest face found and aligned, or moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect.data.geometry import Filling, Movement, move
from agedetect.errors import DataError
from agedetect_runtime import ImageError, ModelSpec
from agedetect_runtime.detectorfile import detector_file
from agedetect_runtime.finding import cut_faces
from agedetect_runtime.images import load_face, open_stored
from agedetect_runtime.yunet import YuNet

Pixels = NDArray[np.uint8]
Prepare = Callable[[Face, ModelSpec], Pixels | None]  # (S, S, 3) for the model; None: the picture shows no face

_ENOUGH = 4  # pixels of a picture for one of the input, on a side, as `load_face` decodes


def as_it_is(face: Face, spec: ModelSpec) -> Pixels:
    """The picture is one face, cut as the training set's are. Raises DataError where it can no longer be read."""
    with _readable(face):
        return load_face(face.path, spec.image_size, spec.resampling)


def largest_face(detector: YuNet) -> Prepare:
    """The largest face of any picture, aligned onto the model's template, as `agedetect-infer --find-faces` does."""

    def prepare(face: Face, spec: ModelSpec) -> Pixels | None:
        with _readable(face):
            cut = cut_faces(
                face.path,
                detector,
                side=spec.image_size,
                template=spec.template,
                resampling=spec.resampling,
                largest=True,
            )
        return cut.chips[0] if cut.faces else None

    return prepare


def moved(movement_of: Callable[[Face], Movement], filling: Filling = "reflect") -> Prepare:
    """Each picture moved in its own way, then taken as it is."""

    def prepare(face: Face, spec: ModelSpec) -> Pixels:
        with _readable(face):
            picture = open_stored(face.path, enough=_ENOUGH * spec.image_size).upright()
            return load_face(move(picture, movement_of(face), filling), spec.image_size, spec.resampling)

    return prepare


def open_detector(detector: str | Path | YuNet | None) -> YuNet:
    """A YuNet file, or the known one, downloaded once. Raises AgedetectError where it can't be had."""
    return detector if isinstance(detector, YuNet) else YuNet.open(Path(detector) if detector else detector_file())


@contextmanager
def _readable(face: Face) -> Iterator[None]:
    try:
        yield
    except ImageError as error:
        raise DataError(f"{face.path}: {error}; it could be read a moment ago") from error
