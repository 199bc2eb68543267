"""Whether paired differences are more than chance: a sign-flip test, and its correction for many tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agedetect.evaluation.bootstrap import Clusters

FLIPS = 5000  # 20 groups need a p-value of 0.0025 at most: 12 of these
ALPHA = 0.05
_AT_ONCE = 500


def sign_flip_p(differences: NDArray[np.float64], clusters: Clusters, *, flips: int = FLIPS, seed: int = 0) -> float:
    """(N,) -> the two-sided p-value of a mean of 0 (Fisher, 1935): how often random signs give as large a sum.

    Rows of a cluster share their sign. Unlike the bootstrap's, it is sound for few rows: n agreeing ones have a
    p-value of 2 / 2**n at least.
    """
    _, place = np.unique(clusters, return_inverse=True)
    sums = np.bincount(place, differences)
    random = np.random.default_rng(seed)
    reached = 0
    for start in range(0, flips, _AT_ONCE):
        signs = 2.0 * random.integers(0, 2, (min(_AT_ONCE, flips - start), len(sums))) - 1
        # equal sums may differ by rounding
        reached += int((np.abs(signs @ sums) >= np.abs(sums.sum()) * (1 - 1e-9)).sum())
    return (1 + reached) / (1 + flips)


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) p-values adjusted for their number (Holm, 1979): at most ALPHA of such families hold a false finding.

    The tests may depend on each other, as those of overlapping groups do.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1)
    return adjusted
