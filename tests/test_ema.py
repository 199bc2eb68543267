"""The moving average, by hand."""

import pytest
import torch
from torch import nn

from agedetect.training.ema import exponential_moving_average


def test_the_average_follows_fast_at_first_and_at_its_own_pace_later() -> None:
    model = nn.Linear(1, 1, bias=False)
    averaged = exponential_moving_average(model, 0.9)
    inner = averaged.module
    assert isinstance(inner, nn.Linear)
    weight = model.weight
    expected: float | None = None
    for step in range(200):
        nn.init.constant_(weight, float(step))
        averaged.update_parameters(model)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = float(step) if expected is None else decay * expected + (1 - decay) * step
        assert inner.weight.item() == pytest.approx(expected, rel=1e-5)
    assert inner.weight.item() == pytest.approx(199 - 9, abs=0.01)  # a ramp is followed 1 / (1 - 0.9) - 1 behind


def test_statistics_are_averaged_and_counts_are_taken() -> None:
    model = nn.BatchNorm2d(2)
    averaged = exponential_moving_average(model, 0.5)
    averaged.update_parameters(model)
    model(torch.full((4, 2, 3, 3), 10.0))  # the running mean goes from 0 to 1
    averaged.update_parameters(model)
    inner = averaged.module
    assert isinstance(inner, nn.BatchNorm2d)
    assert inner.running_mean is not None
    assert inner.num_batches_tracked is not None
    assert inner.running_mean.tolist() == pytest.approx([1 - 2 / 11] * 2)  # after one step the decay is 2 / 11
    assert inner.num_batches_tracked.item() == 1
