import numpy as np
import pytest
from numpy.typing import ArrayLike

from agedetect.evaluation.metrics import measure


def test_metrics_by_hand() -> None:
    metrics = measure([10, 20, 30, 40], [10, 25, 20, 51])
    assert metrics.mae == pytest.approx((0 + 5 + 10 + 11) / 4)
    assert metrics.mse == pytest.approx((0 + 25 + 100 + 121) / 4)
    assert metrics.rmse == pytest.approx(61.5**0.5)
    assert metrics.r2 == pytest.approx(1 - 61.5 / 125)
    assert metrics.within_5 == 0.5
    assert metrics.within_10 == 0.75


def test_a_perfect_predictor_is_perfect() -> None:
    metrics = measure([1.0, 50.0, 90.0], [1.0, 50.0, 90.0])
    assert metrics.to_dict() == {"mae": 0, "mse": 0, "rmse": 0, "r2": 1, "within_5": 1, "within_10": 1}


def test_the_mean_has_no_r2() -> None:
    ages = np.array([10.0, 20.0, 60.0])
    assert measure(ages, np.full(3, 30.0)).r2 == pytest.approx(0)


def test_r2_of_one_age_is_not_a_number() -> None:
    assert np.isnan(measure([30, 30], [29, 31]).r2)


@pytest.mark.parametrize(("true", "predicted"), [([1, 2], [1]), ([], []), ([[1, 2]], [[1, 2]])])
def test_rows_that_do_not_match_are_refused(true: ArrayLike, predicted: ArrayLike) -> None:
    with pytest.raises(ValueError, match="equal, non-empty rows"):
        measure(true, predicted)
