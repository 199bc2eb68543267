"""Errors of a set of faces, each figure with its interval; all from one resampling of the photographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agedetect.evaluation.bootstrap import (
    Clusters,
    IntervalEstimate,
    interval_estimate,
    resampled_cluster_means,
    wilson,
)
from agedetect.evaluation.metrics import measure
from agedetect.evaluation.predictions import Predictions, Years


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Of `n` faces: errors in years (`mse` in years squared), shares from 0 to 1.

    `bias` is the mean signed error, positive where the model overestimates. `r2` is None where all faces are of one
    age. `coverage` is the share whose age lies within the model's interval, ends included, `width` the interval's mean
    width in years: None for a model without intervals. Intervals of shares are Wilson's, the others are resampled.
    """

    n: int
    mae: IntervalEstimate
    bias: IntervalEstimate
    mse: IntervalEstimate
    rmse: IntervalEstimate
    within_5: IntervalEstimate
    within_10: IntervalEstimate
    r2: IntervalEstimate | None = None
    coverage: IntervalEstimate | None = None
    width: IntervalEstimate | None = None


def score(predictions: Predictions, members: NDArray[np.intp] | None = None, *, seed: int = 0) -> Scores:
    """The scores of all faces, or of those that `members` index: one at least."""
    chosen = np.arange(len(predictions.faces)) if members is None else members
    true, age = predictions.true[chosen], predictions.age[chosen]
    metrics = measure(true, age)
    error, centred = age - true, true - true.mean()
    columns = {"absolute": np.abs(error), "signed": error, "squared": error**2}
    columns |= {"true": centred, "true_squared": centred**2}  # of these means everything below is a function
    coverage = None
    if predictions.low is not None and predictions.high is not None:
        low, high = predictions.low[chosen], predictions.high[chosen]
        columns["width"] = high - low
        coverage = _share((low <= true) & (true <= high))
    drawn = _drawn(columns, predictions.clusters[chosen], seed)
    return Scores(
        n=len(chosen),
        mae=interval_estimate(metrics.mae, drawn["absolute"]),
        bias=interval_estimate(float(error.mean()), drawn["signed"]),
        mse=interval_estimate(metrics.mse, drawn["squared"]),
        rmse=interval_estimate(metrics.rmse, np.sqrt(drawn["squared"])),
        within_5=_share(np.abs(error) <= 5),
        within_10=_share(np.abs(error) <= 10),
        r2=None if np.isnan(metrics.r2) else interval_estimate(metrics.r2, _r2(drawn)),
        coverage=coverage,
        width=interval_estimate(float(columns["width"].mean()), drawn["width"]) if "width" in columns else None,
    )


def _drawn(columns: dict[str, Years], clusters: Clusters, seed: int) -> dict[str, Years]:
    """The columns' means in each resample, (resamples,) each; none for a single photograph."""
    table = np.stack(list(columns.values()), axis=1)
    means = resampled_cluster_means(table, clusters, seed=seed)
    return dict(zip(columns, means.T, strict=True))


def _share(hits: NDArray[np.bool_]) -> IntervalEstimate:
    return wilson(int(hits.sum()), len(hits))


def _r2(drawn: dict[str, Years]) -> Years:
    """nan for a resample of one age only."""
    variance = drawn["true_squared"] - drawn["true"] ** 2
    return 1 - drawn["squared"] / np.where(variance > 1e-9, variance, np.nan)
