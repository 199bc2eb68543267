"""Everything that is known about a model on a set of faces, as one value that is printed, written and logged."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from agedetect.evaluation.bootstrap import CONFIDENCE, RESAMPLES, IntervalEstimate, mean_estimate
from agedetect.evaluation.gates import Gate, PassRate, Reliability, gates, pass_rates, reliability
from agedetect.evaluation.groups import FEWEST, groups_of, predicted_decades
from agedetect.evaluation.leakage import Leakage
from agedetect.evaluation.predictions import Predictions
from agedetect.evaluation.scores import Scores, score
from agedetect.evaluation.sensitivity import CropSensitivity

CURVE_YEARS = 20
INTERVAL_FAMILIES = ("age", "predicted age", "gender", "race")  # of the groups whose coverage is shown


@dataclass(frozen=True, kw_only=True)
class FaceFinding:
    """The largest face of each of `pictures` was found by `detector`, a file's name, and aligned onto the template.

    `without_face` are the names of those that show none to it: no figure counts them.
    """

    detector: str
    pictures: int
    without_face: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Context:
    """Which model was evaluated on what. `split` is "test", "validation" or "all"; `why` says what those faces are.

    `skipped` files of the data gave no face. `nominal_coverage` is what the model's intervals promise. `finding` is
    None where the pictures were taken as they are.
    """

    model: str
    data: str
    split: str
    why: str
    skipped: int = 0
    nominal_coverage: float | None = None
    finding: FaceFinding | None = None


@dataclass(frozen=True)
class GroupScores:
    family: str
    name: str
    scores: Scores


@dataclass(frozen=True)
class Median:
    """The baseline of a constant: the median age in years `of` the "training" faces, or of the evaluated "data" where
    the training's is unknown; `mae` is the constant's on the evaluated faces."""

    age: float
    of: str
    mae: IntervalEstimate


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Ages in years, shares from 0 to 1; intervals at 95%, from `resamples` resamples of the photographs, or Wilson's.

    The `files` show `n` different faces, of which every figure is made: pixel-identical ones count once, here and in
    `predictions`. The `fingerprint` is that of the files.
    `omitted` counts the cells of each intersection that have fewer than `fewest` faces. `curve` is the cumulative
    score: the share of the faces whose error is at most so many years, from 0 to 20 by halves.
    """

    context: Context
    fingerprint: str
    files: int
    n: int
    overall: Scores
    median: Median
    groups: tuple[GroupScores, ...]
    omitted: Mapping[str, int]
    curve: tuple[tuple[float, float], ...]
    gates: tuple[Gate, ...]
    pass_rates: tuple[PassRate, ...]
    reliability: tuple[Reliability, ...]
    leakage: Leakage | None
    predictions: Predictions
    sensitivity: CropSensitivity | None = None
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    fewest: int = FEWEST

    def family(self, name: str) -> list[GroupScores]:
        return [group for group in self.groups if group.family == name]

    def to_json(self) -> str:
        """Everything but the predictions, which are a table of their own."""
        values = {item.name: _plain(getattr(self, item.name)) for item in fields(self) if item.name != "predictions"}
        return json.dumps(values, indent=1, allow_nan=False) + "\n"

    def metrics(self) -> dict[str, float]:
        """For a tracking server, the figures that runs are compared by: mae, rmse, ..., coverage, median_mae.

        Their intervals, groups and gates are in the report.
        """
        values = {item.name: getattr(self.overall, item.name) for item in fields(self.overall)}
        found = {name: value.value for name, value in values.items() if isinstance(value, IntervalEstimate)}
        return {**found, "median_mae": self.median.mae.value}


def evaluate_predictions(
    predictions: Predictions,
    context: Context,
    *,
    training_median: float | None = None,
    leakage: Leakage | None = None,
    sensitivity: CropSensitivity | None = None,
) -> Evaluation:
    """`training_median` is the median age of the faces that trained the model, in years, where it is known."""
    files, mark = len(predictions.faces), predictions.fingerprint
    predictions = predictions.once()
    groups, omitted = groups_of(predictions.faces)
    if predictions.low is not None:
        groups += predicted_decades(predictions.age)
    error = np.abs(predictions.error)
    curve = tuple((years / 2, float(np.mean(error <= years / 2))) for years in range(2 * CURVE_YEARS + 1))
    return Evaluation(
        context=context,
        fingerprint=mark,
        files=files,
        n=len(predictions.faces),
        overall=score(predictions),
        median=_median(predictions, training_median),
        groups=tuple(GroupScores(group.family, group.name, score(predictions, group.members)) for group in groups),
        omitted=omitted,
        curve=curve,
        gates=gates(predictions),
        pass_rates=pass_rates(predictions),
        reliability=reliability(predictions),
        leakage=leakage,
        predictions=predictions,
        sensitivity=sensitivity,
    )


def _median(predictions: Predictions, training_median: float | None) -> Median:
    age = float(np.median(predictions.true)) if training_median is None else training_median
    of = "data" if training_median is None else "training"
    return Median(age, of, mean_estimate(np.abs(predictions.true - age), predictions.clusters))


def _plain(value: Any) -> Any:
    """Dataclasses and IntervalEstimate values as JSON objects; what is not a number as null."""
    if isinstance(value, IntervalEstimate):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
