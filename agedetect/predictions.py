"""Faces with what a model said about each: the one table that every figure of an evaluation is made from."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agedetect.errors import DataError
from agedetect.faces import Face
from agedetect.files import write_whole
from agedetect.splits import Splits

Years = NDArray[np.float64]
COLUMNS = ("path", "true", "gender", "race", "digest", "width", "height", "age", "low", "high")
_PROBABILITY = "p_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """`age` is the model's, (N,) in years, beside `faces`; `low` and `high` are its intervals, None without.

    `probabilities`, (N, K): column k is the probability of `min_age + k` years; None for a head without them.
    """

    faces: tuple[Face, ...]
    age: Years
    low: Years | None = None
    high: Years | None = None
    probabilities: Years | None = None
    min_age: float = 0.0

    def __post_init__(self) -> None:
        rows = [values for values in (self.age, self.low, self.high, self.probabilities) if values is not None]
        if not self.faces or any(len(values) != len(self.faces) for values in rows):
            raise ValueError(f"{len(self.faces)} faces and {[len(values) for values in rows]} answers do not match")

    @classmethod
    def of(
        cls,
        faces: Sequence[Face],
        age: ArrayLike,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        probabilities: ArrayLike | None = None,
        *,
        min_age: float = 0.0,
    ) -> Predictions:
        """From anything that NumPy takes."""

        def row(values: ArrayLike | None) -> Years | None:
            return None if values is None else np.asarray(values, np.float64)

        years = np.asarray(age, np.float64)
        return cls(tuple(faces), years, row(low), row(high), row(probabilities), min_age)

    @cached_property
    def true(self) -> Years:
        return np.array([face.age for face in self.faces], np.float64)

    @property
    def error(self) -> Years:
        """Signed, in years: positive where the model said too old."""
        return self.age - self.true

    @cached_property
    def fingerprint(self) -> str:
        """What Splits.test_fingerprint is for these faces: figures compare only where it is equal."""
        return Splits((), (), self.faces).test_fingerprint

    def at_least(self, years: float) -> Years:
        """(N,): the probability of so many years or more. ValueError for a head without probabilities."""
        if self.probabilities is None:
            raise ValueError("these predictions hold no probabilities")
        ages = self.min_age + np.arange(self.probabilities.shape[1])
        reached: Years = self.probabilities[:, ages >= years].sum(axis=1)
        return reached


def write_predictions(predictions: Predictions, path: Path) -> None:
    """A CSV table with the header COLUMNS, then one column p_AGE a year of age where there are probabilities."""
    bins = 0 if predictions.probabilities is None else predictions.probabilities.shape[1]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"{_PROBABILITY}{predictions.min_age + column:g}" for column in range(bins))])
    for index, face in enumerate(predictions.faces):
        answers = (predictions.age, predictions.low, predictions.high)
        years = ["" if values is None else repr(float(values[index])) for values in answers]
        chances = [] if predictions.probabilities is None else map(repr, predictions.probabilities[index].tolist())
        known = (face.path, repr(face.age), face.gender, face.race, face.digest, *face.size)
        writer.writerow([*known, *years, *chances])
    write_whole(path, table.getvalue())


def read_predictions(path: Path) -> Predictions:
    """What `write_predictions` wrote, to the last digit. Raises DataError for another table."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        if tuple(header[: len(COLUMNS)]) != COLUMNS or not rows:
            raise DataError(f"{path}: not a table of predictions: its header is not {','.join(COLUMNS)}")
        faces = [_face(row) for row in rows]
        age, low, high = (_column(rows, COLUMNS.index(name)) for name in ("age", "low", "high"))
        chances = [[float(cell) for cell in row[len(COLUMNS) :]] for row in rows]
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise DataError(f"{path}: can't be read as predictions: {error}") from error
    if age is None:
        raise DataError(f"{path}: a row has no age")
    named = header[len(COLUMNS) :]
    min_age = float(named[0].removeprefix(_PROBABILITY)) if named else 0.0
    return Predictions.of(faces, age, low, high, chances if named else None, min_age=min_age)


def _face(row: list[str]) -> Face:
    path, true, gender, race, digest, width, height = row[:7]
    return Face(Path(path), float(true), gender or None, race or None, digest, (int(width), int(height)))


def _column(rows: list[list[str]], index: int) -> list[float] | None:
    return None if any(row[index] == "" for row in rows) else [float(row[index]) for row in rows]
