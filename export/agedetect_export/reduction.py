"""A float32 file -> the same model in int8 or float16, judged on the validation faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from agedetect_export import convert, registry
from agedetect_export.faces import present
from agedetect_export.half import halve
from agedetect_export.judge import judge
from agedetect_export.precision import PrecisionReport, Reduction
from agedetect_export.quantize import Quantizer
from agedetect_export.registry import Source
from agedetect_export.report import MIN_IMAGES
from agedetect_export.sensitivity import Choice, choose
from agedetect_runtime import AgedetectError, ImageError, ModelError, ModelSpec
from agedetect_runtime.images import load_face

SEED = 0
CALIBRATION_FACES = 128
SEARCH_FACES = 256


class PrecisionError(AgedetectError):
    """The smaller file costs more than it may."""


def reduce(
    source: Source,
    exact: Path,
    target: Path,
    *,
    precision: str,
    budget_years: float,
    tell: Callable[[str], None],
) -> PrecisionReport:
    """Write `target`, and say what it costs against the float32 file `exact`.

    Raises ModelError where the run's training or validation faces aren't here, or where no layer can be reduced.
    """
    validation = present(registry.validation_faces(source), "validation")
    spec = dataclasses.replace(source.spec, precision=precision)
    model = onnx.load(exact)
    made = None
    if precision == "fp16":
        convert.save(halve(model), spec, target)
    else:
        chosen, made = _quantize(source, model, budget_years, tell)
        convert.save(chosen, spec, target)
    tell(f"judging {precision} on {len(validation)} validation images")
    report = judge(exact, target, validation, budget_years=budget_years)
    return dataclasses.replace(report, reduction=made)


def _quantize(
    source: Source, model: onnx.ModelProto, budget_years: float, tell: Callable[[str], None]
) -> tuple[onnx.ModelProto, Reduction]:
    listed = present(registry.training_faces(source), "training")
    faces, years = _draw(listed, CALIBRATION_FACES + SEARCH_FACES, source.spec)
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
