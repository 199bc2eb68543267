"""Images -> ages, one or a stream of them, with one ONNX file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime.errors import ImageError, ModelError
from agedetect_runtime.images import Source, load_face
from agedetect_runtime.session import Ages, open_session
from agedetect_runtime.spec import ModelSpec

__all__ = ["AgeEstimator", "Ages", "Estimate"]


@dataclass(frozen=True)
class Estimate:
    """What is known about one image: an age in years, or the reason why there is none.

    `low` and `high` bound the age at the level `spec.coverage`; they are None for a model without intervals.
    `at_least` is the probability of the age that the estimator was asked about.
    """

    source: Source
    age: float | None = None
    low: float | None = None
    high: float | None = None
    at_least: float | None = None
    error: str | None = None


class AgeEstimator:
    """An age model on one device: `AgeEstimator("model.onnx").predict("face.jpg").age`.

    `spec` is what the model says about itself; `device` ("cpu" or "cuda") and `provider` are what the session
    really got, and `cuda_note` says why "auto" did without a CUDA that ONNX Runtime lists.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int | None = None,
        batch_size: int = 32,
        at_least: int | None = None,
    ) -> None:
        """Open the model; each estimate then says how likely an age of `at_least` years or more is.

        Raises ModelError for a file that isn't one, or whose probabilities, if it gives any, don't reach
        from below `at_least` to above; ProviderError for a missing device.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size} is not at least 1")
        self._session = open_session(model, device=device, threads=threads)
        self.batch_size = batch_size
        self.spec: ModelSpec = self._session.spec
        self.device: str = self._session.device
        self.provider: str = self._session.provider
        self.cuda_note: str | None = self._session.cuda_note
        self.at_least = at_least
        if at_least is not None:
            _check_gate(self.spec, at_least, Path(model).name)

    def predict(self, source: Source) -> Estimate:
        """The age in one image. Raises ImageError for a bad image, ModelError where the age is no number."""
        face = load_face(source, self.spec.image_size, self.spec.resampling)
        estimate = self._answers([source], face[None])[0]
        if estimate.error is not None:
            raise ModelError(estimate.error)
        return estimate

    def predict_many(self, sources: Iterable[Source]) -> Iterator[Estimate]:
        """One estimate for each source, in order; a bad image becomes an estimate with `error` set.

        Lazy: it takes a batch from `sources` when the first of its estimates is asked for, and keeps no more.
        """
        remaining = iter(sources)
        while batch := list(islice(remaining, self.batch_size)):
            yield from self._estimate_batch(batch)

    def ages(self, faces: NDArray[np.uint8], *, probabilities: bool = False) -> Ages:
        """Ages of preprocessed faces, (B, S, S, 3) uint8 as `load_face` gives them, in one run of the model.

        The model's answers as they are, NaN too. Raises ImageError for another shape or type.
        """
        side = self.spec.image_size
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (side, side, 3):
            raise ImageError(f"faces of shape {faces.shape} and dtype {faces.dtype}; give uint8 (B, {side}, {side}, 3)")
        return self._session.run(np.ascontiguousarray(faces), probabilities=probabilities)

    def _estimate_batch(self, batch: Sequence[Source]) -> list[Estimate]:
        faces: dict[int, NDArray[np.uint8]] = {}
        estimates = [Estimate(source) for source in batch]
        for index, source in enumerate(batch):
            try:
                faces[index] = load_face(source, self.spec.image_size, self.spec.resampling)
            except ImageError as error:
                estimates[index] = Estimate(source, error=str(error))
        if faces:
            answers = self._answers([batch[index] for index in faces], np.stack(list(faces.values())))
            for index, answer in zip(faces, answers, strict=True):
                estimates[index] = answer
        return estimates

    def _answers(self, sources: Sequence[Source], faces: NDArray[np.uint8]) -> list[Estimate]:
        answers = self.ages(faces, probabilities=self.at_least is not None)
        columns = [answers.age, answers.low, answers.high, self._reached(answers.probabilities)]
        rows = zip(*([None] * len(faces) if column is None else column.tolist() for column in columns), strict=True)
        return [_estimate(source, *row) for source, row in zip(sources, rows, strict=True)]

    def _reached(self, probabilities: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
        """(B, K) -> (B,), the probability of `at_least` years or more."""
        if probabilities is None or self.at_least is None:
            return None
        first = max(0, math.ceil(self.at_least - self.spec.min_age))
        reached: NDArray[np.float32] = probabilities[:, first:].sum(axis=1)
        return reached


def _check_gate(spec: ModelSpec, at_least: int, name: str) -> None:
    if spec.head != "distribution":
        raise ModelError(
            f"{name}: it gives no probabilities, so none of being at least {at_least} years old; "
            "train one with --head distribution"
        )
    if not spec.min_age < at_least <= spec.max_age:  # below, everybody would pass for certain; above, nobody
        raise ModelError(
            f"{name}: it knows ages from {spec.min_age:g} to {spec.max_age:g} only, so it can't tell who is at least "
            f"{at_least} years old; ask for an age above {spec.min_age:g} and up to {spec.max_age:g}"
        )


def _estimate(source: Source, age: float, low: float | None, high: float | None, at_least: float | None) -> Estimate:
    if not all(math.isfinite(value) for value in (age, low, high, at_least) if value is not None):
        return Estimate(source, error=f"the model's answer is not a number: {age}")
    return Estimate(source, age, low, high, at_least)
