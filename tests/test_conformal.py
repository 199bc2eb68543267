"""Intervals hold what they promise: on simulated faces whose noise is known, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from agedetect.models.conformal import (
    ConformalLayer,
    DifficultyLayer,
    QuantileLayer,
    conformal_quantile,
    estimate_difficulty,
    faces_to_calibrate,
    fit_conformal,
    quantile,
)
from agedetect.models.heads import BINS
from agedetect.models.losses import gaussian_labels
from agedetect_runtime.spec import MAX_AGE, MIN_AGE

FACES = 4000


def simulated(seed: int, *, believed: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Predicted ages, probabilities and true ages; the error is normal and grows with age, 1.5 to 6 years.

    The distribution is `believed` times as wide as it should be.
    """
    random = torch.Generator().manual_seed(seed)
    age = 20 + 60 * torch.rand(FACES, generator=random)
    std = 1.5 + 4.5 * (age - 20) / 60
    true = age + std * torch.randn(FACES, generator=random)
    probabilities = torch.cat([gaussian_labels(a[None], float(believed * d)) for a, d in zip(age, std, strict=True)])
    return age, probabilities, true.clamp(MIN_AGE, MAX_AGE)


def covered(
    layer: ConformalLayer, age: torch.Tensor, probabilities: torch.Tensor | None, true: torch.Tensor
) -> torch.Tensor:
    low, high = layer(age, probabilities)
    inside: torch.Tensor = (low <= true) & (true <= high)
    return inside


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("believed", [0.5, 1.0, 2.0])
def test_a_distribution_of_the_right_shape_is_calibrated_at_every_age(level: float, believed: float) -> None:
    layer = fit_conformal(*simulated(1, believed=believed), level)
    age, probabilities, true = simulated(2, believed=believed)
    inside = covered(layer, age, probabilities, true)
    # two samples of 4,000 at 0.8: the standard std of the difference is 0.009
    assert abs(inside.float().mean().item() - level) < 0.03
    for low in (20, 40, 60):  # some 1,300 faces each: 0.013
        here = (age >= low) & (age < low + 20)
        assert abs(inside[here].float().mean().item() - level) < 0.045


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_a_single_number_is_calibrated_and_its_interval_widens_with_the_error(level: float) -> None:
    age, _, true = simulated(1)
    layer = fit_conformal(age, None, true, level)
    age, _, true = simulated(2)
    inside = covered(layer, age, None, true)
    assert abs(inside.float().mean().item() - level) < 0.04  # calibrated on 2,000: 0.011
    low, high = layer(torch.tensor([25.0, 75.0]), None)
    assert (high - low)[1] > 2 * (high - low)[0]  # the stds are 1.9 and 5.6


def test_a_model_of_the_wrong_width_gets_the_width_of_a_right_one() -> None:
    widths = []
    for believed in (0.5, 1.0, 2.0):
        age, probabilities, true = simulated(1, believed=believed)
        low, high = fit_conformal(age, probabilities, true, 0.9)(age, probabilities)
        widths.append((high - low).mean().item())
    expected = 2 * 1.645 * (1.5 + 4.5 / 2)  # of a normal distribution, at the mean std
    # a belief of half the width meets the least half width of 0.5 and the bins' own spread of 0.3 years
    assert widths == pytest.approx([expected] * 3, rel=0.05)


def test_the_quantile_of_scores_by_hand() -> None:
    scores = np.arange(1.0, 10.0)  # nine: the 9th is what a tenth exceeds with probability 1/10
    assert conformal_quantile(scores, 0.9) == 9
    assert conformal_quantile(scores, 0.5) == 5
    with pytest.raises(ValueError, match="8 faces are too few"):
        conformal_quantile(scores[:8], 0.9)


@pytest.mark.parametrize(("level", "fewest"), [(0.9, 9), (0.8, 4), (0.95, 19)])
def test_the_fewest_faces_are_enough(level: float, fewest: int) -> None:
    assert faces_to_calibrate(level, "distribution") == fewest
    assert faces_to_calibrate(level, "regression") == 2 * fewest
    conformal_quantile(np.zeros(fewest), level)


def test_quantiles_of_a_distribution_by_hand() -> None:
    probabilities = torch.zeros(2, BINS)
    probabilities[0, 30] = 1  # spread evenly over 29.5 to 30.5
    probabilities[1, 10] = probabilities[1, 20] = 0.5
    assert quantile(probabilities, 0.5).tolist() == pytest.approx([30.0, 10.5], abs=1e-4)
    assert quantile(probabilities, 0.75).tolist() == pytest.approx([30.25, 20.0], abs=1e-4)


def test_the_difficulty_is_linear_between_its_knots() -> None:
    layer = DifficultyLayer(0.9, np.array([10.0, 30.0, 50.0]), np.array([2.0, 4.0, 10.0]))
    below, above = layer.half_widths(torch.tensor([0.0, 10.0, 20.0, 40.0, 50.0, 90.0]), None)
    assert below.tolist() == above.tolist() == pytest.approx([2, 2, 3, 7, 10, 10])


def test_decades_with_few_faces_are_merged() -> None:
    age = torch.cat([torch.full((50,), 25.0), torch.full((5,), 75.0), torch.full((60,), 33.0)])
    knots, errors = estimate_difficulty(age, age + 1)
    assert knots.tolist() == pytest.approx([25, (33 * 60 + 75 * 5) / 65])
    assert errors.tolist() == [1, 1]


def test_one_age_for_all_still_has_an_interval() -> None:
    layer = fit_conformal(torch.full((100,), 30.0), None, torch.linspace(20, 40, 100), 0.9)
    low, high = layer(torch.tensor([30.0]), None)
    assert 20 <= low.item() < 22
    assert 38 < high.item() <= 40


def test_bounds_stay_within_the_ages_and_around_the_age() -> None:
    layer = QuantileLayer(0.9)
    layer.scale.fill_(3.0)
    ages = torch.tensor([1.0, 115.0])
    low, high = layer(ages, gaussian_labels(ages, 5.0))
    assert low[0].item() == MIN_AGE
    assert high[1].item() == MAX_AGE
    assert math.isfinite(low.sum().item() + high.sum().item())
    assert (low <= ages).all()
    assert (ages <= high).all()
