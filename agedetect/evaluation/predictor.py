"""A model, registered or exported, and its predictions for labelled faces through the one preprocessing there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agedetect.data.faces import Face
from agedetect.errors import DataError
from agedetect.evaluation.pictures import Prepare, as_it_is
from agedetect.evaluation.predictions import Predictions
from agedetect_runtime import AgeEstimator, ModelError, ModelSpec
from agedetect_runtime.cores import usable_cores
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
        self,
        faces: Sequence[Face],
        *,
        flip_tta: bool = False,
        prepare: Prepare = as_it_is,
        progress: Progress = lambda count: None,
    ) -> Predictions:
        """Predictions for `faces`; `progress` is called with the size of each batch.

        With `flip_tta` (test-time flip) each is the mean over the face and its mirror image. `prepare` makes the
        model's input; pictures in which it sees no face have no prediction. Raises DataError for an image that can no
        longer be read and where no picture shows a face, ModelError for a prediction that is no number.
        """
        shown: list[Face] = []
        batches = []
        for batch in _batches(faces, lambda face: prepare(face, self.spec)):
            pixels = [item for _, item in batch if item is not None]
            if pixels:
                shown += [face for face, item in batch if item is not None]
                batches.append(self._ages(np.stack(pixels), flip_tta))
            progress(len(batch))
        if not batches:
            raise DataError(f"no face was found in any of {len(faces):,} pictures: evaluate them as they are")
        predictions = Predictions.of(shown, *map(_stacked, zip(*batches, strict=True)), min_age=self.spec.min_age)
        self._require_numbers(predictions)
        return predictions

    def _ages(self, batch: Batch, flip_tta: bool) -> Ages:
        ages = self.predict_fn(batch)
        return _mean(ages, self.predict_fn(np.ascontiguousarray(batch[:, :, ::-1]))) if flip_tta else ages

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


def _batches(
    faces: Sequence[Face], prepare: Callable[[Face], Batch | None]
) -> Iterator[list[tuple[Face, Batch | None]]]:
    """Batches in order; the next one is made ready while the model works on this one."""

    def begin(start: int) -> list[tuple[Face, Future[Batch | None]]]:
        return [(face, pool.submit(prepare, face)) for face in faces[start : start + BATCH]]

    with ThreadPoolExecutor(usable_cores()) as pool:
        ready = begin(0)
        for start in range(BATCH, len(faces) + BATCH, BATCH):
            current, ready = ready, begin(start)
            yield [(face, pixels.result()) for face, pixels in current]
