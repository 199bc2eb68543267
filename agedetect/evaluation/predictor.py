"""A model, registered or exported, and its predictions for labelled faces through the one preprocessing there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect.errors import DataError
from agedetect.evaluation.predictions import Predictions
from agedetect_runtime import AgeEstimator, ImageError, ModelError, ModelSpec
from agedetect_runtime.images import load_face
from agedetect_runtime.session import Ages

BATCH = 32

Batch = NDArray[np.uint8]
Progress = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """`predict_fn` maps faces, uint8 (B, S, S, 3), to their Ages; `name` stands in reports."""

    name: str
    spec: ModelSpec
    predict_fn: Callable[[Batch], Ages] = field(repr=False)

    def predict(
        self, faces: Sequence[Face], *, flip_tta: bool = False, progress: Progress = lambda count: None
    ) -> Predictions:
        """Predictions for `faces`; `progress` is called with the size of each batch.

        With `flip_tta` (test-time flip) each is the mean over the face and its mirror image. Raises DataError for an
        image that can no longer be read, ModelError for a prediction that is no number.
        """
        batches = []
        for batch in _batches(faces, self.spec):
            ages = self.predict_fn(batch)
            batches.append(_mean(ages, self.predict_fn(np.ascontiguousarray(batch[:, :, ::-1]))) if flip_tta else ages)
            progress(len(batch))
        predictions = Predictions.of(faces, *map(_stacked, zip(*batches, strict=True)), min_age=self.spec.min_age)
        self._require_numbers(predictions)
        return predictions

    def _require_numbers(self, predictions: Predictions) -> None:
        columns = (predictions.age, predictions.low, predictions.high, predictions.probabilities)
        for column in (column for column in columns if column is not None):
            rows = np.isfinite(column.reshape(len(column), -1)).all(axis=1)
            if not rows.all():
                path = predictions.faces[int(np.argmin(rows))].path
                raise ModelError(f"{self.name}: its prediction for {path} is not a number")


def open_exported(model: str | Path) -> Predictor:
    """Open an .onnx file with the runtime. Raises AgedetectError where it isn't one of ours."""
    estimator = AgeEstimator(model)
    wanted = estimator.spec.head == "distribution"
    predict_fn = partial(estimator.ages, probabilities=wanted)
    return Predictor(name=Path(model).name, spec=estimator.spec, predict_fn=predict_fn)


def _mean(one: Ages, other: Ages) -> Ages:
    """In float64, so that the sum rounds nothing."""

    def mean(a: Any, b: Any) -> Any:
        return None if a is None else (a.astype(np.float64) + b) / 2

    return Ages(*map(mean, one, other))


def _stacked(parts: Sequence[Any]) -> Any:
    """One output of all batches: arrays, or None for each where the model doesn't give it."""
    return None if parts[0] is None else np.concatenate(parts)


def _batches(faces: Sequence[Face], spec: ModelSpec) -> Iterator[Batch]:
    """Batches in order; the next one is decoded while the model works on this one."""

    def load(batch: Sequence[Face]) -> Batch:
        return np.stack([_load(face, spec) for face in batch])

    starts = range(0, len(faces), BATCH)
    with ThreadPoolExecutor(1) as pool:
        loading = [pool.submit(load, faces[:BATCH])]
        for start in chain(starts[1:], [None]):
            if start is not None:
                loading.append(pool.submit(load, faces[start : start + BATCH]))
            yield loading.pop(0).result()


def _load(face: Face, spec: ModelSpec) -> Batch:
    try:
        return load_face(face.path, spec.image_size, spec.resampling)
    except ImageError as error:
        raise DataError(f"{face.path}: {error}; it could be read a moment ago") from error
