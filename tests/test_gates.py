"""Age gates on six faces, by hand; probabilities against what they promise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from agedetect.evaluation.bootstrap import wilson
from agedetect.evaluation.gates import Gate, gates, pass_rates, reliability
from agedetect.evaluation.predictions import Predictions
from imaginary_faces import imaginary_faces

# true age, estimate:    a toddler, 16 said 26, 17 said 19, 18 said 17, 30 said 24, 40 said 41
SIX = Predictions.of(imaginary_faces([2, 16, 17, 18, 30, 40]), [3, 26, 19, 17, 24, 41])


def gate(threshold: int, challenge: int) -> Gate:
    (found,) = [item for item in gates(SIX) if (item.threshold, item.challenge) == (threshold, challenge)]
    return found


@pytest.mark.parametrize(
    ("challenge", "false_positives", "near", "false_negatives"),
    [(18, 2, 2, 1), (20, 1, 1, 1), (25, 1, 1, 2), (26, 1, 1, 2), (27, 0, 0, 2), (33, 0, 0, 2)],
)
def test_a_gate_at_eighteen_by_hand(challenge: int, false_positives: int, near: int, false_negatives: int) -> None:
    found = gate(18, challenge)
    assert (found.false_positives.hits, found.false_positives.n) == (false_positives, 3)
    assert (found.false_positives_near.hits, found.false_positives_near.n) == (near, 2)
    assert (found.false_negatives.hits, found.false_negatives.n) == (false_negatives, 3)
    assert found.false_positives.share == wilson(false_positives, 3)


def test_the_threshold_itself_is_old_enough_and_the_challenge_age_passes() -> None:
    assert gate(16, 16).false_positives.n == 1  # the toddler alone: who is 16 is old enough
    assert gate(16, 26).false_negatives.hits == 3  # 19, 17 and 24 fail, 26 passes at 26
    assert gate(16, 27).false_negatives.hits == 4


def test_thresholds_and_challenge_ages_are_those_of_regulators() -> None:
    found = [(item.threshold, item.challenge) for item in gates(SIX)]
    assert found == [(threshold, threshold + more) for threshold in (13, 16, 18, 21, 25) for more in range(16)]


def test_a_share_of_nobody_is_none() -> None:
    (found, *_) = gates(Predictions.of(imaginary_faces([40, 50]), [41, 50]))
    assert (found.false_positives.n, found.false_positives.share) == (0, None)
    assert found.false_negatives.share is not None


def test_a_higher_challenge_age_accepts_fewer_and_rejects_more() -> None:
    random = np.random.default_rng(1)
    ages = random.uniform(0, 60, 400)
    found = gates(Predictions.of(imaginary_faces(ages.tolist()), ages + random.normal(0, 6, 400)))
    for earlier, later in pairwise(found):
        if earlier.threshold == later.threshold:
            assert later.false_positives.hits <= earlier.false_positives.hits
            assert later.false_negatives.hits >= earlier.false_negatives.hits


def test_who_passes_at_each_year_of_age_by_hand() -> None:
    ages = [12.9, 13, 16, 17, 17.5, 17.9, 18, 18, 23.99, 24]
    estimates = [50, 17.9, 18, 17.99, 18, 30, 17, 19, 40, 40]
    found = [item for item in pass_rates(Predictions.of(imaginary_faces(ages), estimates)) if item.threshold == 18]
    hits = {item.age: (item.passed.hits, item.passed.n) for item in found}
    nobody = dict.fromkeys((14, 15, 19, 20, 21, 22), (0, 0))
    assert hits == {13: (0, 1), 16: (1, 1), 17: (2, 3), 18: (1, 2), 23: (1, 1), **nobody}
    assert [item.age for item in found] == list(range(13, 24))
    assert {item.age: item.passed.share for item in found}[17] == wilson(2, 3)
    assert {item.age: item.passed.share for item in found}[14] is None


def test_reliability_by_hand() -> None:
    # bins of years 0 to 24; the chance of 18 or more is what lies on 20
    chances = np.zeros((4, 25))
    for row, chance in enumerate([0.0, 0.12, 0.18, 1.0]):
        chances[row, 20], chances[row, 5] = chance, 1 - chance
    table = Predictions.of(imaginary_faces([5, 17, 18, 60]), [5, 6, 7, 20], None, None, chances)
    (found,) = [item for item in reliability(table) if item.threshold == 18]
    assert [(part.low, part.n) for part in found.bins] == [(0.0, 1), (0.1, 2), (0.9, 1)]
    assert [part.predicted for part in found.bins] == pytest.approx([0, 0.15, 1])
    assert [part.observed.value for part in found.bins] == [0, 0.5, 1]
    assert found.brier == pytest.approx((0.12**2 + 0.82**2) / 4)
    assert found.brier_of_share == 0.25


def test_probabilities_that_are_true_lie_on_the_line() -> None:
    random = np.random.default_rng(2)
    count, deviation = 8000, 6.0
    centre = random.uniform(5, 60, count)
    years = np.arange(117)
    density = np.exp(-0.5 * ((years - centre[:, None]) / deviation) ** 2)
    density /= density.sum(axis=1, keepdims=True)
    true = (density.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)  # ages as likely as they say
    table = Predictions.of(imaginary_faces(true.tolist()), centre, None, None, density)
    for item in reliability(table):
        for part in item.bins:
            # five standard deviations of a share: none of the 50 bins leaves them by chance
            spread = 5 * np.sqrt(part.predicted * (1 - part.predicted) / part.n) + 1e-3
            assert part.observed.value == pytest.approx(part.predicted, abs=spread)
        assert item.brier < item.brier_of_share


def test_a_model_without_probabilities_has_no_reliability() -> None:
    assert reliability(SIX) == ()
