"""What is known about one image: its estimated age, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agedetect_runtime.errors import AgedetectError, ModelError
from agedetect_runtime.sources import Source, describe_source
from agedetect_runtime.spec import ModelSpec

if TYPE_CHECKING:
    from agedetect_runtime.pipeline import Loaded
    from agedetect_runtime.session import Ages


@dataclass(frozen=True, slots=True, repr=False)
class Estimate:
    """The age of the face in `source`, in years.

    `low` and `high` bound it with the nominal coverage `spec.coverage`; they are None for a model without intervals.
    `probabilities`, float32 (K,), has the probability of `min_age + k` years in column k; None unless requested.
    """

    source: Source
    age: float
    low: float | None = None
    high: float | None = None
    probabilities: NDArray[np.float32] | None = field(default=None, compare=False)
    min_age: float = 0.0
    error: None = field(default=None, init=False)

    def at_least(self, years: float) -> float:
        """The probability, 0 to 1, that the person is `years` old or older.

        Raises AgedetectError where the estimate has no probabilities, or where they don't reach from below `years`
        to above.
        """
        if self.probabilities is None:
            raise AgedetectError(
                f"at_least({years:g}): this estimate has no probabilities; call predict or predict_many with "
                "probabilities=True, on a model with a distribution head"
            )
        _check_range("at_least: the model", years, self.min_age, self.min_age + len(self.probabilities) - 1)
        first = math.ceil(years - self.min_age)
        return min(1.0, float(self.probabilities[first:].sum()))  # a sum in float32 may end a hair above 1

    def __repr__(self) -> str:
        parts = [describe_source(self.source), f"age={self.age:.2f}"]
        parts += [
            f"{name}={value:.2f}" for name, value in (("low", self.low), ("high", self.high)) if value is not None
        ]
        if self.probabilities is not None:
            parts.append(f"probabilities={describe_source(self.probabilities)}")
        return f"Estimate({', '.join(parts)})"


@dataclass(frozen=True, slots=True, repr=False)
class Failure:
    """An image without an age: `error` is the reason, in one line. The other fields are those of an `Estimate`."""

    source: Source
    error: str
    age: None = field(default=None, init=False)
    low: None = field(default=None, init=False)
    high: None = field(default=None, init=False)
    probabilities: None = field(default=None, init=False)

    def __repr__(self) -> str:
        return f"Failure({describe_source(self.source)}, error={self.error!r})"


Result = Estimate | Failure  # `result.error is None` says which, to a type checker too


def results(
    sources: Sequence[Source], loaded: Sequence[Loaded], answers: Ages | None = None, min_age: float = 0.0
) -> list[Result]:
    """A result for each source: `loaded` has its face or the reason why there is none, `answers` the faces' ages."""
    rows = iter(() if answers is None else _rows(answers))
    return [
        Failure(source, item) if isinstance(item, str) else _result(source, next(rows), min_age)
        for source, item in zip(sources, loaded, strict=True)
    ]


def check_at_least(spec: ModelSpec, years: float, name: str) -> None:
    """Raise ModelError, beginning with the model's name, where it can't tell who is at least so many years old."""
    if spec.head != "distribution":
        raise ModelError(
            f"{name}: it gives no probabilities, so it can't tell who is at least {years:g} years old; "
            "train one with --head distribution"
        )
    _check_range(f"{name}: it", years, spec.min_age, spec.max_age)


def _check_range(subject: str, years: float, min_age: float, max_age: float) -> None:
    if not min_age < years <= max_age:  # below, everybody would pass for certain; above, nobody
        raise ModelError(
            f"{subject} knows ages from {min_age:g} to {max_age:g} only, so it can't tell who is at least "
            f"{years:g} years old; ask for an age above {min_age:g} and up to {max_age:g}"
        )


_Row = tuple[float, float | None, float | None, NDArray[np.float32] | None]  # age, low, high, probabilities


def _rows(answers: Ages) -> Iterator[_Row]:
    nothing = [None] * len(answers.age)
    low, high = (nothing if bound is None else bound.tolist() for bound in (answers.low, answers.high))
    chances = nothing if answers.probabilities is None else answers.probabilities
    return zip(answers.age.tolist(), low, high, chances, strict=True)


def _result(source: Source, row: _Row, min_age: float) -> Result:
    age, low, high, probabilities = row
    is_number = all(math.isfinite(value) for value in (age, low, high) if value is not None)
    if not is_number or (probabilities is not None and not np.isfinite(probabilities).all()):
        return Failure(source, f"the model's answer is not a number: {age}")
    return Estimate(source, age, low, high, probabilities, min_age)
