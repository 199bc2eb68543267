"""Age gates: the false positive and false negative rates at each challenge age, and who passes at each true age.

"Challenge 25" for a threshold of 18: whoever is estimated at 25 or more passes, the others have to show a proof of
age. The two errors are those of NIST's age estimation and verification reports (NIST IR 8525, 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agedetect.evaluation.bootstrap import IntervalEstimate, wilson
from agedetect.evaluation.predictions import Predictions

THRESHOLDS = (13, 16, 18, 21, 25)
MARGIN_YEARS = 15
NEAR_YEARS = 5
BINS = 10

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """`hits` of `n` faces, with the 95% interval; `share` is None where there is no such face."""

    n: int
    hits: int
    share: IntervalEstimate | None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Whoever is estimated at `challenge` years or more passes a gate meant for `threshold` years or more.

    `false_positives` are the minors that pass, `false_positives_near` those of the last five years below the
    threshold, whom a toddler can't outweigh; `false_negatives` are the adults, of the threshold's age or more, that
    are challenged.
    """

    threshold: int
    challenge: int
    false_positives: Share
    false_positives_near: Share
    false_negatives: Share


@dataclass(frozen=True)
class PassRate:
    """How many of the faces aged `age` (from then to the next birthday) are estimated at `threshold` years or more."""

    threshold: int
    age: int
    passed: Share


@dataclass(frozen=True)
class Bin:
    """Faces whose probability lies from `low` to `high`: their mean probability, and the share that is that old."""

    low: float
    high: float
    n: int
    predicted: float
    observed: IntervalEstimate


@dataclass(frozen=True)
class Reliability:
    """The calibration of the model's probability of `threshold` years or more.

    `brier` is its mean squared error (Brier, 1950), 0 at best; `brier_of_share` is that of always predicting the share
    of such faces.
    """

    threshold: int
    n: int
    brier: float
    brier_of_share: float
    bins: tuple[Bin, ...]


def gates(predictions: Predictions) -> tuple[Gate, ...]:
    """Every threshold with every challenge age from it to fifteen years above."""
    return tuple(
        _gate(predictions, threshold, challenge)
        for threshold in THRESHOLDS
        for challenge in range(threshold, threshold + MARGIN_YEARS + 1)
    )


def pass_rates(predictions: Predictions) -> tuple[PassRate, ...]:
    """Every threshold with each year of true age from five below it to five above, where gates are hard."""
    year = np.floor(predictions.true)
    return tuple(
        PassRate(threshold, age, _share(year == age, predictions.age >= threshold))
        for threshold in THRESHOLDS
        for age in range(threshold - NEAR_YEARS, threshold + NEAR_YEARS + 1)
    )


def reliability(predictions: Predictions) -> tuple[Reliability, ...]:
    """Nothing for a head without probabilities."""
    if predictions.probabilities is None:
        return ()
    return tuple(_reliability(predictions, threshold) for threshold in THRESHOLDS)


def _gate(predictions: Predictions, threshold: int, challenge: int) -> Gate:
    true, passes = predictions.true, predictions.age >= challenge
    minors = true < threshold
    return Gate(
        threshold=threshold,
        challenge=challenge,
        false_positives=_share(minors, passes),
        false_positives_near=_share(minors & (true >= threshold - NEAR_YEARS), passes),
        false_negatives=_share(~minors, ~passes),
    )


def _share(faces: Mask, hit: Mask) -> Share:
    n, hits = int(faces.sum()), int((faces & hit).sum())
    return Share(n, hits, wilson(hits, n) if n else None)


def _reliability(predictions: Predictions, threshold: int) -> Reliability:
    chance = np.clip(predictions.at_least(threshold), 0, 1)  # a sum of float32 may end a hair above 1
    reached = predictions.true >= threshold
    place = np.minimum((chance * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(place):
        faces = place == number
        observed = wilson(int(reached[faces].sum()), int(faces.sum()))
        mean = float(chance[faces].mean())
        bins.append(Bin(number / BINS, (number + 1) / BINS, int(faces.sum()), mean, observed))
    share = float(reached.mean())
    brier = float(np.mean((chance - reached) ** 2))
    return Reliability(threshold, len(reached), brier, share * (1 - share), tuple(bins))
