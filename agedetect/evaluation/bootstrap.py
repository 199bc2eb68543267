"""Confidence intervals: by bootstrapping photographs, and Wilson's for a share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
_Z = 1.959964  # the normal's 97.5% quantile: CONFIDENCE, two-sided
_CELLS = 500_000  # drawn at once: what stays in the cache; eight times as many take twice the time

Rows = NDArray[np.float64]
Clusters = NDArray[np.intp]


class IntervalEstimate(NamedTuple):
    """An estimate with its 95% confidence interval, which is None for fewer than two photographs."""

    value: float
    low: float | None = None
    high: float | None = None


def resampled_means(values: Rows, *, resamples: int = RESAMPLES, seed: int = 0) -> Rows:
    """(N, K) -> (resamples, K): the columns' means over N rows drawn with replacement (Efron, 1979).

    A resample is drawn as how often each row came up, so that all columns share it and the means are one product.
    """
    count = len(values)
    random = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    at_once = max(1, _CELLS // count)
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = random.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means[start : start + rows] = times.astype(np.float64) @ values / count
    return means


def resampled_cluster_means(values: Rows, clusters: Clusters, *, resamples: int = RESAMPLES, seed: int = 0) -> Rows:
    """As `resampled_means`, but rows of the same cluster, (N,), are drawn together (Davison and Hinkley, 1997, 3.8).

    Copies of one photograph are no independent draws: counted apart, they would make intervals too narrow. Where each
    row is its own cluster, and these ascend, the means are those of `resampled_means`. None for a single cluster, whose
    resamples would all be equal: (0, K).
    """
    _, place = np.unique(clusters, return_inverse=True)
    if place.max() == 0:
        return np.empty((0, values.shape[1]))
    table = np.zeros((place.max() + 1, values.shape[1] + 1))
    np.add.at(table, place, np.column_stack([values, np.ones(len(values))]))
    means = resampled_means(table, resamples=resamples, seed=seed)
    ratios: Rows = means[:, :-1] / means[:, -1:]
    return ratios


def interval_estimate(value: float, resampled: Rows) -> IntervalEstimate:
    """The percentile interval of the figure's resampled values, (resamples,); those that are nan don't count.

    No values, no interval.
    """
    if np.isnan(resampled).all():
        return IntervalEstimate(float(value))
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return IntervalEstimate(float(value), float(low), float(high))


def mean_estimate(values: Rows, clusters: Clusters | None = None, *, seed: int = 0) -> IntervalEstimate:
    """(N,) -> its mean, with the interval where there are two clusters at least; without `clusters`, two values."""
    places = np.arange(len(values)) if clusters is None else clusters
    drawn = resampled_cluster_means(values[:, None], places, seed=seed)[:, 0]
    return interval_estimate(float(values.mean()), drawn)


def wilson(hits: int, count: int) -> IntervalEstimate:
    """A share and its score interval (Wilson, 1927), which stays sound at 0, at 1 and for few images.

    It takes the images as independent: near-duplicates count one by one.
    """
    share = hits / count
    spread = 1 + _Z**2 / count
    centre = (share + _Z**2 / (2 * count)) / spread
    half = _Z / spread * np.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return IntervalEstimate(share, max(0.0, float(centre - half)), min(1.0, float(centre + half)))
