"""Errors of a set of faces, each figure with its interval; all from one resampling of the images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agedetect.bootstrap import Bounded, bounded, resampled_means
from agedetect.evaluate import measure
from agedetect.predictions import Predictions

Years = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of `n` faces: errors in years (`mse` in years squared), shares from 0 to 1.

    `bias` is the mean signed error, positive where the model says too old. `r2` is None where all faces are of one
    age. `coverage` is the share whose age lies within the model's interval, ends included, `width` the interval's mean
    width in years: None for a model without intervals.
    """

    n: int
    mae: Bounded
    bias: Bounded
    mse: Bounded
    rmse: Bounded
    within_5: Bounded
    within_10: Bounded
    r2: Bounded | None = None
    coverage: Bounded | None = None
    width: Bounded | None = None


def score(predictions: Predictions, members: NDArray[np.intp] | None = None, *, seed: int = 0) -> Scores:
    """The scores of all faces, or of those that `members` index: one at least."""
    chosen = np.arange(len(predictions.faces)) if members is None else members
    true, age = predictions.true[chosen], predictions.age[chosen]
    metrics = measure(true, age)
    columns = _columns(true, age) | _interval_columns(predictions, chosen)
    if len(chosen) == 1:
        drawn = {name: np.full(1, np.nan) for name in columns}
    else:
        means = resampled_means(np.stack(list(columns.values()), axis=1), seed=seed)
        drawn = dict(zip(columns, means.T, strict=True))

    def with_interval(value: float, resampled: Years) -> Bounded:
        return Bounded(value) if len(chosen) == 1 else bounded(value, resampled)

    plain = {
        name: with_interval(float(columns[name].mean()), drawn[name])
        for name in ("bias", "coverage", "width")
        if name in columns
    }
    return Scores(
        n=len(chosen),
        mae=with_interval(metrics.mae, drawn["mae"]),
        mse=with_interval(metrics.mse, drawn["mse"]),
        rmse=with_interval(metrics.rmse, np.sqrt(drawn["mse"])),
        within_5=with_interval(metrics.within_5, drawn["within_5"]),
        within_10=with_interval(metrics.within_10, drawn["within_10"]),
        r2=None if np.isnan(metrics.r2) else with_interval(metrics.r2, _r2(drawn)),
        **plain,
    )


def _columns(true: Years, age: Years) -> dict[str, Years]:
    """What every score is a function of the means of, (N,) each."""
    error, centred = age - true, true - true.mean()
    return {
        "mae": np.abs(error),
        "bias": error,
        "mse": error**2,
        "within_5": (np.abs(error) <= 5).astype(np.float64),
        "within_10": (np.abs(error) <= 10).astype(np.float64),
        "true": centred,
        "true_squared": centred**2,
    }


def _interval_columns(predictions: Predictions, chosen: NDArray[np.intp]) -> dict[str, Years]:
    if predictions.low is None or predictions.high is None:
        return {}
    true, low, high = predictions.true[chosen], predictions.low[chosen], predictions.high[chosen]
    return {"coverage": ((low <= true) & (true <= high)).astype(np.float64), "width": high - low}


def _r2(drawn: dict[str, Years]) -> Years:
    """nan for a resample of one age only."""
    variance = drawn["true_squared"] - drawn["true"] ** 2
    return 1 - drawn["mse"] / np.where(variance > 1e-9, variance, np.nan)
