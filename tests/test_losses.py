import math

import pytest
import torch

from agedetect.losses import choose_loss, focal_mse

TRUE = torch.tensor([30.0, 30.0, 10.0])
PREDICTED = torch.tensor([31.0, 20.0, 10.0])


def test_mse_and_l1_by_hand():
    assert choose_loss("mse", False)(PREDICTED, TRUE).item() == pytest.approx((1 + 100 + 0) / 3)
    assert choose_loss("l1", False)(PREDICTED, TRUE).item() == pytest.approx((1 + 10 + 0) / 3)


def test_focal_mse_by_hand():
    expected = (math.tanh(0.2 * 1) * 1 + math.tanh(0.2 * 10) * 100 + 0) / 3
    assert choose_loss("mse", True)(PREDICTED, TRUE).item() == pytest.approx(expected, rel=1e-6)


def test_focal_mse_without_focus_is_mse():
    plain = choose_loss("mse", False)(PREDICTED, TRUE)
    assert focal_mse(PREDICTED, TRUE, gamma=0.0).item() == plain.item()


def test_the_focal_weight_grows_with_the_error():
    errors = torch.tensor([0.5, 1.0, 2.0, 5.0, 20.0])
    weights = [focal_mse(e.view(1), torch.zeros(1)).item() / e.item() ** 2 for e in errors]
    assert weights == sorted(weights)
    assert weights[-1] == pytest.approx(1, abs=1e-3)  # tanh(4) = 0.9993


def test_the_focal_gradient_is_finite_at_no_error():
    predicted = torch.tensor([30.0], requires_grad=True)
    focal_mse(predicted, torch.tensor([30.0])).backward()
    assert predicted.grad is not None
    assert predicted.grad.item() == 0
