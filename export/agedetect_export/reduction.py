"""A float32 file -> the same model in int8 or float16, judged on the validation faces."""

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
from agedetect_export.faces import present
from agedetect_export.half import halve
from agedetect_export.judge import judge
from agedetect_export.precision import PrecisionReport, Reduction
from agedetect_export.quantize import Quantizer
from agedetect_export.report import MIN_IMAGES
from agedetect_export.sensitivity import Choice, choose
from agedetect_runtime import AgedetectError, ImageError, ModelError, ModelSpec
from agedetect_runtime.images import load_face

SEED = 0
CALIBRATION_FACES = 128
SEARCH_FACES = 256
_JUDGED_SHARE = 0.9  # of the validation faces: a few of them, or those of one folder, would judge something else
_REMEDY = "export int8 or fp16 where the model was trained, or float32 here"


class PrecisionError(AgedetectError):
    """The smaller file costs more than it may."""


@dataclass(frozen=True)
class RunFaces:
    """A run's images that are here, with their ages in years."""

    training: Sequence[tuple[Path, float]]
    validation: Sequence[tuple[Path, float]]


def run_faces(model: RegisteredModel) -> RunFaces:
    """Raises ModelError where they aren't here: without them nobody knows what a smaller precision costs."""
    validation = listed_faces(model, "validation", _REMEDY)
    training = listed_faces(model, "train", _REMEDY)
    return RunFaces(
        present(training, "training", _REMEDY), present(validation, "validation", _REMEDY, share=_JUDGED_SHARE)
    )


def reduce(
    exact: Path,
    target: Path,
    spec: ModelSpec,
    faces: RunFaces,
    *,
    precision: str,
    budget_years: float,
    tell: Callable[[str], None],
) -> PrecisionReport:
    """Write `target`, and say what it costs against the float32 file `exact`, a model as `spec` says.

    Raises ModelError where too few of the training images can be read.
    """
    spec = dataclasses.replace(spec, precision=precision)
    model = onnx.load(exact)
    made = None
    if precision == "fp16":
        convert.save(halve(model), spec, target)
    else:
        chosen, made = _quantize(spec, model, faces.training, budget_years, tell)
        convert.save(chosen, spec, target)
    tell(f"judging {precision} on {len(faces.validation)} validation images")
    report = judge(exact, target, faces.validation, budget_years=budget_years)
    return dataclasses.replace(report, reduction=made)


def _quantize(
    spec: ModelSpec,
    model: onnx.ModelProto,
    training: Sequence[tuple[Path, float]],
    budget_years: float,
    tell: Callable[[str], None],
) -> tuple[onnx.ModelProto, Reduction]:
    faces, years = _draw(training, CALIBRATION_FACES + SEARCH_FACES, spec)
    calibrating = min(CALIBRATION_FACES, len(faces) // 2)
    tell(f"calibrating int8 on {calibrating} training images")
    quantizer = Quantizer(model, faces[:calibrating])
    choice: Choice = choose(
        model, quantizer, faces[calibrating:], years[calibrating:], budget_years=budget_years, tell=tell
    )
    return choice.model, Reduction(
        calibration_faces=calibrating,
        search_faces=len(faces) - calibrating,
        seed=SEED,
        layers=choice.layers,
        kept_in_float=choice.kept,
        expected_cost_years=choice.expected_cost_years,
    )


def _draw(
    listed: Sequence[tuple[Path, float]], count: int, spec: ModelSpec
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Up to `count` readable faces in an order that only the seed and the list decide."""
    faces, years = [], []
    for index in np.random.default_rng(SEED).permutation(len(listed)):
        path, age = listed[index]
        try:
            faces.append(load_face(path, spec.image_size, spec.resampling))
        except ImageError:
            continue  # one of many thousands; the trainer has read it, and says so where it can't
        years.append(age)
        if len(faces) == count:
            break
    if len(faces) < 2 * MIN_IMAGES:
        raise ModelError(f"only {len(faces)} training images can be read here, {2 * MIN_IMAGES} are needed for int8")
    return np.stack(faces), np.array(years, np.float64)
