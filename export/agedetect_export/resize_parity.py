"""Does the file that resizes give the ages of the file that takes faces? On pictures of many shapes, in years."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agedetect_export.resize_report import ResizeReport
from agedetect_runtime import AgeEstimator, ImageError, ModelSpec
from agedetect_runtime.images import open_rgb


def compare_resize(faces_model: Path, picture_model: Path, paths: Sequence[Path]) -> ResizeReport:
    """Each image as it is and in three other shapes, by both files. Images that can't be read are omitted."""
    faces, pictures = (AgeEstimator(model, device="cpu") for model in (faces_model, picture_model))
    shapes: dict[str, None] = {}
    differences = []
    for picture in _pictures(paths, faces.spec):
        shapes[f"{picture.width}x{picture.height}"] = None
        one, other = (next(estimator.predict_many([picture])) for estimator in (faces, pictures))
        differences.append([_difference(one, other, name) for name in ("age", "low", "high")])
    found = np.array(differences)
    known = found.size > 0 and bool(np.isfinite(found).all())
    return ResizeReport(
        pictures=len(differences),
        shapes=tuple(shapes),
        worst_years=float(found.max()) if known else None,
        mean_years=float(found.max(axis=1).mean()) if known else None,
    )


def _pictures(paths: Sequence[Path], spec: ModelSpec) -> Iterator[Image.Image]:
    """Also one to enlarge, one broad and one tall, none a multiple of the model's size."""
    size = spec.image_size
    for path in paths:
        try:
            picture = open_rgb(path)
        except ImageError:
            continue  # the parity report lists it
        yield picture
        for shape in ((size // 2 + 3, size // 2), (3 * size + 7, 2 * size + 1), (size + 5, 4 * size + 3)):
            yield picture.resize(shape)


def _difference(one: Any, other: Any, name: str) -> float:
    """Years; NaN where either has no age, 0 where the model has no interval."""
    if one.error is not None or other.error is not None:
        return float("nan")
    value = getattr(one, name)
    return 0.0 if value is None else abs(float(value - getattr(other, name)))
