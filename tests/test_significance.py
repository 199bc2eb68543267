"""Sign-flip tests against their exact values, and Holm's correction by hand."""

from __future__ import annotations

import numpy as np
import pytest

from agedetect.evaluation.significance import FLIPS, holm, sign_flip_p


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [([1, 1, 1], 2 / 8), ([1, 2, 3, 4], 2 / 16), ([3, 2, -1], 4 / 8), ([0, 0], 1), ([5], 1)],
)
def test_the_p_value_is_the_share_of_signs_with_as_large_a_sum(differences: list[float], p_value: float) -> None:
    values = np.array(differences, np.float64)
    # four standard errors of a share of 5000 flips at most
    assert sign_flip_p(values, np.arange(len(values))) == pytest.approx(p_value, abs=4 * 0.5 / FLIPS**0.5)


def test_copies_are_flipped_together() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 40)
    single = sign_flip_p(values, np.arange(40))
    assert sign_flip_p(np.repeat(values, 3), np.repeat(np.arange(40), 3)) == single
    assert sign_flip_p(np.repeat(values, 3), np.arange(120)) < single / 2


def test_a_clear_difference_has_the_smallest_p_value() -> None:
    assert sign_flip_p(np.full(200, 0.3), np.arange(200)) == 1 / (1 + FLIPS)


def test_without_a_difference_p_values_are_uniform() -> None:
    random = np.random.default_rng(2)
    values = [sign_flip_p(random.normal(size=30), np.arange(30), flips=500, seed=seed) for seed in range(400)]
    # three standard errors of a share of 400
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 400) ** 0.5)


def test_holm_by_hand() -> None:
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to 0.06."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1, 1])
