"""Intervals hold what they promise: on simulated faces whose noise is known, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from agedetect.models.conformal import (
    Answers,
    ErrorInterval,
    QuantileInterval,
    conformal_quantile,
    estimate_difficulty,
    faces_to_calibrate,
    fit_interval,
    quantile,
)
from agedetect.models.heads import BINS, MAX_AGE, MIN_AGE
from agedetect.models.losses import gaussian_labels

FACES = 4000


def simulated(seed: int, *, believed: float = 1.0) -> tuple[Answers, torch.Tensor]:
    """Ages with a normal error that grows with age, 1.5 to 6 years; a distribution `believed` times as wide."""
    random = torch.Generator().manual_seed(seed)
    age = 20 + 60 * torch.rand(FACES, generator=random)
    deviation = 1.5 + 4.5 * (age - 20) / 60
    true = age + deviation * torch.randn(FACES, generator=random)
    probabilities = torch.cat(
        [gaussian_labels(a[None], float(believed * d)) for a, d in zip(age, deviation, strict=True)]
    )
    return Answers(age, probabilities), true.clamp(MIN_AGE, MAX_AGE)


def covered(interval: torch.nn.Module, answers: Answers, true: torch.Tensor) -> torch.Tensor:
    low, high = interval(answers.age, answers.probabilities)
    return (low <= true) & (true <= high)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("believed", [0.5, 1.0, 2.0])
def test_a_distribution_that_knows_the_shape_of_its_error_is_calibrated_at_every_age(level, believed):
    interval = fit_interval(*simulated(1, believed=believed), level)
    answers, true = simulated(2, believed=believed)
    inside = covered(interval, answers, true)
    # two samples of 4,000 at 0.8: the standard deviation of the difference is 0.009
    assert abs(inside.float().mean().item() - level) < 0.03
    for low in (20, 40, 60):  # some 1,300 faces each: 0.013
        here = (answers.age >= low) & (answers.age < low + 20)
        assert abs(inside[here].float().mean().item() - level) < 0.045


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_a_single_number_is_calibrated_and_its_interval_widens_with_the_error(level):
    answers, true = simulated(1)
    interval = fit_interval(Answers(answers.age, None), true, level)
    answers, true = simulated(2)
    inside = covered(interval, Answers(answers.age, None), true)
    assert abs(inside.float().mean().item() - level) < 0.04  # calibrated on 2,000: 0.011
    low, high = interval(torch.tensor([25.0, 75.0]), None)
    assert (high - low)[1] > 2 * (high - low)[0]  # the deviations are 1.9 and 5.6


def test_a_model_of_the_wrong_width_gets_the_width_of_a_right_one():
    widths = []
    for believed in (0.5, 1.0, 2.0):
        answers, true = simulated(1, believed=believed)
        low, high = fit_interval(answers, true, 0.9)(answers.age, answers.probabilities)
        widths.append((high - low).mean().item())
    expected = 2 * 1.645 * (1.5 + 4.5 / 2)  # of a normal distribution, at the mean deviation
    # a belief of half the width meets the least half width of 0.5 and the bins' own spread of 0.3 years
    assert widths == pytest.approx([expected] * 3, rel=0.05)


def test_the_quantile_of_scores_by_hand():
    scores = np.arange(1.0, 10.0)  # nine: the 9th is what a tenth exceeds with probability 1/10
    assert conformal_quantile(scores, 0.9) == 9
    assert conformal_quantile(scores, 0.5) == 5
    with pytest.raises(ValueError, match="8 faces are too few"):
        conformal_quantile(scores[:8], 0.9)


@pytest.mark.parametrize(("level", "fewest"), [(0.9, 9), (0.8, 4), (0.95, 19)])
def test_the_fewest_faces_are_enough(level, fewest):
    assert faces_to_calibrate(level, "distribution") == fewest
    assert faces_to_calibrate(level, "regression") == 2 * fewest
    conformal_quantile(np.zeros(fewest), level)


def test_quantiles_of_a_distribution_by_hand():
    probabilities = torch.zeros(2, BINS)
    probabilities[0, 30] = 1  # spread evenly over 29.5 to 30.5
    probabilities[1, 10] = probabilities[1, 20] = 0.5
    assert quantile(probabilities, 0.5).tolist() == pytest.approx([30.0, 10.5], abs=1e-4)
    assert quantile(probabilities, 0.75).tolist() == pytest.approx([30.25, 20.0], abs=1e-4)


def test_the_usual_error_is_linear_between_its_knots():
    interval = ErrorInterval(0.9, np.array([10.0, 30.0, 50.0]), np.array([2.0, 4.0, 10.0]))
    below, above = interval.half_widths(torch.tensor([0.0, 10.0, 20.0, 40.0, 50.0, 90.0]), None)
    assert below.tolist() == above.tolist() == pytest.approx([2, 2, 3, 7, 10, 10])


def test_decades_with_few_faces_are_merged():
    age = torch.cat([torch.full((50,), 25.0), torch.full((5,), 75.0), torch.full((60,), 33.0)])
    knots, errors = estimate_difficulty(age, age + 1)
    assert knots.tolist() == pytest.approx([25, (33 * 60 + 75 * 5) / 65])
    assert errors.tolist() == [1, 1]


def test_one_age_for_all_still_has_an_interval():
    answers, true = Answers(torch.full((100,), 30.0), None), torch.linspace(20, 40, 100)
    low, high = fit_interval(answers, true, 0.9)(torch.tensor([30.0]), None)
    assert 20 <= low.item() < 22
    assert 38 < high.item() <= 40


def test_bounds_stay_within_the_ages_and_around_the_age():
    interval = QuantileInterval(0.9)
    interval.scale.fill_(3.0)
    ages = torch.tensor([1.0, 115.0])
    low, high = interval(ages, gaussian_labels(ages, 5.0))
    assert low[0].item() == MIN_AGE
    assert high[1].item() == MAX_AGE
    assert math.isfinite(low.sum().item() + high.sum().item())
    assert (low <= ages).all()
    assert (ages <= high).all()
