"""The losses: ages in years, float32 (B,), in; a scalar out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]

FOCAL_BETA = 0.2  # per year: an error of 5 years weighs tanh(1) = 0.76 of its plain square, one of 1 year 0.20
FOCAL_GAMMA = 1.0


def focal_mse(predicted: Tensor, true: Tensor, *, beta: float = FOCAL_BETA, gamma: float = FOCAL_GAMMA) -> Tensor:
    """Mean of tanh(beta * |e|)^gamma * e^2, e in years: easy faces weigh less, the weight grows to 1 with the error.

    Focal-R with the squared error as its base: Yang et al., "Delving into Deep Imbalanced Regression", ICML 2021,
    section 4.2. gamma = 0 is the plain MSE.
    """
    error = predicted - true
    return (torch.tanh(beta * error.abs()) ** gamma * error.square()).mean()


def choose_loss(name: str, use_focal_loss: bool) -> Loss:
    if use_focal_loss:
        return focal_mse
    return {"mse": functional.mse_loss, "l1": functional.l1_loss}[name]
