import math

import pytest
import torch

from agedetect.config import LOSSES
from agedetect.models.heads import BINS
from agedetect.models.losses import choose_loss, cross_entropy, dldl_v2, focal_mse, gaussian_labels, soft_labels

TRUE = torch.tensor([30.0, 30.0, 10.0])
PREDICTED = torch.tensor([[31.0], [20.0], [10.0]])


def flat_but(values: dict[int, float]) -> torch.Tensor:
    """Logits that are 0 but at some years: (1, K)."""
    logits = torch.zeros(1, BINS)
    for year, value in values.items():
        logits[0, year] = value
    return logits


def test_mse_and_l1_by_hand() -> None:
    assert choose_loss("mse", label_sigma=2)(PREDICTED, TRUE).item() == pytest.approx((1 + 100 + 0) / 3)
    assert choose_loss("l1", label_sigma=2)(PREDICTED, TRUE).item() == pytest.approx((1 + 10 + 0) / 3)


def test_every_configured_loss_is_there() -> None:
    assert all(callable(choose_loss(name, label_sigma=2)) for name in {*LOSSES, "focal_mse"} - {"auto"})


def test_focal_mse_by_hand() -> None:
    expected = (math.tanh(0.2 * 1) * 1 + math.tanh(0.2 * 10) * 100 + 0) / 3
    assert choose_loss("focal_mse", label_sigma=2)(PREDICTED, TRUE).item() == pytest.approx(expected, rel=1e-6)


def test_focal_mse_without_focus_is_mse() -> None:
    plain = choose_loss("mse", label_sigma=2)(PREDICTED, TRUE)
    assert focal_mse(PREDICTED, TRUE, gamma=0.0).item() == plain.item()


def test_the_focal_weight_grows_with_the_error() -> None:
    errors = torch.tensor([0.5, 1.0, 2.0, 5.0, 20.0])
    weights = [focal_mse(e.view(1, 1), torch.zeros(1)).item() / e.item() ** 2 for e in errors]
    assert weights == sorted(weights)
    assert weights[-1] == pytest.approx(1, abs=1e-3)  # tanh(4) = 0.9993


def test_the_focal_gradient_is_finite_at_no_error() -> None:
    predicted = torch.tensor([[30.0]], requires_grad=True)
    torch.autograd.backward(focal_mse(predicted, torch.tensor([30.0])))
    assert predicted.grad is not None
    assert predicted.grad.item() == 0


def test_cross_entropy_by_hand() -> None:
    logits = flat_but({30: math.log(BINS - 1)})  # probability 1/2 of 30 years
    assert cross_entropy(logits, torch.tensor([30.0])).item() == pytest.approx(math.log(2), rel=1e-5)
    assert cross_entropy(logits, torch.tensor([30.4])).item() == pytest.approx(math.log(2), rel=1e-5)
    assert cross_entropy(flat_but({}), torch.tensor([200.0])).item() == pytest.approx(math.log(BINS), rel=1e-5)


def test_gaussian_labels_by_hand() -> None:
    labels = gaussian_labels(torch.tensor([50.0]), 2.0)[0]
    assert labels.sum().item() == pytest.approx(1, abs=1e-6)
    assert (labels[52] / labels[50]).item() == pytest.approx(math.exp(-0.5), rel=1e-5)  # one deviation off
    assert labels[47].item() == pytest.approx(labels[53].item())


def test_soft_labels_are_lost_to_nothing_but_their_own_distribution() -> None:
    ages = torch.tensor([3.0, 50.0])
    labels = gaussian_labels(ages, 2.0)
    assert soft_labels(labels.clamp(min=1e-30).log(), ages, sigma=2.0).item() == pytest.approx(0, abs=1e-5)
    # a uniform answer: the divergence is log K minus the labels' entropy
    entropy = -(labels * labels.clamp(min=1e-30).log()).sum(1).mean().item()
    uniform = soft_labels(torch.zeros(2, BINS), ages, sigma=2.0).item()
    assert uniform == pytest.approx(math.log(BINS) - entropy, rel=1e-5)


def test_soft_labels_without_softness_are_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, ages = torch.randn(4, BINS), torch.tensor([1.0, 20.0, 40.0, 99.0])
    # at a tenth of a year the neighbours' labels are e^-50
    assert soft_labels(logits, ages, sigma=0.1).item() == pytest.approx(cross_entropy(logits, ages).item(), rel=1e-5)


def test_dldl_v2_adds_the_error_of_the_expectation() -> None:
    torch.manual_seed(0)
    logits, age = torch.randn(1, BINS), torch.tensor([20.0])
    expected = (logits.softmax(1)[0] * torch.arange(BINS)).sum().item()
    added = dldl_v2(logits, age, sigma=2.0).item() - soft_labels(logits, age, sigma=2.0).item()
    assert added == pytest.approx(abs(expected - 20), rel=1e-4)
