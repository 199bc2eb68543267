"""Images -> ages, one or a stream of them, with one ONNX file."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime.cores import usable_cores
from agedetect_runtime.errors import ImageError, ModelError
from agedetect_runtime.images import Source, load_face
from agedetect_runtime.pipeline import Loaded, stream
from agedetect_runtime.session import Ages, open_session
from agedetect_runtime.spec import ModelSpec

__all__ = ["AgeEstimator", "Ages", "Estimate"]

# Images in one run of the model (docs/performance.md): on a CPU more only leave the caches, a GPU wants more.
_BATCH_SIZES = {"cpu": 8, "cuda": 64}
IMAGE_SECONDS = 30.0  # a 120-megapixel PNG takes about 5


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
    really got, and `cuda_note` says why "auto" did without a CUDA that ONNX Runtime lists. One estimator may be
    used by many threads at once.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int | None = None,
        batch_size: int | None = None,
        at_least: int | None = None,
        image_seconds: float | None = IMAGE_SECONDS,
    ) -> None:
        """Open the model; each estimate then says how likely an age of `at_least` years or more is.

        Without `threads`, as many as this process may use cores; without `batch_size`, 8 on a CPU, 64 on CUDA.
        `predict_many` gives up an image that takes longer than `image_seconds` to open; None waits for ever.
        Raises ModelError for a file that isn't one, or whose probabilities, if it gives any, don't reach
        from below `at_least` to above; ProviderError for a missing device.
        """
        for name, value in (("threads", threads), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} {value} is not at least 1")
        if image_seconds is not None and not image_seconds > 0:
            raise ValueError(f"image_seconds {image_seconds} is not above 0")
        self.threads = threads or usable_cores()
        self.image_seconds = image_seconds
        self._session = open_session(model, device=device, threads=self.threads)
        self.batch_size = batch_size or _BATCH_SIZES[self._session.device]
        self.spec: ModelSpec = self._session.spec
        self.device: str = self._session.device
        self.provider: str = self._session.provider
        self.cuda_note: str | None = self._session.cuda_note
        self.at_least = at_least
        self._callers = _Callers()
        if at_least is not None:
            _check_gate(self.spec, at_least, Path(model).name)

    def predict(self, source: Source) -> Estimate:
        """The age in one image. Raises ImageError for a bad image, ModelError where the age is no number."""
        with self._callers:
            face = self._load(source)[None]
            estimate = self._answers([source], face, all_threads=self._callers.one)[0]
        if estimate.error is not None:
            raise ModelError(estimate.error)
        return estimate

    def predict_many(self, sources: Iterable[Source]) -> Iterator[Estimate]:
        """One estimate for each source, in order; a bad image becomes an estimate with `error` set.

        Lazy: nothing is taken from `sources` before the first estimate is asked for, and then at most
        2 x (threads + 1) batches ahead of what was asked for. Closing the iterator, or dropping it, ends the work.
        """
        return stream(
            sources,
            self._load,
            self._rows,
            threads=self.threads,
            batch_size=self.batch_size,
            image_seconds=self.image_seconds,
        )

    def ages(self, faces: NDArray[np.uint8], *, probabilities: bool = False) -> Ages:
        """Ages of preprocessed faces, (B, S, S, 3) uint8 as `load_face` gives them, in one run.

        The model's answers as they are, NaN too. Raises ImageError for another shape or type.
        """
        side = self.spec.image_size
        if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[1:] != (side, side, 3):
            raise ImageError(f"faces of shape {faces.shape} and dtype {faces.dtype}; give uint8 (B, {side}, {side}, 3)")
        faces = np.ascontiguousarray(faces)
        with self._callers:
            return self._session.run(faces, probabilities=probabilities, all_threads=self._callers.one)

    def _load(self, source: Source) -> NDArray[np.uint8]:
        return load_face(source, self.spec.image_size, self.spec.resampling)

    def _rows(self, batch: Sequence[Source], loaded: Sequence[Loaded]) -> list[Estimate]:
        """A batch's estimates, from its faces and the reasons of those that have none."""
        good = [(source, face) for source, face in zip(batch, loaded, strict=True) if not isinstance(face, str)]
        answers: Iterator[Estimate] = iter(())
        if good:
            sources, faces = zip(*good, strict=True)
            answers = iter(self._answers(sources, np.stack(faces)))
        return [
            Estimate(source, error=item) if isinstance(item, str) else next(answers)
            for source, item in zip(batch, loaded, strict=True)
        ]

    def _answers(
        self, sources: Sequence[Source], faces: NDArray[np.uint8], *, all_threads: bool = False
    ) -> list[Estimate]:
        answers = self._session.run(faces, probabilities=self.at_least is not None, all_threads=all_threads)
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


class _Callers:
    """The threads inside, counted: one alone has the model's threads to itself, several share the cores themselves."""

    def __init__(self) -> None:
        self._inside, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1

    @property
    def one(self) -> bool:
        return self._inside == 1


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
