"""Faces with what a model predicts for each: the one table that every figure of an evaluation is made from."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agedetect.data.faces import Face
from agedetect.data.splits import fingerprint
from agedetect.errors import DataError
from agedetect_runtime.atomic import write_whole

Years = NDArray[np.float64]
COLUMNS = ("path", "true", "gender", "race", "digest", "near", "width", "height", "age", "low", "high")
_PROBABILITY = "p_"


@dataclass(frozen=True, eq=False)
class Predictions:
    """`age` is predicted, (N,) in years, beside `faces`; `low` and `high` are the intervals, None without.

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
            raise ValueError(f"{len(self.faces)} faces and {[len(values) for values in rows]} predictions do not match")

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

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """(N,): the index of the first face of the same photograph; intervals resample such faces together."""
        first: dict[str, int] = {}
        return np.array([first.setdefault(face.picture, index) for index, face in enumerate(self.faces)], np.intp)

    def once(self) -> Predictions:
        """Pixel-identical faces once, the first of each, with the mean of their ages: copies are no further evidence.

        The predictions of such faces are equal, as their pixels are.
        """
        copies: dict[str, list[int]] = defaultdict(list)
        for index, face in enumerate(self.faces):
            copies[face.digest].append(index)
        if len(copies) == len(self.faces):
            return self
        first = [indices[0] for indices in copies.values()]
        faces = [replace(self.faces[indices[0]], age=float(self.true[indices].mean())) for indices in copies.values()]
        low, high, probabilities = (
            None if values is None else values[first] for values in (self.low, self.high, self.probabilities)
        )
        return Predictions(tuple(faces), self.age[first], low, high, probabilities, self.min_age)

    @property
    def error(self) -> Years:
        """Signed, in years: positive where the model overestimates."""
        return self.age - self.true

    @cached_property
    def fingerprint(self) -> str:
        """That of the faces, as Splits.test_fingerprint: figures compare only where it is equal."""
        return fingerprint(self.faces)

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
        columns = (predictions.age, predictions.low, predictions.high)
        years = ["" if values is None else repr(float(values[index])) for values in columns]
        bins_of_face = () if predictions.probabilities is None else predictions.probabilities[index].tolist()
        known = (face.path, repr(face.age), face.gender, face.race, face.digest, face.near, *face.size)
        writer.writerow([*known, *years, *map(repr, bins_of_face)])
    write_whole(path, table.getvalue())


def read_predictions(path: Path) -> Predictions:
    """A table of write_predictions, without its probabilities. Raises DataError for what is none."""
    try:
        with path.open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        faces = [
            Face(
                Path(row["path"]),
                float(row["true"]),
                row["gender"] or None,
                row["race"] or None,
                row["digest"],
                (int(row["width"]), int(row["height"])),
                row.get("near") or None,  # a table of an earlier version doesn't know
            )
            for row in rows
        ]
        bounds = [[float(row[name]) for row in rows] if rows[0][name] else None for name in ("low", "high")]
        return Predictions.of(faces, [float(row["age"]) for row in rows], *bounds)
    except (KeyError, IndexError, TypeError, ValueError, OSError, csv.Error) as error:
        raise DataError(f"{path.name}: not a table of predictions: {error}") from error
