"""Intervals: against closed forms, and by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from agedetect.evaluation.bootstrap import mean_estimate, resampled_cluster_means, resampled_means, wilson


def test_the_interval_of_a_mean_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(1).normal(10, 3, 400)
    mean = mean_estimate(values)
    assert mean.low is not None
    assert mean.high is not None
    half = 1.96 * values.std() / np.sqrt(400)
    # The 2.5% quantile of 2000 draws has a standard error of 0.06 standard errors, 3% of the half width: four of them.
    assert mean.low == pytest.approx(mean.value - half, abs=0.12 * half)
    assert mean.high == pytest.approx(mean.value + half, abs=0.12 * half)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    held = 0
    for seed in range(400):
        mean = mean_estimate(random.exponential(5, 80), seed=seed)
        assert mean.low is not None
        assert mean.high is not None
        held += mean.low <= 5 <= mean.high
    # Skewed values and n=80 cost the percentile interval about 2 points; 3 standard errors of 400 trials are 3.5.
    assert 0.895 <= held / 400 <= 0.985


def test_resampled_means_are_means_of_rows_that_are_there() -> None:
    means = resampled_means(np.array([[0.0, 1.0], [3.0, 1.0], [6.0, 1.0]]), resamples=500)
    assert set(means[:, 0].round(9)) == {0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0}
    assert (means[:, 1] == 1).all()


def test_columns_of_a_resample_are_of_the_same_rows() -> None:
    values = np.random.default_rng(3).normal(size=(50, 1))
    means = resampled_means(np.hstack([values, 2 * values + 1]))
    assert means[:, 1] == pytest.approx(2 * means[:, 0] + 1)


def test_a_seed_makes_the_same_interval_again_and_another_seed_another() -> None:
    values = np.random.default_rng(4).normal(size=40)
    assert mean_estimate(values) == mean_estimate(values)
    assert mean_estimate(values, seed=1) != mean_estimate(values)


def test_many_rows_are_drawn_in_parts_with_the_same_spread() -> None:
    values = np.random.default_rng(5).normal(size=(3000, 1))  # 2000 resamples of them take a dozen parts
    means = resampled_means(values)
    assert len(np.unique(means)) == 2000
    # a standard deviation of 2000 draws is good to 1.6%: four of those
    assert means.std() == pytest.approx(values.std() / np.sqrt(3000), rel=0.064)


def test_doubled_rows_have_the_interval_of_the_single_ones() -> None:
    values = np.random.default_rng(6).normal(size=60)
    single = mean_estimate(values)
    twice = mean_estimate(np.repeat(values, 2), np.repeat(np.arange(60), 2))
    assert twice == pytest.approx(single)
    apart = mean_estimate(np.repeat(values, 2))
    assert single.low is not None
    assert apart.low is not None
    # sqrt(2) too narrow; a bound of 2000 draws is good to 3% of the half width: four of those
    assert (single.value - single.low) / (apart.value - apart.low) == pytest.approx(2**0.5, rel=0.12)


def test_rows_of_their_own_are_drawn_as_without_clusters() -> None:
    values = np.random.default_rng(7).normal(size=(50, 2))
    assert resampled_cluster_means(values, np.arange(50)) == pytest.approx(resampled_means(values), abs=1e-12)


def test_a_cluster_is_drawn_whole() -> None:
    """Rows 0 and 0 together, 6 alone: two draws of {0, 0} and {6} have a mean of 0, 2 or 6."""
    means = resampled_cluster_means(np.array([[0.0], [6.0], [0.0]]), np.array([0, 1, 0]), resamples=500)
    assert set(means[:, 0].round(9)) == {0.0, 2.0, 6.0}


def test_one_photograph_has_no_interval() -> None:
    assert mean_estimate(np.array([4.0, 6.0]), np.array([0, 0])) == (5.0, None, None)


def test_one_value_has_no_interval() -> None:
    assert mean_estimate(np.array([7.0])) == (7.0, None, None)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],  # Newcombe, 1998, for the last one
)
def test_wilson_by_the_book(hits: int, count: int, low: float, high: float) -> None:
    share = wilson(hits, count)
    assert share.value == pytest.approx(hits / count)
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert wilson(count - hits, count).high == pytest.approx(1 - low, abs=5e-5)
