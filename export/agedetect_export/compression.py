"""A float32 file -> the same model in int8, its accuracy checked on the run's validation faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from agedetect.tracking.reading import RegisteredModel, listed_faces
from agedetect_export import convert
from agedetect_export.accuracy import check_accuracy
from agedetect_export.faces import present
from agedetect_export.precision import PrecisionReport
from agedetect_export.quantize import quantize
from agedetect_export.report import MIN_IMAGES
from agedetect_runtime import AgedetectError, ImageError, ModelError, ModelSpec
from agedetect_runtime.images import load_face

SEED = 0
CALIBRATION_FACES = 192  # each of them seen mirrored too
_VALIDATION_SHARE = 0.9  # a few of them, or those of one folder, would check another model's accuracy
_REMEDY = "export int8 where the model was trained, or float32 here"


class PrecisionError(AgedetectError):
    """The int8 file costs more accuracy than it may."""


@dataclass(frozen=True)
class RunFaces:
    """A run's images that are on this machine, with their ages in years."""

    training: Sequence[tuple[Path, float]]
    validation: Sequence[tuple[Path, float]]


def run_faces(model: RegisteredModel) -> RunFaces:
    """Raises ModelError where they aren't on this machine: without them nobody knows what int8 costs."""
    validation = listed_faces(model, "validation", _REMEDY)
    training = listed_faces(model, "train", _REMEDY)
    return RunFaces(
        present(training, "training", _REMEDY), present(validation, "validation", _REMEDY, share=_VALIDATION_SHARE)
    )


def compress(
    float32: Path,
    target: Path,
    spec: ModelSpec,
    faces: RunFaces,
    *,
    budget_years: float,
    log: Callable[[str], None],
) -> PrecisionReport:
    """Write the model of the file `float32` to `target` in int8, and report what that costs.

    Raises ModelError where too few of the training images can be read.
    """
    calibration = calibration_faces(faces.training, spec)
    log(f"calibrating int8 on {len(calibration)} training images")
    model = quantize(onnx.load(float32), calibration)
    convert.save(model, dataclasses.replace(spec, precision="int8"), target)
    log(f"checking the accuracy of int8 on {len(faces.validation)} validation images")
    report = check_accuracy(float32, target, faces.validation, budget_years=budget_years)
    return dataclasses.replace(report, calibration_faces=len(calibration))


def calibration_faces(listed: Sequence[tuple[Path, float]], spec: ModelSpec) -> NDArray[np.uint8]:
    """Up to CALIBRATION_FACES readable faces, (N, S, S, 3), in an order that only the seed and the list decide."""
    faces = []
    for index in np.random.default_rng(SEED).permutation(len(listed)):
        try:
            faces.append(load_face(listed[index][0], spec.image_size, spec.resampling))
        except ImageError:
            continue  # one of many thousands; training has read it, and reports those that can't be read
        if len(faces) == CALIBRATION_FACES:
            break
    if len(faces) < MIN_IMAGES:
        raise ModelError(f"only {len(faces)} training images can be read here, {MIN_IMAGES} are needed for int8")
    return np.stack(faces)
