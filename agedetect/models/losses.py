"""The losses of each head: its outputs, (B, C), and ages in years, float32 (B,), in; a scalar out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from agedetect.models.heads import BINS, expectation
from agedetect_runtime.spec import MIN_AGE

Loss = Callable[[Tensor, Tensor], Tensor]

FOCAL_BETA = 0.2  # per year: an error of 5 years weighs tanh(1) = 0.76 of its plain square, one of 1 year 0.20
FOCAL_GAMMA = 1.0


def mse(outputs: Tensor, ages: Tensor) -> Tensor:
    return functional.mse_loss(outputs.squeeze(1), ages)


def l1(outputs: Tensor, ages: Tensor) -> Tensor:
    return functional.l1_loss(outputs.squeeze(1), ages)


def focal_mse(outputs: Tensor, ages: Tensor, *, beta: float = FOCAL_BETA, gamma: float = FOCAL_GAMMA) -> Tensor:
    """Mean of tanh(beta * |e|)^gamma * e^2, e in years: easy faces weigh less, the weight grows to 1 with the error.

    Focal-R with the squared error as its base: Yang et al., "Delving into Deep Imbalanced Regression", ICML 2021,
    section 4.2. gamma = 0 is the plain MSE.
    """
    error = outputs.squeeze(1) - ages
    return (torch.tanh(beta * error.abs()) ** gamma * error.square()).mean()


def cross_entropy(outputs: Tensor, ages: Tensor) -> Tensor:
    """Against the whole year next to the age (Rothe et al., "Deep expectation of real and apparent age", IJCV 2018)."""
    return functional.cross_entropy(outputs, (ages - MIN_AGE).round().long().clamp(0, BINS - 1))


def soft_labels(outputs: Tensor, ages: Tensor, *, sigma: float) -> Tensor:
    """Kullback-Leibler divergence from a normal distribution about the age, standard deviation `sigma` in years.

    The labels are softmax(-(k - age)^2 / (2 sigma^2)): Diaz & Marathe, "Soft Labels for Ordinal Regression", CVPR
    2019, and Gao et al., "Deep Label Distribution Learning", TIP 2017. Its least value is 0, where the outputs are
    the labels' logarithms; for sigma -> 0 it is the cross-entropy.
    """
    return _divergence(outputs, gaussian_labels(ages, sigma))


def dldl_v2(outputs: Tensor, ages: Tensor, *, sigma: float) -> Tensor:
    """`soft_labels` plus the absolute error of the expected age in years, equally weighted.

    Gao et al., "Age Estimation Using Expectation of Label Distribution Learning", IJCAI 2018, equation 7.
    """
    return soft_labels(outputs, ages, sigma=sigma) + functional.l1_loss(_expected(functional.softmax(outputs, 1)), ages)


def gaussian_labels(ages: Tensor, sigma: float) -> Tensor:
    """(B,) years -> (B, K) probabilities."""
    years = torch.arange(BINS, device=ages.device, dtype=ages.dtype) + MIN_AGE
    return functional.softmax(-0.5 * ((years - ages[:, None]) / sigma) ** 2, dim=1)


def _divergence(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.kl_div(functional.log_softmax(outputs, dim=1), labels, reduction="batchmean")


def _expected(probabilities: Tensor) -> Tensor:
    years = torch.arange(BINS, device=probabilities.device, dtype=probabilities.dtype) + MIN_AGE
    return expectation(probabilities, years)


def choose_loss(name: str, *, label_sigma: float) -> Loss:
    """One of config.LOSSES by its name."""
    losses: dict[str, Loss] = {
        "mse": mse,
        "focal_mse": focal_mse,
        "l1": l1,
        "cross_entropy": cross_entropy,
        "soft_labels": partial(soft_labels, sigma=label_sigma),
        "dldl_v2": partial(dldl_v2, sigma=label_sigma),
    }
    return losses[name]
